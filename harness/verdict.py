"""What can become of a run on a target. Verdicts are never merged into one another."""

from __future__ import annotations

from enum import Enum

from harness.cpustate import CpuState
from harness.errors import ExitCode


class Verdict(Enum):
    MATCH = "match"
    MISMATCH = "mismatch"
    CRASH = "crash"
    LOCKUP = "lockup"
    TIMEOUT = "timeout"
    INFRASTRUCTURE = "infrastructure"

    @property
    def exit_code(self) -> ExitCode:
        return {
            Verdict.MATCH: ExitCode.MATCH,
            Verdict.MISMATCH: ExitCode.MISMATCH,
            Verdict.CRASH: ExitCode.CRASH,
            Verdict.LOCKUP: ExitCode.CRASH,
            Verdict.TIMEOUT: ExitCode.TIMEOUT,
            Verdict.INFRASTRUCTURE: ExitCode.INFRASTRUCTURE,
        }[self]


class TargetStopped(Exception):
    """The firmware did not come back from what it was asked to do. Not an error of the harness: a result.

    `state` is what is known of the processor (None when nothing could be read), `layer` the layer it was running,
    `detail` the emulator's or sanitizer's own words, `record` the fault record as it came from the firmware.
    """

    verdict: Verdict

    def __init__(
        self,
        what: str,
        *,
        state: CpuState | None = None,
        layer: int | None = None,
        detail: str = "",
        record: bytes = b"",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.state = state
        self.layer = layer if layer is not None or state is None else state.layer
        self.detail = detail
        self.record = record


class TargetCrashed(TargetStopped):
    """A fault was taken and its record arrived."""

    verdict = Verdict.CRASH


class TargetLockedUp(TargetStopped):
    """The processor locked up: a fault inside the fault path, or no usable vector table."""

    verdict = Verdict.LOCKUP


class TargetTimedOut(TargetStopped):
    """A layer did not return within its deadline; `state` is where the processor was when it was halted."""

    verdict = Verdict.TIMEOUT
