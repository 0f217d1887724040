"""Call chains, against those written beside the code that makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.cpustate import CpuState
from harness.debug.dwarf.cfi import CallFrames
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.symbolise import Symboliser
from harness.debug.thumb import call_before, is_wide
from harness.debug.unwinding.unwind import Unwinder
from tests.debug import lab
from tests.debug.conftest import Crashes
from tests.debug.gdb.gdbstub import Stub


@pytest.mark.parametrize("level", lab.LEVELS)
@pytest.mark.parametrize("core", lab.CORES)
def test_every_chain_of_every_scenario_is_right_and_none_is_guessed(
    core: str, level: str, crashes: Callable[[str, str], Crashes]
) -> None:
    found = crashes(core, level)
    image = found.image
    symbols, call_frames = Symboliser(image), CallFrames(image)
    checked = set()
    for crash in found.found:
        scenario = crash.scenario
        if core in scenario.impossible or scenario.chain is None or not crash.stacked:
            continue
        chain = Unwinder(image, Memory(image, crash.state.memory), call_frames).unwind(crash.state)
        places = [place for frame in chain.frames for place in symbols.at(frame.inside, executed=frame.exact)]
        name = f"{scenario.name}, process stack: {crash.on_process_stack}"
        found_here = [(place.function, place.file, place.line, place.inlined) for place in places]
        assert not scenario.differences(found_here, crash.on_process_stack), name
        assert chain.complete, name
        checked.add((scenario.name, crash.on_process_stack))
    without_frame = {(crash.scenario.name, crash.on_process_stack) for crash in found.found if not crash.stacked}
    assert {name for name, _ in without_frame} <= {"overflow"}
    here = [s for s in lab.scenarios() if s.chain and not s.by_module and core not in s.impossible]
    wanted = {(s.name, process) for s in here for process in (False, True)}
    wanted -= without_frame
    assert checked == wanted


@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("core", lab.CORES)
def test_a_smashed_stack_gives_only_functions_that_were_really_running(
    core: str, level: str, crashes: Callable[[str, str], Crashes]
) -> None:
    found = crashes(core, level)
    image = found.image
    for name, callers in (
        ("smashed_stack", {"smashed_array", "smashed_stack", "main", "thread", "Reset_Handler"}),
        ("corrupted_return", {"corrupted_return", "main", "thread"}),
    ):
        for on_process_stack in (False, True):
            state = found.of(name, on_process_stack).state
            chain = Unwinder(image, Memory(image, state.memory)).unwind(state)
            functions = [image.function_at(frame.inside) for frame in chain.frames]
            assert functions, name
            assert {function.name for function in functions if function} <= callers, name
            assert chain.frames[0].via == "lr"


@pytest.mark.parametrize("core", ["m3", "m4", "m33"])
def test_a_stack_overflow_without_exception_frame_still_gives_the_deepest_chain(
    core: str, crashes: Callable[[str, str], Crashes]
) -> None:
    found = crashes(core, "-O2")
    image = found.image
    crash = found.of("overflow")
    assert not crash.stacked
    chain = Unwinder(image, Memory(image, crash.state.memory)).unwind(crash.state)
    functions = [image.function_at(frame.inside) for frame in chain.frames]
    names = [function.name for function in functions if function]
    assert names[-2:] == ["overflow", "main"]
    assert len(names) > 10
    assert set(names[:-2]) == {"endless"}
    assert {frame.via for frame in chain.frames} == {"scan"}


@dataclass(frozen=True)
class _Pending:
    """A place that will be returned to, and the registers as they were when it was left."""

    address: int
    registers: dict[str, int]
    frame: int | None  # address of the exception frame, when an exception was taken there


class _Shadow:
    """The true chain, kept by watching every call, return and exception as it happens."""

    def __init__(self, image: Image, stub: Stub) -> None:
        self._image = image
        self._stub = stub
        self.pending: list[_Pending] = []

    def follow(self, before: dict[str, int], after: dict[str, int]) -> None:
        pc = after["pc"]
        last = self.pending[-1]
        if after["lr"] >= 0xFFFFFF80 and self._image.starts_function(pc) and before["lr"] != after["lr"]:
            if last.frame != after["sp"]:  # otherwise one handler followed another without going back
                interrupted = int.from_bytes(self._stub.read(after["sp"] + 24, 4), "little")
                self.pending.append(_Pending(interrupted, before, after["sp"]))
            return
        length = 4 if is_wide(int.from_bytes(self._stub.read(before["pc"], 2), "little")) else 2
        back = before["pc"] + length
        call = call_before(Memory(self._image).code, back)
        if call is not None and call.address == before["pc"] and pc != back:
            self.pending.append(_Pending(back, before, None))
        elif pc == last.address and after["sp"] == last.registers["sp"]:
            self.pending.pop()


@pytest.mark.parametrize(("core", "level"), [("m0", "-Os"), ("m3", "-O2"), ("m4", "-O0"), ("m33", "-O3")])
def test_the_chain_and_the_saved_registers_are_right_at_every_single_instruction(
    core: str, level: str, program: Callable[[str, str], Path]
) -> None:
    """Stops at each instruction of a run through calls, prologues, epilogues, libc, assembly and exceptions."""
    elf = program(core, level)
    image = Image(elf)
    call_frames = CallFrames(image)
    # In Thumb-1 prologues r8 to r11 are moved to low registers before they are pushed, and GCC does not say so.
    last_register = 8 if core == "m0" else 12
    quiet, progress, alive = (image.symbol(name) for name in ("quiet", "progress", "alive"))
    assert quiet is not None
    assert progress is not None
    assert alive is not None
    with Stub(lab.CORES[core], elf) as stub:
        number = next(s.index for s in lab.scenarios() if s.name == "quiet") * 2
        stub.write(progress.address, number.to_bytes(4, "little"))
        stub.write(alive.address, (0x600DF00D).to_bytes(4, "little"))
        stub.run_to(quiet.address)
        shadow = _Shadow(image, stub)
        registers = stub.registers()
        shadow.pending.append(_Pending(registers["lr"] & ~1, registers, None))
        steps, deepest, handlers = 0, 0, 0
        while shadow.pending:
            memory = Memory(image, read=stub.read)
            chain = Unwinder(image, memory, call_frames).unwind(CpuState(registers))
            # a tail call's function is in the chain by its jump: it has no place on the stack
            real = [f for i, f in enumerate(chain.frames) if i == 0 or not f.exact or f.via == "pc"]
            where = f"step {steps} at {registers['pc']:#x}, in {image.function_at(registers['pc'])}"
            truth = list(reversed(shadow.pending))
            assert [f.pc for f in real] == [registers["pc"], *(p.address for p in truth)], where
            assert "scan" not in {f.via for f in chain.frames}, where
            for frame, pending in zip(real[1:], truth, strict=True):
                for name in ("sp", *(f"r{n}" for n in range(4, last_register))):
                    assert frame.registers.get(name) == pending.registers[name], (where, hex(frame.pc), name)
            before = registers
            stub.step()
            registers = stub.registers()
            shadow.follow(before, registers)
            steps += 1
            deepest = max(deepest, len(real))
            handlers += sum(1 for p in shadow.pending if p.frame is not None)
            assert steps < 3000
    assert steps > 400
    assert deepest >= 5
    assert handlers > 20


@pytest.mark.parametrize("overwritten", [0, 0xFFFFFFFF])
def test_a_saved_return_address_that_was_overwritten_is_no_natural_end(
    overwritten: int, crashes: Callable[[str, str], Crashes]
) -> None:
    found = crashes("m3", "-O2")
    image, state = found.image, found.of("store").state
    chain = Unwinder(image, Memory(image, state.memory)).unwind(state)
    back = next(frame for frame in chain.frames if (f := image.function_at(frame.inside)) and f.name == "store")
    span = state.memory[0]
    at = span.data.index((back.pc | 1).to_bytes(4, "little"))
    data = span.data[:at] + overwritten.to_bytes(4, "little") + span.data[at + 4 :]
    broken = replace(state, memory=(replace(span, data=data), *state.memory[1:]))
    after = Unwinder(image, Memory(image, broken.memory)).unwind(broken)
    assert not after.complete
    assert all(frame.via == "scan" for frame in after.frames[2:])
