"""One error tree for the whole harness.

Every error a user can cause or meet is a `HarnessError`: one message that says what is wrong, where, and what to do
about it. The command line prints it as one paragraph and exits with `exit_code`; nothing else may reach the user as a
Python traceback. What happens *on the target* (a crash, a mismatch, a timeout) is not an error of the harness but a
verdict, and lives in `harness.verdict`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of `verify`, `bisect` and `replay`; see the table in the README."""

    MATCH = 0
    MISMATCH = 1
    USAGE = 2
    CRASH = 3
    TIMEOUT = 4
    INFRASTRUCTURE = 5


class HarnessError(Exception):
    """Base of everything the harness raises on purpose.

    `what` is one sentence with the value that is wrong; `where` names the file, offset, tensor or address; `hint` says
    what to do. `str()` joins the three.
    """

    exit_code: ExitCode = ExitCode.INFRASTRUCTURE

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n{self.hint}" if self.hint else text


class BadInput(HarnessError):
    """The user gave something that cannot be used: a file, an option, an array."""

    exit_code = ExitCode.USAGE


class ModelError(BadInput):
    """The model file is malformed or asks for something the compiler does not have."""


class BoardError(BadInput):
    """A board is unknown or its description is wrong."""


class DoesNotFit(BadInput):
    """The model needs more flash or RAM than the board has."""


class InfrastructureError(HarnessError):
    """Something the harness relies on is missing or broke: toolchain, emulator, port, oracle."""


class ToolMissing(InfrastructureError):
    """A program the harness runs is not installed; the hint says how to get it."""


class ToolFailed(InfrastructureError):
    """A program the harness runs failed; the message carries its own words and the command."""


class CompilerBug(InfrastructureError):
    """The compiler made something its own verifier or interpreter refuses: a defect of ours, not of the model."""


class OracleFailed(InfrastructureError):
    """The reference interpreter refused the model, crashed, or answered out of protocol."""


class RunnerFailed(InfrastructureError):
    """The emulator died, the port vanished, or the bytes that came over it could not be repaired by retries."""


_HINTS = {
    errno.ENOSPC: "Free some space there, or choose another place: XDG_CACHE_HOME for builds, TMPDIR for the rest.",
    errno.EDQUOT: "Free some space there, or choose another place: XDG_CACHE_HOME for builds, TMPDIR for the rest.",
    errno.EROFS: "Choose another place: XDG_CACHE_HOME for builds, TMPDIR for temporary files.",
    errno.EMFILE: "Raise the limit of open files: ulimit -n.",
}


@contextmanager
def system_refusals() -> Iterator[None]:
    """Turns what the operating system refuses on the way into InfrastructureError: a full disk, no memory, no process.

    A peer that closed its pipe is not among them: that is for whoever writes to it to judge.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except MemoryError as error:
        raise InfrastructureError(f"not enough memory{f': {error}' if str(error) else ''}") from error
    except OSError as error:
        file = error.filename2 or error.filename
        where = os.fsdecode(file) if isinstance(file, (str, bytes)) else ""
        hint = _HINTS.get(error.errno or 0, "")
        raise InfrastructureError(f"the system refuses: {error.strerror or error}", where=where, hint=hint) from error
