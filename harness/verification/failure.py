"""Brings the emulator to the very instruction that a run failed at, for gdb to look at.

crash     the run goes on to the first instruction of the fault handler, and from there back by an exception
          return, which is the processor's own way: it stands before the faulting instruction, in the mode and with
          the registers it had, and one step further it faults again.
a jump to where no code is, or a fault whose exception frame could not be written (a stack overflow)
          there is nothing to return to. A first run counts how often the processor comes past the call, or enters
          the function; a second one stops at the last time. For a lost frame a third one makes one step less than
          lead to the handler. In an emulator this comes out the same every time.
mismatch  the entry of the first layer that is wrong by itself, in the sample where it first is
timeout   where the processor is when the layer's time is over
lockup    the entry of the layer: QEMU ends at once, and nothing of it is left
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from harness.board import HostRun, QemuRun
from harness.compiler.csource import Layer
from harness.debug.comparison import LayerResult, Status
from harness.debug.crash import Crash
from harness.debug.image import Image
from harness.debug.thumb import call_before
from harness.errors import BadInput, RunnerFailed
from harness.session import LAYER_SECONDS
from harness.verdict import Verdict
from harness.verification.bundle import Bundle
from harness.verification.report import Report
from harness.verification.rerun import Rerun

MOST_HITS = 20_000  # of a breakpoint, each of which takes about a millisecond
_LONGEST_PLACE = 64  # bytes; the path of a Unix socket has at most 107 (unix(7)), and some are for the names below
_VTOR = 0xE000ED08  # Armv7-M manual, B3.2.5; reads as 0 where a core has none
_FAULTS = slice(2, 8)  # NMI and the faults in a vector table
_THUMB = 1 << 24  # of xPSR
_RETURN = b"\x70\x47"  # BX LR


@dataclass(frozen=True)
class Stop:
    """An emulator at a standstill, until the end of the `with` block. `socket` is that of its gdb stub."""

    where: str  # in words
    socket: Path
    resources: ExitStack

    def __enter__(self) -> Stop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.resources.close()


def check_debuggable(bundle: Bundle, url: str | None) -> None:
    """BadInput: the bundle's board is not one that gdb can be attached to from here."""
    board = bundle.board()
    if isinstance(board.runner, QemuRun) and url is None:
        return
    if isinstance(board.runner, HostRun):
        what = "--gdb: a program of the board host ends in its sanitizer's report, which has the chain of calls already"
        hint = "Verify the model on an emulated board, such as qemu_cortex_m3, and replay that with --gdb."
    else:
        what = f"--gdb: {board.name} is behind a port; gdb gets at its processor by a debug probe only"
        hint = (
            f"Start OpenOCD for your probe, then: gdb-multiarch {bundle.shown}/firmware.elf -ex 'target remote :3333'"
        )
    raise BadInput(what, where=bundle.shown, hint=hint)


def stopped_at_failure(report: Report) -> Stop:
    """Run what `report` is of once more, and stop it at its failure.

    BadInput: it did not fail. RunnerFailed: it does not fail in the same way when it is run again.
    """
    with ExitStack() as stack:
        # Nobody else may enter the folder, so nobody else can connect.
        folder = tempfile.TemporaryDirectory(prefix="layerproof-gdb-", dir=_place_for_a_socket())
        approach = _Approach(report, Path(stack.enter_context(folder)) / "gdb")
        where = approach.go()
        stack.callback(approach.end)
        approach.rerun.let_go()
        return Stop(where, approach.socket, stack.pop_all())


def _place_for_a_socket() -> str | None:
    """Where temporary files go, unless the path of a socket would become too long there."""
    return "/tmp" if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_PLACE else None


class _Approach:
    def __init__(self, report: Report, socket: Path) -> None:
        self.report = report
        self.socket = socket
        self.image = Image(report.firmware.elf)
        self._rerun: Rerun | None = None
        self._handlers: tuple[int, ...] = ()

    @property
    def rerun(self) -> Rerun:
        assert self._rerun is not None
        return self._rerun

    def end(self) -> None:
        if self._rerun is not None:
            self._rerun.__exit__(None, None, None)
            self._rerun = None

    def go(self) -> str:
        """To the failure; where that is, in words."""
        with ExitStack() as stack:
            stack.callback(self.end)
            where = self._go()
            stack.pop_all()
        return where

    def _go(self) -> str:
        report, comparison = self.report, self.report.comparison
        if report.verdict is Verdict.MATCH:
            raise BadInput("--gdb: the run does not fail, so there is nowhere to stop")
        if report.verdict is Verdict.MISMATCH:
            return self._at_wrong_layer()
        if comparison.stopped is None:
            raise BadInput(f"--gdb: it was not the target that failed: {report.stopped}")
        layer, sample = self._running(), comparison.last_sample
        if report.verdict is Verdict.TIMEOUT:
            return self._at_timeout(layer, sample)
        if report.verdict is Verdict.LOCKUP:
            return self._at_entry(layer.name, layer.index, sample, "since at the lockup itself QEMU ends")
        if report.crash is None:
            return self._at_entry(layer.name, layer.index, sample, "since it is not known where it crashed")
        return self._at_fault(report.crash, layer, sample)

    def _running(self) -> Layer:
        """The layer that was running; the first one where it was none, since then everything may matter."""
        index = self.report.crashed_layer
        if not self.report.source.layers:
            raise BadInput("--gdb: the model has no layers")
        return self.report.source.layers[index if index is not None else 0]

    def _begin(self, layer: int, sample: int) -> Rerun:
        """Everything from the start, up to where `layer` begins in `sample`."""
        self.end()
        self._rerun = Rerun(self.report, self.socket, sample=sample, layer=layer).__enter__()
        return self._rerun

    # ---- the kinds of failure

    def _at_wrong_layer(self) -> str:
        results = self.report.comparison.layers
        wrong = next((r for r in results if r.status is Status.LOCAL), None)
        wrong = wrong or next((r for r in results if r.status is not Status.MATCH), None)
        if wrong is None:
            return self._at_entry("model_run", 0, 0, "whose outputs are wrong though those of its layers are right")
        return self._at_entry(wrong.layer.name, wrong.layer.index, wrong.sample or 0, _wrongness(wrong))

    def _at_entry(self, function: str, layer: int, sample: int, why: str) -> str:
        symbol = self.image.symbol(function)
        if symbol is None:
            raise BadInput(f"the image has no function {function}", where=str(self.image.path))
        rerun = self._begin(layer, sample)
        rerun.resume([symbol.address])
        self._expect(rerun.until_stopped())
        rerun.remote.remove([symbol.address])
        return f"stopped at the entry of {function} in sample {sample}, {why}"

    def _at_timeout(self, layer: Layer, sample: int) -> str:
        seconds = self.report.settings.timeout or LAYER_SECONDS
        rerun = self._begin(layer.index, sample)
        rerun.resume()
        if not rerun.until_stopped(seconds):
            rerun.remote.interrupt()
        return f"stopped in sample {sample} after the {seconds:g} s that layer {layer.index} may take"

    def _at_fault(self, crash: Crash, layer: Layer, sample: int) -> str:
        registers = crash.registers
        pc = registers.get("pc")
        if pc is None:
            return self._before_lost_frame(crash, layer, sample)
        if not self.image.may_run(pc) or not registers.get("xpsr", 0) & _THUMB:
            call = call_before(self._code, registers.get("lr", 0))
            if call is not None and call.register and registers.get(call.register, ~0) & ~1 == pc:
                self._last_time(call.address, layer, sample)
                return f"stopped at the call that goes to 0x{pc:08x}, in sample {sample}"
        rerun = self._begin(layer.index, sample)
        rerun.resume(self._find_handlers())
        self._expect(rerun.until_stopped())
        self._return_from_exception()
        self._expect(rerun.remote.register("pc") == pc)
        return f"stopped at the faulting instruction at 0x{pc:08x}, in sample {sample}"

    def _before_lost_frame(self, crash: Crash, layer: Layer, sample: int) -> str:
        symbols = (self.image.symbol(frame.function) for frame in crash.frames)
        deepest = next((symbol for symbol in symbols if symbol is not None and symbol.size), None)
        if deepest is None:
            return self._at_entry(layer.name, layer.index, sample, "since the fault's own place is lost")
        times = self._last_time(deepest.address, layer, sample)
        steps = 0
        while self.rerun.remote.register("pc") not in self._handlers:
            self.rerun.remote.step()
            steps += 1
            if steps > MOST_HITS:
                return self._at_entry(layer.name, layer.index, sample, "since the fault is too far behind it")
        self._stop_at(deepest.address, times, layer, sample)
        for _ in range(steps - 1):
            self.rerun.remote.step()
        pc = self.rerun.remote.register("pc")
        return f"stopped at the faulting instruction at 0x{pc:08x}, in sample {sample}"

    # ---- how it is done

    def _last_time(self, address: int, layer: Layer, sample: int) -> int:
        """Stop at `address` the last time before the fault that the processor comes there; how many times it came."""
        self._begin(layer.index, sample)
        times = self._pass(address, None)
        if times == 0:
            raise RunnerFailed(f"the processor faults without coming to 0x{address:08x}")
        self._stop_at(address, times, layer, sample)
        return times

    def _stop_at(self, address: int, times: int, layer: Layer, sample: int) -> None:
        self._begin(layer.index, sample)
        self._expect(self._pass(address, times) == times)
        self.rerun.remote.remove([address, *self._handlers])

    def _pass(self, address: int, times: int | None) -> int:
        """Run until the processor stands at `address` for the `times`-th time, or faults; how often it stood there."""
        rerun, remote = self.rerun, self.rerun.remote
        handlers = self._find_handlers()
        rerun.resume([address, *handlers])
        hits = 0
        while True:
            self._expect(rerun.until_stopped())
            if remote.register("pc") != address:
                return hits
            hits += 1
            if hits == times:
                return hits
            if hits > MOST_HITS:
                raise RunnerFailed(f"the processor comes to 0x{address:08x} more than {MOST_HITS:,} times")
            remote.remove([address])  # with the breakpoint there, QEMU would stop again without a step
            remote.step()
            if remote.register("pc") in handlers:
                return hits
            remote.insert([address])
            remote.go()

    def _find_handlers(self) -> Sequence[int]:
        """First instructions of the fault handlers, from the vector table; the processor stands still."""
        table = int.from_bytes(self.rerun.remote.read(_VTOR, 4), "little")
        data = self.image.constant(table, 32)
        if data is None:
            raise RunnerFailed(f"there is no vector table at 0x{table:08x}")
        self._handlers = tuple(sorted({word & ~1 for word in struct.unpack("<8I", data)[_FAULTS] if word}))
        return self._handlers

    def _return_from_exception(self) -> None:
        """From the first instruction of a handler, where LR is EXC_RETURN and nothing was changed yet."""
        remote = self.rerun.remote
        remote.remove(self._handlers)
        remote.set_register("pc", self._return_instruction())
        remote.step()

    def _return_instruction(self) -> int:
        for section in self.image.sections:
            for at in range(0, len(section.data) - 1, 2) if section.executable else ():
                if section.data[at : at + 2] == _RETURN and self.image.is_code(section.address + at):
                    return section.address + at
        raise RunnerFailed("the firmware has no BX LR", where=str(self.image.path))

    def _code(self, address: int, length: int) -> bytes | None:
        return self.image.constant(address, length) if self.image.is_code(address) else None

    def _expect(self, came: bool) -> None:
        if not came:
            raise RunnerFailed("the run does not fail in the same way when it is run again under a debugger")


def _wrongness(result: LayerResult) -> str:
    count = result.whole.mismatches
    how = "1 element" if count == 1 else f"{count:,} elements"
    return f"its inputs in place; it gets {how} of {result.whole.elements:,} wrong"
