"""Records in logs. The lines are made here from the words of docs/fault-module.md, not by the firmware's code."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cpustate import MemorySpan
from harness.rpc.fault_record import FaultRecord
from harness.rpc.fault_text import records_in_text
from tests.rpc.test_fault_record import RECORD

LONG = RECORD.sealed((MemorySpan(0x20000120, bytes(range(200))), MemorySpan(0x20008000, bytes(range(60)))))
HEAD_LINES = -(-FaultRecord.layout().size // 32)


def printed(record: FaultRecord) -> list[str]:
    data = record.pack()
    pieces = [(offset, data[offset : offset + 32]) for offset in range(0, len(data), 32)]
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
    lost = HEAD_LINES + 2  # its bytes 64..95 after the head's last line
    del lines[lost]
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
    del lines[3]
    (found,) = records_in_text(text(*lines))
    assert found.record is None
    assert found.notes == (
        "the line at offset 0x0040 of the crash record is missing or damaged: its registers are not all here",
    )


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
            assert found.record.cpu_state().registers == LONG.cpu_state().registers
            left = {span.address + i: byte for span in found.record.spans() for i, byte in enumerate(span.data)}
            assert left.items() <= memory.items()
            assert found.notes or found.record == LONG


@given(st.lists(st.sampled_from([*printed(LONG), "", "layerproof-crash ffff 00 00000000"]), max_size=60))
def test_lines_in_any_order_are_never_an_exception(lines: list[str]) -> None:
    for found in records_in_text(text(*lines)):
        assert found.record is not None or found.notes
        if found.record is not None:
            assert FaultRecord.parse(found.record.pack()) == found.record
