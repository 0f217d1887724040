"""A program that cannot outlive the harness: started under a guardian process, ended with the harness at the latest."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from harness.errors import RunnerFailed

_GUARDIAN = Path(__file__).with_name("guardian.py")
_START_SECONDS = 30.0  # for the guardian to report; it takes about 10 ms on an idle machine
_END_SECONDS = 10.0  # for a killed process to be reaped

LARGEST_FILE = 64 << 20  # bytes: a program that babbles on stderr must not fill the disk


@dataclass(frozen=True)
class ExitStatus:
    """How a program ended: exactly one of the two is set."""

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is None:
            return f"exited with status {self.code}"
        names = {number.value: number.name for number in signal.Signals}
        return f"was ended by {names.get(self.signal, f'signal {self.signal}')}"


class GuardedProcess:
    """A running program; `close()` kills it and its process group.

    It is killed as well when the harness exits or is killed (also by SIGKILL), and when this object is collected.
    `pass_fds` are inherited under the same numbers, `folder` is where the program runs. `memory_limit` is bytes of
    address space, `file_limit` those of any one file it writes; None: no limit. What the program writes to stderr, and
    with `log_stdout` to standard output, is kept in an unnamed file, so that it never blocks and leaves nothing behind.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdio: int = subprocess.DEVNULL,
        log_stdout: bool = False,
        folder: Path | None = None,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        memory_limit: int | None = None,
        file_limit: int | None = LARGEST_FILE,
    ) -> None:
        self.command = tuple(command)
        self._status: ExitStatus | None = None
        self._pending = b""
        self._last_stderr = ""
        self._owner = os.getpid()
        with ExitStack() as stack:
            self._stderr = stack.enter_context(tempfile.TemporaryFile())
            control_in, self._control = _pipe(stack)
            self._report, report_out = _pipe(stack)
            inherited = ",".join(map(str, pass_fds))
            limits = [memory_limit or 0, file_limit or 0]
            arguments = [control_in.fileno(), report_out.fileno(), self._owner, *limits, inherited, "--"]
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARDIAN), *map(str, arguments), *command],
                stdin=stdio,
                stdout=self._stderr if log_stdout else stdio,
                stderr=self._stderr,
                cwd=folder,
                pass_fds=(control_in.fileno(), report_out.fileno(), *pass_fds),
                start_new_session=True,
                env=None if environment is None else dict(environment),
            )
            stack.callback(self._end)
            control_in.close()
            report_out.close()
            self._readable = select.poll()
            self._readable.register(self._report, select.POLLIN)
            self.pid = self._read_pid()
            self._resources = stack.pop_all()
        _RUNNING.add(self)

    @property
    def stderr(self) -> str:
        """All that the program wrote to stderr so far."""
        if self._stderr.closed:
            return self._last_stderr
        return self.stderr_since(0).decode(errors="replace")

    def stderr_since(self, start: int) -> bytes:
        """What it wrote to stderr from byte `start` on. Only before `close`."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), max(0, size - start), start)

    def poll(self, timeout: float = 0.0) -> ExitStatus | None:
        """How the program ended, or None while it runs; waits up to `timeout` seconds for its end."""
        if self._status is None:
            message = self._next_report(time.monotonic() + timeout)
            if message is not None:
                self._status = ExitStatus(message.get("code"), message.get("signal"))
        return self._status

    def send_signal(self, number: signal.Signals) -> None:
        """Deliver a signal to the program if it still runs."""
        with suppress(BrokenPipeError):
            self._control.write(bytes([number]))

    def close(self) -> None:
        """Kill the program and wait until it is gone. Idempotent."""
        _RUNNING.discard(self)
        self._resources.close()

    def close_in(self, process: int) -> None:
        """Like `close`, unless `process` is a fork of the one that started the program."""
        if process == self._owner:
            self.close()

    def _end(self) -> None:
        self.send_signal(signal.SIGKILL)
        try:
            self._guardian.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        self.poll(_END_SECONDS)
        self._last_stderr = self.stderr

    def _read_pid(self) -> int:
        message = self._next_report(time.monotonic() + _START_SECONDS)
        if message is not None and "error" in message:
            raise RunnerFailed(f"cannot start {message['error']}", where=self.command[0])
        if message is None or "pid" not in message:
            raise RunnerFailed(
                f"the process that guards {self.command[0]} did not start: {self.stderr.strip() or 'no answer'}"
            )
        return int(message["pid"])

    def _next_report(self, deadline: float) -> dict[str, Any] | None:
        """The guardian's next message, or None at the deadline. A guardian that died took the program with it."""
        while b"\n" not in self._pending:
            if not self._readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            data = self._report.read(4096)
            if not data:
                return {"signal": signal.SIGKILL}
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    """Read end and write end, both closed with `stack` at the latest."""
    reader, writer = os.pipe()
    return stack.enter_context(FileIO(reader, "r")), stack.enter_context(FileIO(writer, "w"))


_RUNNING: weakref.WeakSet[GuardedProcess] = weakref.WeakSet()


def _close_all() -> None:
    for process in list(_RUNNING):
        process.close_in(os.getpid())


atexit.register(_close_all)
