"""Records in logs. The lines are made here from the words of docs/fault-module.md, not by the firmware's code."""

from __future__ import annotations

import textwrap
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cpustate import MemorySpan
from harness.rpc.fault_record import FaultRecord, RecordFlag
from harness.rpc.fault_text import TextRecord, records_in_text
from tests.rpc.test_fault_record import RECORD

LONG = RECORD.sealed((MemorySpan(0x20000120, bytes(range(200))), MemorySpan(0x20008000, bytes(range(60)))))
HEAD_LINES = -(-FaultRecord.layout().size // 16)


def printed(record: FaultRecord, width: int = 16) -> list[str]:
    data = record.pack()
    pieces = [(offset, data[offset : offset + width]) for offset in range(0, len(data), width)]
    lines = [f"layerproof-crash {offset:04x} {piece.hex()} {zlib.crc32(piece, offset):08x}" for offset, piece in pieces]
    return ["layerproof-crash begin", *lines, "layerproof-crash end"]


def text(*lines: str) -> str:
    return "\r\n".join(lines)


def test_a_log() -> None:
    lines = [f"[00:00:0{n % 10}.120] <err> {line} \x1b[0m" for n, line in enumerate(printed(LONG))]
    lines[5:5] = ["something else", "layerproof: not ours"]
    (found,) = records_in_text(text("boot", "", *lines, "bye"))
    assert (found.line, found.record, found.notes) == (3, LONG, ())


def test_two_crashes_and_one_that_is_printed_again() -> None:
    other = replace(LONG, layer=7).sealed(())
    found = records_in_text(text(*printed(LONG), *printed(other), *printed(LONG)))
    assert [one.record for one in found] == [LONG, other]


def test_lines_lost_of_one_printing_are_taken_from_another() -> None:
    first, second = printed(LONG), printed(LONG)
    del first[4:9], second[15:17]
    (found,) = records_in_text(text(*first, *second))
    assert (found.record, found.notes) == (LONG, ())


def test_memory_that_was_lost_leaves_the_rest_in_its_place() -> None:
    lines = printed(LONG)
    lost = HEAD_LINES + 4  # its bytes 64..95 after the head's last line
    del lines[lost : lost + 2]
    (found,) = records_in_text(text(*lines))
    assert found.record is not None
    assert found.notes == (
        f"32 of {LONG.total} bytes of the crash record are missing from the log, of the memory that was kept",
    )
    assert FaultRecord.parse(found.record.pack()) == found.record
    assert found.record.cpu_state().registers == LONG.cpu_state().registers
    memory = {span.address + i: byte for span in LONG.spans() for i, byte in enumerate(span.data)}
    left = {span.address + i: byte for span in found.record.spans() for i, byte in enumerate(span.data)}
    assert left.items() <= memory.items()
    assert len(memory) - len(left) == 32


def test_registers_that_were_lost_are_said_to_be() -> None:
    lines = printed(LONG)
    del lines[5]
    (found,) = records_in_text(text(*lines))
    assert found.record is None
    assert found.notes == (
        "the line at offset 0x0040 of the crash record is missing or damaged: its registers are not all here",
    )


@pytest.mark.parametrize("width", [16, 32])
def test_lines_of_either_length_in_capitals_or_not(width: int) -> None:
    lines = printed(LONG, width)
    for form in (str, str.upper, str.title):
        (found,) = records_in_text(text(*map(form, lines)))
        assert (found.record, found.notes) == (LONG, ())


def test_lines_survive_what_folds_them_at_80() -> None:
    mailed = "\n".join(textwrap.fill("> " + line, 80) for line in printed(LONG))
    (found,) = records_in_text(mailed)
    assert (found.record, found.notes) == (LONG, ())


def _lost(record: FaultRecord, *offsets: int) -> TextRecord:
    marks = tuple(f"layerproof-crash {offset:04x} " for offset in offsets)
    (found,) = records_in_text(text(*(line for line in printed(record) if not line.startswith(marks))))
    return found


FLOATING = replace(LONG, flags=RecordFlag.STATUS | RecordFlag.FRAME | RecordFlag.FLOAT | RecordFlag.FLUSHED)


@pytest.mark.parametrize(
    ("offset", "gone"),
    [
        (0xA0, {*(f"s{n}" for n in range(16)), "fpscr"}),  # s2 to s5
        (0xE0, {f"s{n}" for n in range(16, 32)}),  # s18 to s21
        (0x110, {*(f"s{n}" for n in range(32)), "fpscr"}),  # s30, s31, FPSCR, VPR
    ],
)
def test_floating_point_registers_that_were_lost_leave_the_others(offset: int, gone: set[str]) -> None:
    whole = FLOATING.sealed(tuple(LONG.spans()))
    found = _lost(whole, offset)
    assert found.record is not None
    assert found.notes == (
        f"16 of {whole.total} bytes of the crash record are missing from the log, of floating-point registers",
    )
    registers = whole.cpu_state().registers
    assert found.record.cpu_state().registers == {n: v for n, v in registers.items() if n not in gone}
    assert FaultRecord.parse(found.record.pack()) == found.record
    assert list(found.record.spans()) == list(whole.spans())


@pytest.mark.parametrize("offset", [0x90, 0x120, 0x140])  # PC and xPSR, CFSR, the line of an assertion
def test_a_line_that_has_others_beside_floating_point_registers_is_needed(offset: int) -> None:
    found = _lost(FLOATING.sealed(()), 0xA0, offset)
    assert found.record is None
    assert f"the line at offset {offset:#06x} " in found.notes[0]


def test_an_assertion_whose_file_was_lost_stays_one() -> None:
    flags = RecordFlag.STATUS | RecordFlag.FRAME | RecordFlag.ASSERT
    record = replace(LONG, flags=flags, line=12, file=b"source/of/a/sensor.c".ljust(40, b"\0")).sealed(())
    found = _lost(record, 0x150)
    assert found.record is not None
    assert "the name of the assertion's file" in found.notes[0]
    state = found.record.cpu_state()
    assert (state.reason, state.message, state.fault_status) == ("assert", "source/o…:12", {})
    after_the_name = _lost(record, 0x160)
    assert after_the_name.record == record
    assert "none of which this crash has a use for" in after_the_name.notes[0]


def test_a_begin_that_was_lost_does_not_merge_two_crashes() -> None:
    other = replace(LONG, layer=7).sealed(())
    found = records_in_text(text(*printed(LONG), *printed(other)[1:]))
    assert [one.record for one in found] == [LONG, other]


def test_another_version() -> None:
    (found,) = records_in_text(text(*printed(replace(LONG, version=9).sealed(()))))
    assert found.record is None
    assert found.notes == ("fault record of version 9; this harness reads version 1",)


@pytest.mark.parametrize("nothing", ["", "layerproof-crash", "layerproof-crash begin\nlayerproof-crash end", "a\nb"])
def test_a_text_without_records(nothing: str) -> None:
    assert records_in_text(nothing) == []


@given(st.data())
def test_one_damaged_character_is_never_believed(data: st.DataObject) -> None:
    whole = text(*printed(LONG))
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:place] + data.draw(st.sampled_from("0123456789abcdefg \n")) + whole[place + 1 :]
    memory = {span.address + i: byte for span in LONG.spans() for i, byte in enumerate(span.data)}
    for found in records_in_text(damaged):
        if found.record is not None:
            assert found.record.cpu_state().registers.items() <= LONG.cpu_state().registers.items()
            left = {span.address + i: byte for span in found.record.spans() for i, byte in enumerate(span.data)}
            assert left.items() <= memory.items()
            assert found.notes or found.record == LONG


@given(st.lists(st.sampled_from([*printed(LONG), "", "layerproof-crash ffff 00 00000000"]), max_size=60))
def test_lines_in_any_order_are_never_an_exception(lines: list[str]) -> None:
    for found in records_in_text(text(*lines)):
        assert found.record is not None or found.notes
        if found.record is not None:
            assert FaultRecord.parse(found.record.pack()) == found.record
