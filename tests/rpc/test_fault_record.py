"""The fault record: from raw words to the state of a processor. Frames as the manuals draw them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cpustate import MemorySpan
from harness.layout import LayoutError
from harness.rpc.fault_record import MAGIC, NO_LAYER, VERSION, FaultRecord, RecordFlag

BASIC, EXTENDED = 0xFFFFFFF9, 0xFFFFFFE9
SECURE = 1 << 6  # of EXC_RETURN
TS = 1 << 26  # of FPCCR
STATUS = RecordFlag.STATUS | RecordFlag.FRAME
SPANS = (MemorySpan(0x20000120, b"stack..."), MemorySpan(0x20001000, b"more"))
STACKED = (0, 1, 2, 3, 12, 0x1001, 0x2000, 0x21000000)  # r0-r3, r12, lr, pc, xpsr

RECORD = FaultRecord(
    magic=MAGIC, total=0, crc32=0, version=VERSION, flags=STATUS, build_id=bytes(range(20)), layer=3, exception=5,
    exc_return=BASIC, msp=0x20000100, psp=0x20001000, control=0, primask=0, basepri=0, faultmask=0, msplim=0, psplim=0,
    r4_r11=tuple(range(4, 12)), frame_address=0x20000100, frame=STACKED, s0_s31=tuple(range(100, 132)), fpscr=116,
    vpr=117, fpccr=0, cfsr=0x8200, hfsr=0, mmfar=0, bfar=0x60000000, afsr=0, shcsr=0x70002, sfsr=0, sfar=0, line=0,
    file=bytes(40), memory=b"",
).sealed(SPANS)  # fmt: skip


def sealed(record: FaultRecord) -> bytes:
    """The record as the firmware finishes it."""
    record = replace(record, total=len(record.pack()))
    return replace(record, crc32=zlib.crc32(record.pack()[12:])).pack()


def test_a_bus_fault() -> None:
    state = FaultRecord.parse(sealed(RECORD)).cpu_state()
    assert {name: state.registers[name] for name in ("r0", "r3", "r4", "r11", "r12", "lr", "pc", "xpsr", "sp")} == {
        "r0": 0, "r3": 3, "r4": 4, "r11": 11, "r12": 12, "lr": 0x1001, "pc": 0x2000, "xpsr": 0x21000000,
        "sp": 0x20000120,
    }  # fmt: skip
    assert state.fault_status["bfar"] == 0x60000000
    assert "sfsr" not in state.fault_status
    assert state.reason == "busfault"
    assert state.layer == 3
    assert not state.partial
    frame, *stack = state.memory
    assert (frame.address, frame.data) == (0x20000100, struct.pack("<8I", *STACKED))
    assert tuple(stack) == SPANS


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(
    ("exc_return", "fpccr", "words"),
    [(BASIC, 0, 8), (EXTENDED, 0, 26), (BASIC, TS, 8), (EXTENDED, TS, 42), (EXTENDED & ~SECURE, TS, 26)],
)
def test_the_stack_pointer_before_the_frame(padding: int, exc_return: int, fpccr: int, words: int) -> None:
    xpsr = 0x21000000 | padding << 9
    record = replace(RECORD, exc_return=exc_return, fpccr=fpccr, frame=(*STACKED[:7], xpsr))
    words += padding
    assert record.cpu_state().registers["sp"] == 0x20000100 + 4 * words


def test_floating_point_registers_are_told_only_where_they_are_known() -> None:
    assert not any(name.startswith("s1") for name in RECORD.cpu_state().registers)
    saved = replace(RECORD, exc_return=EXTENDED, flags=STATUS | RecordFlag.FLOAT)
    assert saved.cpu_state().registers["s16"] == 116
    assert len(saved.cpu_state().memory[0].data) == 32
    assert "s0" not in saved.cpu_state().registers
    flushed = replace(saved, flags=saved.flags | RecordFlag.FLUSHED).cpu_state().registers
    assert [flushed[f"s{n}"] for n in range(32)] == [*range(100, 132)]
    assert flushed["fpscr"] == 116
    frame = replace(saved, flags=saved.flags | RecordFlag.FLUSHED).cpu_state().memory[0].data
    assert struct.unpack("<26I", frame) == (*STACKED, *range(100, 116), 116, 117)


@pytest.mark.parametrize("cfsr", [1 << 4, 1 << 12], ids=["MSTKERR", "STKERR"])
def test_a_frame_that_was_not_written_is_not_believed(cfsr: int) -> None:
    state = replace(RECORD, cfsr=cfsr).cpu_state()
    assert not {"r0", "r12", "lr", "pc", "xpsr"} & set(state.registers)
    assert state.registers["sp"] == 0x20000100
    assert state.registers["r4"] == 4


def test_a_stack_limit_that_an_instruction_met_leaves_the_frame_whole() -> None:
    overflow = replace(RECORD, cfsr=1 << 20, msplim=0x20000000)
    assert overflow.cpu_state().registers["pc"] == 0x2000
    assert "pc" not in replace(overflow, msplim=0x20000100).cpu_state().registers
    on_process_stack = replace(overflow, exc_return=BASIC | 4, psplim=0x20000100)
    assert "pc" not in on_process_stack.cpu_state().registers


def test_no_layer_no_status_partial() -> None:
    state = replace(RECORD, layer=NO_LAYER, flags=RecordFlag.PARTIAL, exception=3, memory=b"").cpu_state()
    assert state.layer is None
    assert state.partial
    assert state.fault_status == {}
    assert state.memory == ()
    assert state.reason == "hardfault"


def test_an_assertion() -> None:
    flags = STATUS | RecordFlag.ASSERT
    state = replace(RECORD, flags=flags, cfsr=1 << 16, line=41, file=b"kernel.c".ljust(40, b"\0")).cpu_state()
    assert (state.reason, state.message) == ("assert", "kernel.c:41")
    assert state.fault_status == {}  # the undefined instruction is of its own making
    assert state.registers["pc"] == 0x2000
    assert RECORD.cpu_state().message == ""


def test_a_frame_on_a_stack_of_the_other_security_state() -> None:
    state = replace(RECORD, frame_address=0, flags=RecordFlag.STATUS).cpu_state()
    assert not {"pc", "sp"} & set(state.registers)


def test_another_version_is_refused_by_that_name() -> None:
    with pytest.raises(LayoutError, match="fault record of version 7; this harness reads version 1"):
        FaultRecord.parse(sealed(replace(RECORD, version=7)))


@pytest.mark.parametrize("memory", [b"\0" * 7, struct.pack("<II", 0, 9) + bytes(8), RECORD.memory + b"x"])
def test_memory_that_does_not_end_with_the_record_is_refused(memory: bytes) -> None:
    with pytest.raises(LayoutError, match="spans of memory"):
        FaultRecord.parse(sealed(replace(RECORD, memory=memory)))


@given(st.lists(st.builds(MemorySpan, st.integers(0, 2**32 - 1), st.binary(max_size=20)), max_size=4))
def test_memory_comes_back_as_it_was_kept(spans: list[MemorySpan]) -> None:
    assert tuple(FaultRecord.parse(RECORD.sealed(tuple(spans)).pack()).spans()) == tuple(spans)


@given(st.data())
def test_a_damaged_record_is_refused(data: st.DataObject) -> None:
    record = bytearray(sealed(RECORD))
    bit = data.draw(st.integers(0, 8 * len(record) - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LayoutError):
        FaultRecord.parse(bytes(record))


@given(st.integers(0, len(sealed(RECORD)) - 1))
def test_a_truncated_record_is_refused(length: int) -> None:
    with pytest.raises(LayoutError):
        FaultRecord.parse(sealed(RECORD)[:length])


@given(st.binary(max_size=500))
def test_noise_is_no_record(noise: bytes) -> None:
    with pytest.raises(LayoutError):
        FaultRecord.parse(noise)
