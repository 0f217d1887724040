"""A run once more, in an emulator that a debugger holds: stopped where one layer begins, then at breakpoints.

The comparison goes on in a thread of its own. Whenever the processor stands still it waits for an answer, without a
limit; it ends with the emulator.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from harness.board import QemuRun
from harness.debug.compare import compare
from harness.errors import HarnessError, RunnerFailed
from harness.runners.gdb_remote import GdbRemote
from harness.runners.qemu import QemuRunner
from harness.session import Session
from harness.verdict import TargetStopped
from harness.verification.report import Report

_FOREVER = 1e8  # seconds: a debugger may hold the processor for days
_LOOK = 0.2  # seconds between looks at whether the comparison still goes on
_END_SECONDS = 20.0


class Rerun:
    """What `report` is of, once more, up to the layer and sample named; to be used in a `with` block.

    `socket` is where the emulator's gdb stub is to listen, a Unix socket that nobody else can reach. RunnerFailed: the
    run does not come as far as it did.
    """

    def __init__(self, report: Report, socket: Path, *, sample: int, layer: int) -> None:
        run = report.firmware.board.runner
        assert isinstance(run, QemuRun)
        place = str(socket).replace(",", ",,")  # QEMU's way to write a comma
        options = ("-gdb", f"unix:{place},server=on,wait=off")
        runner = QemuRunner(run.machine, run.serial, options=options)
        self._session = Session(report.firmware, runner, timeout=_FOREVER, patience=_FOREVER)
        self._report = report
        self._socket = socket
        self._step = sample * len(report.source.layers) + layer
        self._reached, self._released = Event(), Event()
        self._thread = Thread(target=self._compare, name="comparison", daemon=True)
        self._resources = ExitStack()
        self._remote: GdbRemote | None = None

    @property
    def remote(self) -> GdbRemote:
        assert self._remote is not None
        return self._remote

    def __enter__(self) -> Rerun:
        with ExitStack() as stack:
            stack.callback(self._end)
            try:
                stack.enter_context(self._session)
            except TargetStopped as stopped:
                raise RunnerFailed(f"the target stops before the model runs: {stopped.what}") from stopped
            self._thread.start()
            while not self._reached.wait(_LOOK):
                if not self._thread.is_alive():
                    raise RunnerFailed("the run stopped earlier than it did before")
            self._remote = GdbRemote(self._socket)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def resume(self, breakpoints: Iterable[int] = ()) -> None:
        """Let the layer begin."""
        self.remote.insert(breakpoints)
        self.remote.go()
        self._released.set()

    def until_stopped(self, seconds: float = _FOREVER) -> bool:
        """Whether the processor came to a breakpoint: False at the end of the run, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._thread.is_alive():
            if self.remote.wait(min(_LOOK, max(0.0, deadline - time.monotonic()))):
                return True
        return False

    def let_go(self) -> None:
        """Leave the stub to somebody else; the processor stays as it is."""
        self.remote.close()

    def _compare(self) -> None:
        report = self._report
        with suppress(HarnessError):
            compare(
                self._session,
                report.source,
                report.expected,
                report.inputs,
                tolerance=report.settings.tolerance,
                isolated=report.settings.isolated,
                progress=self._hold,
            )

    def _hold(self, what: str, done: int, total: int) -> None:
        """Called before each layer of each sample."""
        if what == "run" and done == self._step:
            self._reached.set()
            self._released.wait()

    def _end(self) -> None:
        if self._remote is not None:
            self._remote.close()
        self._session.close()
        self._released.set()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)
