"""Arguments and local variables, against what gdb says of the same frames of the same states."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cpustate import CpuState, MemorySpan
from harness.debug.dwarf.cfi import CallFrames
from harness.debug.dwarf.location import NOT_SAVED
from harness.debug.dwarf.variables import NOT_SET_YET, Variable, VariableReader, _declared, _type
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.symbolise import Place, Symboliser
from harness.debug.unwinding.unwind import StackFrame, Unwinder
from tests.debug import lab
from tests.debug.conftest import Crashes
from tests.debug.gdb.gdbstub import Stub
from tests.debug.gdb.still import gdb_says
from tests.debug.linked import linked

ABSENT = ("optimized out",)
Frames = list[tuple[Place, int, tuple[Variable, ...]]]


@cache
def _read(elf: Path) -> tuple[Image, Symboliser, CallFrames]:
    image = Image(elf)
    return image, Symboliser(image), CallFrames(image)


def variables_of(state: CpuState, elf: Path) -> Frames:
    image, symbols, call_frames = _read(elf)
    memory = Memory(image, state.memory)
    chain = Unwinder(image, memory, call_frames).unwind(state)
    reader = VariableReader(image, memory, chain.frames, call_frames, symbols, lambda address: "")
    return [
        (place, frame.pc, reader.of(index, place))
        for index, frame in enumerate(chain.frames)
        for place in symbols.at(frame.inside)
        if frame.via != "scan"
    ]


def written(value: Any) -> str:
    """gdb's value as the harness writes it."""
    if isinstance(value, str):
        return value
    kind, what, *more = value
    if kind in ("array", "record"):
        parts = [part if kind == "array" else part[1] for part in what]
        if parts and all(written(part) in ABSENT for part in parts):
            return written(parts[0])
    if kind == "array":
        values = [written(part) for part in what]
        if more[1] == "char":
            return _literal(bytes(part[1] & 255 for part in what).split(b"\0")[0].decode("latin-1"), '"')
        return "{" + ", ".join([*values, *([f"… {more[0]} in all"] if more[0] > len(values) else [])]) + "}"
    if kind == "record":
        parts = [f"{name} = {written(part)}" if name else written(part) for name, part in what]
        return "{" + ", ".join([*parts, *(["…"] if more[0] > len(parts) else [])]) + "}"
    if kind == "pointer":
        return "NULL" if what == 0 else f"0x{what & 0xFFFFFFFF:08x}{_text(more[0])}"
    if kind == "char":
        return f"{_literal(chr(what & 255), chr(39))} ({what})"
    if kind == "int":
        return f"{what} (0x{what:x})" if not more[1] and what >= 0x1000 else str(what)
    if kind == "float":
        return str(np.float32(what) if more[0] == 4 else what)
    if kind == "bool":
        return "true" if what else "false"
    return str(what)


def _text(text: str | None) -> str:
    return "" if text is None else f" {_literal(text[:48], chr(34))}{'…' if len(text) > 48 else ''}"


def _literal(text: str, quote: str) -> str:
    known = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", quote: "\\" + quote}
    shown = (known.get(c) or (c if " " <= c <= "~" else f"\\x{ord(c):02x}") for c in text)
    return quote + "".join(shown) + quote


def judged(ours: Variable, gdbs: Any) -> str:
    """How the two compare: "same", "unknown to both", "only gdb", "only ours", "differs"."""
    theirs = written(gdbs)
    if ours.value == theirs:
        return "same"
    absent = theirs == "optimized out" or "error: Cannot access memory" in theirs  # of a structure each field says so
    if ours.value is None:
        return "unknown to both" if absent else f"only gdb: {ours.why}"
    return "only ours" if absent else "differs"


def compared(ours: list[Frames], gdbs: list[list[dict[str, Any]]]) -> Iterator[tuple[str, str]]:
    """Every variable of every frame that both have: how it compares, and what it is."""
    for frames, theirs in zip(ours, gdbs, strict=True):
        for (place, pc, variables), other in zip(frames, theirs):
            if (place.function, pc) != (other["function"], other["pc"]):
                break  # gdb cannot unwind code without call frame information
            found = {variable.name: variable for variable in variables}
            assert set(found) == set(other["variables"]), place
            for name, (value, argument) in other["variables"].items():
                assert found[name].argument is argument
                what = f"{place.function}: {name} is {found[name].value or found[name].why}, gdb: {written(value)}"
                yield judged(found[name], value), what


@pytest.mark.parametrize("level", lab.LEVELS)
@pytest.mark.parametrize("core", lab.CORES)
def test_gdb_says_the_same_of_every_variable(core: str, level: str, crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes(core, level)
    states = [crash.state for crash in found.found]
    theirs = gdb_says(found.elf, states, found.elf.parent, found.core.fpu)
    verdicts = list(compared([variables_of(state, found.elf) for state in states], theirs))
    _right(verdicts)


def _right(verdicts: list[tuple[str, str]]) -> None:
    """What both know is the same; what gdb does not know is not made up; what gdb knows is known, with two exceptions.

    gdb takes for granted that a called function keeps even the registers it need not keep, and shows a variable's place
    on the stack before anything was stored there.
    """
    allowed = {"same", "unknown to both", f"only gdb: {NOT_SAVED}", f"only gdb: {NOT_SET_YET}"}
    assert not [what for verdict, what in verdicts if verdict not in allowed]
    counts = Counter(verdict for verdict, _ in verdicts)
    assert counts["same"] > 100
    assert counts["same"] > 20 * (len(verdicts) - counts["same"] - counts["unknown to both"])


# ---- variables of every kind: firmware/variables.c

STOPS = 12


def _variables_program(core: lab.Core, level: str, folder: Path, dwarf: int) -> Path:
    elf = folder / f"variables-{core.name}{level}-{dwarf}.elf"
    command = [
        "arm-none-eabi-gcc", *core.flags, "-mthumb", level, "-g3", f"-gdwarf-{dwarf}", "-Wall", "-std=gnu11",
        f"-DCORE_HAS_FPU={core.fpu:d}", "-nostartfiles", "--specs=nano.specs", "-T", "link.ld",
        f"-Wl,--defsym=FLASH_ORIGIN={core.flash:#x},--defsym=RAM_ORIGIN={core.ram:#x},--defsym=RAM_BYTES={core.ram_bytes:#x}",
        "variables.c", "-o", str(elf),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=lab.FIRMWARE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return elf


def _stopped(core: lab.Core, elf: Path) -> list[CpuState]:
    """The processor at each call of `stop`, with its stack and variables."""
    image = Image(elf)
    stop, stack = image.symbol("stop"), image.symbol("main_stack")
    assert stop is not None
    assert stack is not None
    states = []
    with Stub(core, elf) as stub:
        for _ in range(STOPS):
            stub.run_to(stop.address)
            memory = (MemorySpan(stack.address, stub.read(stack.address, 2048)),)
            states.append(CpuState({**stub.registers(), "xpsr": 1 << 24}, memory=memory, reason="halted"))
            stub.step()
    return states


@pytest.mark.parametrize("dwarf", [4, 5])
@pytest.mark.parametrize("level", lab.LEVELS)
@pytest.mark.parametrize("core", ["m0", "m3", "m4"])
def test_gdb_says_the_same_of_variables_of_every_kind(
    core: str, level: str, dwarf: int, toolchain: None, tmp_path: Path
) -> None:
    elf = _variables_program(lab.CORES[core], level, tmp_path, dwarf)
    states = _stopped(lab.CORES[core], elf)
    ours = [variables_of(state, elf) for state in states]
    assert ours[0][0][0].function == "stop"
    verdicts = list(compared(ours, gdb_says(elf, states, tmp_path, lab.CORES[core].fpu)))
    _right(verdicts)


@pytest.mark.parametrize("core", lab.CORES)
def test_registers_that_a_function_need_not_keep_are_not_known_in_its_caller(
    core: str, crashes: Callable[[str, str], Crashes]
) -> None:
    found = crashes(core, "-O2")
    image, _, call_frames = _read(found.elf)
    checked = 0
    for crash in found.found:
        if crash.scenario.name == "variable_arguments":
            continue  # a variadic function does save the arguments in r0 to r3
        chain = Unwinder(image, Memory(image, crash.state.memory), call_frames).unwind(crash.state)
        for frame in chain.frames[1:]:
            if frame.via == "pc":
                continue  # an exception pushed them
            # r3 may be pushed to keep the stack aligned
            assert not {"r0", "r1", "r2", "r12", *(f"s{n}" for n in range(16))} & set(frame.registers)
            checked += 1
    assert checked > 50


class _Circle:
    """A description that is an instance of itself."""

    tag = "DW_TAG_formal_parameter"
    offset = 7
    attributes = {"DW_AT_abstract_origin": 7}  # noqa: RUF012

    def get_DIE_from_attribute(self, name: str) -> _Circle:
        return self


@pytest.mark.timeout(20)
def test_a_description_that_leads_to_itself_has_no_type_and_a_place() -> None:
    assert _type(_Circle()).size is None
    assert _declared(_Circle()) == 7


@pytest.mark.parametrize("level", ["-O1", "-O2", "-O2 -flto"])
def test_arguments_come_in_the_order_of_their_declaration(level: str, toolchain: None, tmp_path: Path) -> None:
    """Also of a function that was inlined, whose description has them in any."""
    image = Image(linked(tmp_path, KERNEL, "-g3", *level.split()))
    memory, call_frames, symbols = Memory(image), CallFrames(image), Symboliser(image)
    checked = 0
    for function in image.functions:
        for address in range(function.address, function.address + function.size, 2):
            reader = VariableReader(
                image, memory, [StackFrame(address, "pc", True, {})], call_frames, symbols, lambda number: ""
            )
            for place in symbols.at(address):
                if place.function == "kernel":
                    names = [variable.name for variable in reader.of(0, place) if variable.argument]
                    assert names == ["input", "weights", "bias", "output", "count"]
                    checked += 1
    assert checked > 5


KERNEL = """
static void kernel(
    const signed char *input, const signed char *weights, const int *bias, signed char *output, int count)
{
    for (int i = 0; i < count; i++) {
        output[i] = (signed char)((input[i] * weights[i] + bias[i]) >> 3);
    }
}

void entry(signed char *arena)
{
    kernel(arena + 64, arena + 128, (const int *)(arena + 256), arena, 16);
    kernel(arena, arena + 128, (const int *)(arena + 256), arena + 64, 24);
}
"""
