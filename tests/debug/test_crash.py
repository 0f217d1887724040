"""The whole explanation: words, frames, layers, places; and garbage in its stead."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import get_args

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.cpustate import CpuState, MemorySpan
from harness.debug.crash import Crash, explain
from harness.debug.dwarf.cfi import CallFrames
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.places import quoted
from harness.debug.unwinding.unwind import Unwinder, Via
from harness.errors import BadInput, RunnerFailed
from harness.report.console import plain
from harness.report.traceback import traceback_text
from tests.debug import lab
from tests.debug.conftest import Crashes
from tests.debug.model import three_layers

HOSTILE = 'in"pw\n*/\x1b[31m\\é'


def test_the_traceback_of_a_layer_reads_as_it_should(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m3", "-O2")
    crash = explain(found.of("store").state, found.image, source=three_layers())
    number = {name: expected.line for name, expected in zip("poms", lab.scenarios()[0].expected(False), strict=True)}
    assert crash.lines()[:6] == [
        "Traceback (most recent call first):",
        "  #0  BusFault_Handler                 precise data bus fault, address 0x60000000",
        f"  #1  poke              program.c:{number['p']}",
        f'  #2  outer             program.c:{number["o"]}   layer 1 of 3, CONV_2D "block1/pointwise"',
        f"  #3  store             program.c:{number['m']}",
        f"  #4  main              program.c:{number['s']}",
    ]
    assert crash.sentence == (
        f'Precise data bus fault in poke at program.c:{number["p"]}, layer 1 of 3, CONV_2D "block1/pointwise". A load '
        "or store touched an address that nothing answers; the program counter is at that instruction. The store went "
        "to 0x60000000, where this firmware has nothing (external RAM region)."
    )
    assert crash.notes == ()


def test_the_json_has_what_the_design_names(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m4", "-O3")
    crash = explain(found.of("inlined").state, found.image, source=three_layers())
    data = json.loads(json.dumps(crash.to_json(), allow_nan=False))
    assert data["kind"] == "precise_bus_fault"
    assert data["address"] == 0x60000000
    assert data["layer"] is None
    assert data["frames"][0]["via"] == "pc"
    assert data["frames"][0]["function"] == "BusFault_Handler"
    assert [f["function"] for f in data["frames"][1:]] == ["store_word", "store_twice", "inlining", "inlined", "main"]
    assert [f["inlined"] for f in data["frames"][1:]] == [True, True, False, False, False]
    assert all(Path(f["file"]).is_file() for f in data["frames"][1:])
    assert data["registers"]["pc"] != 0
    assert data["fault_status"]["bfar"] == 0x60000000
    assert any(text.startswith("BFSR.PRECISERR: ") for text in data["status_bits"])


@pytest.mark.parametrize("core", lab.CORES)
def test_the_handler_that_took_the_fault_is_the_first_row(core: str, crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes(core, "-Os")
    expected = {"store": "BusFault_Handler", "misaligned": "UsageFault_Handler", "interrupt": "HardFault_Handler"}
    for name, handler in expected.items():
        crash = explain(found.of(name).state, found.image)
        assert crash.frames[0].function == (handler if core != "m0" else "HardFault_Handler")
        assert crash.frames[1].via == "pc"


def test_the_layer_comes_from_the_chain_and_from_what_the_firmware_noted(
    crashes: Callable[[str, str], Crashes],
) -> None:
    found = crashes("m3", "-O2")
    in_layer, outside = found.of("store").state, found.of("inlined").state
    assert explain(in_layer, found.image, source=three_layers()).layer == 1
    assert explain(in_layer, found.image, layers=three_layers().layers).layer == 1
    assert explain(replace(outside, layer=2), found.image, source=three_layers()).layer == 2
    assert explain(outside, found.image, source=three_layers()).layer is None
    assert explain(replace(in_layer, layer=2), found.image).layer == 2
    doubtful = explain(replace(in_layer, layer=2), found.image, source=three_layers())
    assert doubtful.layer == 1
    assert any("noted layer 2" in note for note in doubtful.notes)


def test_a_helper_in_the_file_of_a_layer_belongs_to_it(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m3", "-O2")
    layer = replace(three_layers().layers[1], name="elsewhere", file="firmware/program.c")
    assert {f.layer for f in explain(found.of("store").state, found.image, layers=[layer]).frames[1:]} == {1}


def test_a_name_out_of_the_model_cannot_break_the_line(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m3", "-O2")
    crash = explain(found.of("store").state, found.image, source=three_layers(tensor=HOSTILE))
    for line in (*crash.lines(), crash.sentence):
        assert line.isprintable()
    assert quoted(HOSTILE) == '"in\\"pw\\n*/\\x1b[31m\\\\é"'
    assert len(quoted("x" * 1000)) < 100


def test_a_recursion_is_shortened_in_the_table_and_whole_in_the_frames(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m3", "-O2")
    crash = explain(found.of("overflow").state, found.image)
    assert crash.kind == "stack_overflow"
    assert sum(f.function == "endless" for f in crash.frames) > 10
    assert len(crash.rows()) < 10
    shown = StringIO()
    Console(file=shown, width=120).print(traceback_text(crash))
    assert re.search(r"… +\d+ more of endless", shown.getvalue())
    assert all("guessed" in f.label for f in crash.frames if f.via == "scan")


def test_a_record_that_ends_half_way_says_so(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m3", "-O2")
    state = found.of("store").state
    cut = replace(state, memory=(), partial=True)
    crash = explain(cut, found.image)
    assert [f.function for f in crash.frames] == ["BusFault_Handler", "poke", "outer"]  # as far as LR leads
    assert any("incomplete" in note for note in crash.notes)
    assert any("may be incomplete" in note for note in crash.notes)


def test_what_the_record_lacks_is_read_from_the_target_and_a_target_that_fails_is_left_alone(
    crashes: Callable[[str, str], Crashes],
) -> None:
    found = crashes("m3", "-O2")
    state = found.of("store").state
    stack = next(s for s in state.memory if s.address <= state.registers["sp"] < s.address + len(s.data))
    asked = []

    def read(address: int, length: int) -> bytes:
        asked.append(address)
        if not stack.address <= address < stack.address + len(stack.data):
            raise RunnerFailed("nothing there")
        return stack.data[address - stack.address :][:length]

    whole = explain(state, found.image)
    assert explain(replace(state, memory=()), found.image, read_memory=read).frames == whole.frames
    assert asked

    failures = []

    def fail(address: int, length: int) -> bytes:
        failures.append(address)
        raise RunnerFailed("the target is gone")

    crash = explain(replace(state, memory=()), found.image, read_memory=fail)
    assert [f.function for f in crash.frames][:2] == ["BusFault_Handler", "poke"]
    assert len(failures) <= 3


def test_a_processor_that_was_halted_has_no_fault_row(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m3", "-O2")
    state = replace(found.of("store").state, reason="halted", fault_status={})
    crash = explain(state, found.image, source=three_layers())
    assert crash.kind == "halted"
    assert [f.function for f in crash.frames] == ["poke", "outer", "store", "main"]
    assert crash.layer == 1


def test_a_lockup_has_what_the_emulators_last_words_give(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m3", "-O2")
    state = CpuState(found.of("store").state.registers, reason="lockup")
    crash = explain(state, found.image)
    assert crash.kind == "lockup"
    assert [f.function for f in crash.frames] == ["lockup", "poke", "outer"]


def test_no_elf_file_is_the_only_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no-such.elf"):
        explain(CpuState({}), tmp_path / "no-such.elf")


# ---- garbage

_WORDS = st.integers(0, 0xFFFFFFFF)
_NAMES = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr", "msp", "psp", "control", "exc_return")


@st.composite
def _garbage(draw: st.DrawFn, interesting: list[int]) -> CpuState:
    """A state whose values are random, near the stack, or such as only a real program has."""
    base = draw(st.sampled_from([0x20000000, 0x20000600, 0x38000000, 0, 0xFFFFFF00]))
    value = st.one_of(
        _WORDS,
        st.sampled_from(interesting),
        st.integers(base, min(base + 0x700, 0xFFFFFFFF)),
        st.sampled_from([0, 0xFFFFFFFF, 0xFFFFFFF9, 0xFFFFFFFD, 0xFFFFFFE9, 0xFFFFFFED, 0xFFFFFFF1, 0xFEFA125A]),
    )
    names = draw(st.sets(st.sampled_from(_NAMES)))
    words = draw(st.lists(value, max_size=120))
    memory = [MemorySpan(base, b"".join(w.to_bytes(4, "little") for w in words))]
    if draw(st.booleans()):
        memory.append(MemorySpan(draw(_WORDS), draw(st.binary(max_size=40))))
    return CpuState(
        {name: draw(value) for name in sorted(names)},
        draw(st.dictionaries(st.sampled_from(["cfsr", "hfsr", "mmfar", "bfar", "sfsr", "sfar", "dfsr"]), _WORDS)),
        tuple(memory),
        draw(st.none() | st.integers(0, 5)),
        draw(st.sampled_from(["hardfault", "busfault", "halted", "lockup", "nmi", "exception 77", ""])),
        draw(st.booleans()),
    )


def _sane(crash: Crash) -> None:
    json.dumps(crash.to_json(), allow_nan=False)
    assert crash.kind
    assert crash.sentence
    assert all(frame.via in get_args(Via) and frame.function for frame in crash.frames)
    guessed = False
    for frame in crash.frames:
        guessed = guessed or frame.via == "scan"
        assert frame.via == "scan" or not guessed, "what rests on a guess is one"
        assert not guessed or "guessed" in frame.label
    assert len(crash.lines()) < 1000
    for variable in (v for f in crash.frames for v in f.variables):
        assert variable.name
        assert (variable.value is None) == bool(variable.why)
    assert not any(f.variables for f in crash.frames if f.via == "scan"), "of a guess nothing is known"
    assert len(crash.listings) <= 3
    for listing in crash.listings:
        assert len(listing.source) <= 9
        assert len(listing.instructions) <= 9
    for verbose in (False, True):
        text = plain(traceback_text(crash, verbose))
        assert all(line.isprintable() for line in text.splitlines())
        assert len(text) < 100_000


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_garbage_is_explained_and_never_raises(data: st.DataObject, crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m33", "-O2")
    _sane(explain(data.draw(_garbage(_interesting(found))), found.image, source=three_layers()))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_debug_information_never_raises(
    data: st.DataObject, crashes: Callable[[str, str], Crashes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = crashes("m3", data.draw(st.sampled_from(["-O0", "-O2"])))
    content = bytearray(found.elf.read_bytes())
    with found.elf.open("rb") as file:
        sections = [s for s in ELFFile(file).iter_sections() if s.name.startswith(".debug") and s["sh_size"]]
        places = {s.name: (s["sh_offset"], s["sh_size"]) for s in sections}
    for _ in range(data.draw(st.integers(1, 20))):
        offset, size = places[data.draw(st.sampled_from(sorted(places)))]
        content[offset + data.draw(st.integers(0, size - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path_factory.mktemp("damaged") / "firmware.elf"
    damaged.write_bytes(content)
    _sane(explain(data.draw(st.sampled_from(found.found)).state, damaged, source=three_layers()))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_stack_never_raises_and_never_runs_on(
    data: st.DataObject, crashes: Callable[[str, str], Crashes]
) -> None:
    found = crashes("m3", "-O2")
    image, call_frames = _image(found.elf)
    state = data.draw(st.sampled_from(found.found)).state
    main = bytearray(state.memory[0].data)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(main) // 4 - 1)) * 4
        word = data.draw(st.one_of(_WORDS, st.sampled_from(_interesting(found))))
        main[at : at + 4] = word.to_bytes(4, "little")
    memory = (MemorySpan(state.memory[0].address, bytes(main)), state.memory[1])
    chain = Unwinder(image, Memory(image, memory), call_frames).unwind(replace(state, memory=memory))
    assert len(chain.frames) <= 140
    assert chain.end


@cache
def _image(elf: Path) -> tuple[Image, CallFrames]:
    image = Image(elf)
    return image, CallFrames(image)


def _interesting(found: Crashes) -> list[int]:
    """Return addresses, function entries and stack addresses of the program."""
    image, _ = _image(found.elf)
    entries = [symbol.address | 1 for symbol in image.functions]
    stack = found.found[0].state.memory[0].data
    return entries + [int.from_bytes(stack[i : i + 4], "little") for i in range(len(stack) - 400, len(stack), 4)]
