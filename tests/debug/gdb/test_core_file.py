"""Core files: what gdb and readelf read of them, what comes back, and what becomes of damaged ones."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board import load_board
from harness.cpustate import FAULT_STATUS_ADDRESSES, CpuState, MemorySpan
from harness.debug.arenas import ARENA
from harness.debug.crash import explain
from harness.debug.gdb.core_file import core_file, is_core, read_core, unknown_registers
from harness.debug.gdb.view import CORE_REGISTERS, UNKNOWN
from harness.debug.image import Image
from harness.debug.memory import joined, live_memory
from harness.errors import BadInput
from harness.firmware import build
from harness.session import open_session
from harness.toolchain.elf import build_id
from harness.verdict import TargetCrashed
from tests.debug import lab
from tests.debug.conftest import Crashes
from tests.debug.gdb import sights
from tests.sample_model import sample, with_kernel

_WORDS = st.integers(0, 0xFFFFFFFF)
_NAMES = (*CORE_REGISTERS, "msp", "psp", "control", "exc_return", "fpscr", *(f"s{n}" for n in range(32)))
_STATES = st.builds(
    CpuState,
    st.dictionaries(st.sampled_from(_NAMES), _WORDS | st.integers(0x1FFFFFC0, 0x20000080)),  # stack pointers too
    st.dictionaries(st.sampled_from(sorted(FAULT_STATUS_ADDRESSES)), _WORDS),
    st.lists(st.builds(MemorySpan, _WORDS | st.integers(0x20000000, 0x20000040), st.binary(max_size=64))).map(tuple),
    st.none() | st.integers(0, 100),
    st.sampled_from(["hardfault", "busfault", "assert", "halted", "lockup", "exception 77", ""]),
    st.booleans(),
)
FLOATS = {f"s{n}": 0x3F800000 + (n << 20) for n in range(32)}


@settings(max_examples=300, deadline=None)
@given(state=_STATES, build=st.none() | st.binary(min_size=1, max_size=32), more=st.binary(max_size=40))
def test_what_is_written_comes_back(state: CpuState, build: bytes | None, more: bytes) -> None:
    report = {"kind": "halted", "title": "…", "frames": [{"line": 3}]} if more else None
    besides = (MemorySpan(0x20000020, more),)
    data = core_file(state, build_id=build, memory=besides, report=report)
    assert is_core(data)
    core = read_core(data, "core")
    assert (core.build_id, core.report) == (build, report)
    known = joined((*state.memory, *besides))
    assert [(span.address, span.data) for span in core.state.memory] == known
    assert replace(core.state, memory=()) == replace(state, memory=())


@settings(max_examples=200, deadline=None)
@given(spans=st.lists(st.builds(MemorySpan, st.integers(0, 40) | st.just(0xFFFFFFF8), st.binary(max_size=16))))
def test_of_spans_that_overlap_the_first_counts(spans: list[MemorySpan]) -> None:
    truth: dict[int, int] = {}
    for span in spans:
        for offset, byte in enumerate(span.data):
            if span.address + offset < 1 << 32:
                truth.setdefault(span.address + offset, byte)
    runs = joined(spans)
    assert {start + i: byte for start, data in runs for i, byte in enumerate(data)} == truth
    assert all(data for _, data in runs)
    assert all(a + len(data) < b for (a, data), (b, _) in pairwise(runs))


def test_of_a_stack_the_core_file_has_the_whole_line_that_its_known_bytes_begin_in_and_of_nothing_else() -> None:
    spans = {
        "code": MemorySpan(0x10000014, b"code"),
        "stack": MemorySpan(0x20001058, bytes(range(0x30))),
        "the same stack, behind bytes that are lost": MemorySpan(0x2000108C, bytes(8)),
        "a whole line": MemorySpan(0x20001100, bytes(64)),
        "a variable": MemorySpan(0x20004244, b"data"),
        "the other stack, that has grown out of its bounds": MemorySpan(0x20006FFE, bytes(3)),
        "at the end of the address space": MemorySpan(0xFFFFFFF4, b"end"),
    }
    registers = {"sp": 0x20001078, "msp": 0x20001058, "psp": 0x20006100}
    state = CpuState(registers, {"cfsr": 2}, tuple(spans.values()))
    data = core_file(state)
    segments = {s["p_vaddr"]: s.data() for s in ELFFile(io.BytesIO(data)).iter_segments("PT_LOAD")}
    unknown = UNKNOWN.to_bytes(4, "little") * 16
    assert segments == {
        0x10000014: b"code",
        0x20001040: unknown[:0x18] + bytes(range(0x30)) + unknown[8:12] + bytes(8),
        0x20001100: bytes(64),
        0x20004244: b"data",
        0x20006FC0: unknown[:0x3E] + bytes(3),
        0xE000ED28: (2).to_bytes(4, "little"),
        0xFFFFFFF4: b"end",
    }
    assert read_core(data, "core").state == state


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_a_damaged_core_file_is_refused_or_read_and_never_raises_anything_else(data: st.DataObject) -> None:
    state = CpuState({"pc": 0x100, "sp": 0x20000000}, {"cfsr": 2}, (MemorySpan(0x20000000, bytes(range(64))),), 3)
    whole = bytearray(core_file(state, build_id=b"\x55" * 20))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1) | st.integers(16, 140))
        whole[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(whole)) | st.just(len(whole)))
    with suppress(BadInput):
        core = read_core(bytes(whole[:end]), "damaged.core")
        assert all(0 <= value <= 0xFFFFFFFF for value in core.state.registers.values())


@pytest.mark.parametrize("values", ["Infinity", '"x"', "[]", "{}", "null", '{"pc": 1e400}'])
def test_a_note_that_says_nonsense_is_refused(values: str) -> None:
    whole = core_file(CpuState({}))
    damaged = whole.replace(b'"registers": {}', b'"registers": ' + values.encode().ljust(2))
    if len(damaged) != len(whole):  # the note's size has to grow with it
        grown = len(damaged) - len(whole)
        at = damaged.index(b"layerproof\0") - 8
        size = int.from_bytes(damaged[at : at + 4], "little") + grown
        damaged = damaged[:at] + size.to_bytes(4, "little") + damaged[at + 4 :]
        size = int.from_bytes(damaged[68:72], "little") + grown  # p_filesz of the notes
        damaged = damaged[:68] + size.to_bytes(4, "little") + damaged[72:] + bytes(8)
    if values == "{}":
        assert read_core(damaged, "core").state == CpuState({})
    else:
        with pytest.raises(BadInput, match="note is damaged"):
            read_core(damaged, "core")


def test_other_elf_files_are_refused(program: Callable[[str, str], Path]) -> None:
    data = program("m3", "-O2").read_bytes()
    assert not is_core(data)
    with pytest.raises(BadInput, match="not the core file"):
        read_core(data, "firmware.elf")
    with pytest.raises(BadInput, match="not a usable ELF core file"):
        read_core(b"R0=0x00000000", "crash.log")
    foreign = core_file(CpuState({})).replace(b"layerproof", b"somebodyel")
    with pytest.raises(BadInput, match="of another program"):
        read_core(foreign, "core")


@pytest.mark.parametrize("reader", ["readelf", "arm-none-eabi-readelf"])
def test_readelf_has_nothing_to_say_against_it(
    reader: str, crashes: Callable[[str, str], Crashes], tmp_path: Path
) -> None:
    if shutil.which(reader) is None:
        pytest.skip(f"{reader} is not installed")
    state = crashes("m4", "-O2").of("store").state
    known = replace(state, registers={**state.registers, **FLOATS, "fpscr": 0})
    (tmp_path / "core").write_bytes(core_file(known, build_id=bytes(range(20))))
    done = subprocess.run(
        [reader, "-hlnW", str(tmp_path / "core")], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    for expected in ("CORE (Core file)", "NT_PRSTATUS", "NT_PRPSINFO", "NT_ARM_VFP", "GDB XML", "layerproof"):
        assert expected in done.stdout
    assert f"Build ID: {bytes(range(20)).hex()}" in done.stdout
    loaded = [line for line in done.stdout.splitlines() if " LOAD " in line]
    for start, data in joined(state.memory):
        assert any(f"0x{start:08x} 0x{start:08x} 0x{len(data):05x}" in line for line in loaded)


@sights.needs_gdb
def test_gdb_shows_floating_point_registers_where_all_are_known_and_none_otherwise(
    crashes: Callable[[str, str], Crashes], tmp_path: Path
) -> None:
    found = crashes("m4", "-O2")
    state = found.of("store").state
    all_known = {**state.registers, **FLOATS, "fpscr": 0x60000010}
    some = {name: value for name, value in all_known.items() if name not in ("s17", "fpscr")}
    targets = []
    for number, registers in enumerate((all_known, some)):
        core = tmp_path / f"{number}.core"
        core.write_bytes(core_file(replace(state, registers=registers)))
        targets.append(sights.Target(f"core-file {core}"))
    complete, partial = sights.look(found.elf, targets, tmp_path)
    assert complete.register("fpscr") == 0x60000010
    for name, word in FLOATS.items():
        assert float(complete.registers[name].split()[0]) == struct.unpack("<f", word.to_bytes(4, "little"))[0]
    assert not {"s0", "d0", "fpscr"} & partial.registers.keys()


@sights.needs_gdb
def test_gdb_says_when_the_elf_file_is_another_one(
    toolchain: None, crashes: Callable[[str, str], Crashes], tmp_path: Path
) -> None:
    state = crashes("m3", "-O2").of("division").state
    elf = lab.build(lab.CORES["m3"], "-O2", tmp_path, "-Wl,--build-id=sha1")
    ours = build_id(elf)
    sessions = []
    for number, identity in enumerate((ours, ours[::-1], None)):
        core = tmp_path / f"{number}.core"
        core.write_bytes(core_file(state, build_id=identity))
        sessions += sights.look(elf, [sights.Target(f"core-file {core}")], tmp_path)
    told = ["core file may not match specified executable file" in seen.said for seen in sessions]
    assert told == [False, True, False]
    assert "Core was generated by `division by zero'" in sessions[0].said
    assert "signal SIGFPE" in sessions[0].said


@pytest.mark.parametrize("board_name", ["qemu_cortex_m4", "qemu_cortex_m55"])
@sights.needs_gdb
def test_a_layer_that_crashes_with_the_arena_and_all_variables_read_from_the_target(
    board_name: str, toolchain: None, tmp_path: Path
) -> None:
    board = load_board(board_name)
    body = "    *(volatile int32_t *)(uintptr_t)0xF4000000u = input[0]; /* here */\n    output[0] = 1;\n"
    firmware = build(with_kernel(sample(board.target.core), 1, body), board, cache=tmp_path / "cache")
    image = Image(firmware.elf)
    arena = image.symbol(ARENA)
    assert arena is not None
    with open_session(firmware, board, timeout=20) as session:
        with pytest.raises(TargetCrashed) as raised:
            session.run_layers()
        state = raised.value.state
        assert state is not None
        report = explain(state, firmware.elf, source=firmware.source, read_memory=session.read_memory)
        read = live_memory(image, session.read_memory)
        tensors = session.read_memory(arena.address, arena.size)
    core = tmp_path / "crash.core"
    core.write_bytes(core_file(state, build_id=build_id(firmware.elf), memory=read, report=report.to_json()))
    wanted = ((arena.address, arena.size), *((span.address, len(span.data)) for span in state.memory))
    words = f"x/{arena.size // 4}xw {arena.address:#x}"
    (seen,) = sights.look(firmware.elf, [sights.Target(f"core-file {core}", wanted, (words,))], tmp_path)
    assert "may not match" not in seen.said
    ours = [(f.function, Path(f.file or "").name, f.line) for f in report.frames if f.pc is not None]
    assert [(f.function, f.file, f.line) for f in seen.frames] == ours
    assert ours[0][0] == "double_1"
    assert seen.memory == (tensors, *(span.data for span in state.memory))
    shown = [word for line in seen.answers[0].splitlines() for word in line.partition(":")[2].split()]
    assert b"".join(int(word, 16).to_bytes(4, "little") for word in shown) == tensors[: arena.size // 4 * 4]
    assert any(tensors)
    assert unknown_registers(state) == ()
    assert {name: seen.register(name) for name in CORE_REGISTERS} == {n: state.registers[n] for n in CORE_REGISTERS}


def test_what_cannot_be_read_from_the_target_is_left_out_and_a_dead_one_is_left_alone(
    program: Callable[[str, str], Path],
) -> None:
    image = Image(program("m3", "-O2"))
    sizes = {section.name: (section.address, section.size) for section in image.sections if section.writable}
    asked = []

    def read(address: int, length: int) -> bytes:
        asked.append(address)
        if address == sizes[".stacks"][0]:
            raise OSError("guarded")
        return bytes([address & 255]) * length

    spans = live_memory(image, read)
    whole = {start: len(data) for start, data in joined(spans)}
    assert sizes[".stacks"][0] not in whole
    assert sum(whole.values()) == 8 + sum(size for _, size in sizes.values()) - 1024
    asked.clear()

    def dead(address: int, length: int) -> bytes:
        asked.append(address)
        raise EOFError

    assert live_memory(image, dead) == ()
    assert len(asked) == 3


@pytest.mark.parametrize("missing", [("r0", "r12"), ("pc", "lr", "xpsr"), ()])
@sights.needs_gdb
def test_a_register_that_is_not_known_shows_as_one_value_that_nothing_else_has(
    missing: tuple[str, ...], crashes: Callable[[str, str], Crashes], tmp_path: Path
) -> None:
    found = crashes("m3", "-O2")
    state = found.of("store").state
    known = {name: value for name, value in state.registers.items() if name not in missing}
    left = replace(state, registers=known)
    assert unknown_registers(left) == tuple(name for name in CORE_REGISTERS if name in missing)
    (tmp_path / "core").write_bytes(core_file(left))
    (seen,) = sights.look(found.elf, [sights.Target(f"core-file {tmp_path / 'core'}")], tmp_path)
    for name in CORE_REGISTERS:
        stands_for = 1 << 24 if name == "xpsr" else UNKNOWN
        assert seen.register(name) == (stands_for if name in missing else state.registers[name])
    assert all(not section.covers(UNKNOWN) for section in found.image.sections)
