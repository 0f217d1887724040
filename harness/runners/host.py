"""Firmware built for this machine with sanitizers, run as a process; its UART is its standard input and output."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from harness.cpustate import CpuState
from harness.errors import RunnerFailed
from harness.runners.base import ExitKind, Image, SocketTransport, TargetExit
from harness.runners.process import GuardedProcess
from harness.runners.sanitizer import parse_report
from harness.runners.target import ProcessTarget

RESIDENT_LIMIT = 4096  # MiB; a limit of address space would not do: AddressSanitizer reserves terabytes of it
_SANITIZER_OPTIONS = {
    # handle_abort: SIGABRT is how a process that hangs is made to print where it is
    "ASAN_OPTIONS": f"handle_abort=1:handle_sigill=1:detect_leaks=0:hard_rss_limit_mb={RESIDENT_LIMIT}",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}
_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}  # sent, not raised by a fault


@dataclass(frozen=True)
class HostRunner:
    """Runs the native build."""

    def start(self, image: Image) -> HostTarget:
        """RunnerFailed: the program cannot be started."""
        with ExitStack() as stack:
            ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
            environment = dict(os.environ)
            for name, options in _SANITIZER_OPTIONS.items():  # the later of two settings wins
                environment[name] = f"{environment.get(name, '')}:{options}"
            process = GuardedProcess([str(image.elf)], stdio=theirs.fileno(), environment=environment)
            stack.callback(process.close)
            theirs.close()
            target = HostTarget(process, SocketTransport(ours))
            target.own(stack.pop_all())
            return target


class HostTarget(ProcessTarget):
    """Firmware that runs as a process.

    Of a halted one the sanitizer's report on `stderr` (see `sanitizer.parse_report`) has the call chain; `halt` itself
    knows only pc, sp and the frame pointer, under those names; its memory is gone.
    """

    def exit_reason(self, timeout: float = 0.0) -> TargetExit | None:
        status = self._process.poll(timeout)
        if status is None:
            return None
        text = self.stderr.strip()
        if status.signal in _OUTSIDE:
            return TargetExit(ExitKind.LOST, f"the program {status}", detail=text)
        report = parse_report(text)
        return TargetExit(ExitKind.CRASH, report.sentence if report else f"the program {status}", detail=text)

    def halt(self) -> CpuState | None:
        """End the program so that it says where it is; None when it ended before or says nothing."""
        self._process.send_signal(signal.SIGABRT)
        if self._process.poll(timeout=10.0) is None:
            raise RunnerFailed("the program does not react to SIGABRT", where=self._process.command[0])
        report = parse_report(self.stderr)
        return CpuState(report.registers, reason="halted") if report and report.kind == "ABRT" else None

    def read_memory(self, address: int, length: int) -> bytes:
        raise RunnerFailed(
            f"the {length} bytes at {address:#x} are gone: a halted program of the host board has ended",
            hint="Its call chain is in the sanitizer's report on stderr.",
        )
