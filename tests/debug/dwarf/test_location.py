"""Location expressions, written out by hand with the opcodes of the standard (DWARF 5, 7.7.1)."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.cpustate import MemorySpan
from harness.debug.dwarf.location import (
    NOT_RECORDED,
    NOT_SAVED,
    OPTIMISED_OUT,
    Context,
    Number,
    Unknown,
    evaluate,
    locate,
)
from harness.debug.dwarf.values import UNREADABLE
from harness.debug.image import Image
from harness.debug.memory import Memory

STACK = 0x20000000
STACK_VALUE = 0x9F


@pytest.fixture(scope="module")
def context(program: Callable[..., Path]) -> Context:
    elf = program("m3", "-O2")
    unit = next(ELFFile(io.BytesIO(elf.read_bytes())).get_dwarf_info().iter_CUs())
    memory = Memory(Image(elf), [MemorySpan(STACK, bytes(range(64)))])
    registers = {"r0": 0xFFFFFFF0, "r1": 3, "sp": STACK + 8, "s0": 0x3F800000, "s1": 0}

    def entry(register: int) -> Number:
        if register != 2:
            raise Unknown(OPTIMISED_OUT)
        return Number(77)

    return Context(registers, memory, unit, lambda: STACK + 32, lambda: STACK + 16, entry)


def _value(context: Context, *code: int) -> int:
    content = locate(context.parse(bytes([*code, STACK_VALUE])), context)
    return int.from_bytes(content.read(0, 4), "little")


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ([0x70, 0x10], 0),  # breg0 16: wraps
        ([0x71, 0x7F], 2),  # breg1 -1
        ([0x92, 0x01, 0x02], 5),  # bregx r1 2
        ([0x9C], STACK + 32),  # call_frame_cfa
        ([0x91, 0x74], STACK + 4),  # fbreg -12
        ([0x09, 0xF0], 0xFFFFFFF0),  # const1s -16
        ([0x0C, 1, 2, 3, 4], 0x04030201),  # const4u
        ([0x35, 0x32, 0x1C], 3),  # lit5 lit2 minus
        ([0x09, 0xF9, 0x32, 0x1B], 0xFFFFFFFD),  # const1s -7, lit2, div: towards zero
        ([0x37, 0x33, 0x1D], 1),  # mod
        ([0x09, 0xF8, 0x31, 0x26], 0xFFFFFFFC),  # shra
        ([0x09, 0xF8, 0x31, 0x25], 0x7FFFFFFC),  # shr
        ([0x31, 0x34, 0x24], 16),  # shl
        ([0x09, 0xFF, 0x31, 0x2D], 1),  # -1 < 1
        ([0x09, 0xFF, 0x19], 1),  # abs
        ([0x31, 0x1F], 0xFFFFFFFF),  # neg
        ([0x30, 0x20], 0xFFFFFFFF),  # not
        ([0x31, 0x32, 0x33, 0x17, 0x1C], 0xFFFFFFFF),  # rot: 3 1 2, minus
        ([0x31, 0x32, 0x14, 0x1C], 1),  # over: 1 2 1, minus
        ([0x36, 0x32, 0x15, 0x01, 0x1E], 12),  # pick 1: 6 2 6, mul
        ([0x31, 0x32, 0x16, 0x1C], 1),  # swap, minus
        ([0x0C, *struct.pack("<I", STACK + 4), 0x06], 0x07060504),  # deref
        ([0x0C, *struct.pack("<I", STACK + 4), 0x94, 1], 4),  # deref_size 1
        ([0xA3, 0x01, 0x52], 77),  # entry_value(reg2)
        ([0xF3, 0x01, 0x52, 0x23, 0x03], 80),  # GNU_entry_value(reg2), plus_uconst 3
        ([0x35, 0x2F, 0x01, 0x00, 0x39], 5),  # skip over lit9
        # sum 0, counter 10; dup, rot, plus, swap, lit1, minus, dup, bra back to the dup, drop: 10 + 9 + … + 1
        ([0x30, 0x3A, 0x12, 0x17, 0x22, 0x16, 0x31, 0x1C, 0x12, 0x28, 0xF6, 0xFF, 0x13], 55),
    ],
)  # fmt: skip
def test_what_an_expression_computes(code: list[int], value: int, context: Context) -> None:
    assert _value(context, *code) == value


def test_where_a_variable_is(context: Context) -> None:
    assert locate(context.parse(bytes([0x91, 0x02])), context).address == STACK + 18
    assert locate(context.parse(bytes([0x91, 0x02])), context).read(1, 2) == bytes([19, 20])
    assert locate(context.parse(bytes([0x51])), context).read(0, 2) == b"\x03\x00"  # reg1
    assert locate(context.parse(bytes([0x50])), context).read(0, 8) == struct.pack("<II", 0xFFFFFFF0, 3)  # r0 and r1
    assert locate(context.parse(bytes([0x90, 64])), context).read(0, 4) == struct.pack("<f", 1.0)  # regx s0
    assert locate(context.parse(bytes([0x90, 0x80, 0x02])), context).read(0, 8) == struct.pack(
        "<II", 0x3F800000, 0
    )  # d0
    assert locate(context.parse(bytes([0x9E, 2, 9, 8])), context).read(0, 2) == b"\x09\x08"  # implicit_value


def test_pieces_that_are_known_beside_such_that_are_not(context: Context) -> None:
    # r1 (2 bytes), nothing (2 bytes), the stack (4 bytes)
    content = locate(context.parse(bytes([0x51, 0x93, 2, 0x93, 2, 0x91, 0x00, 0x93, 4])), context)
    assert content.read(0, 2) == b"\x03\x00"
    assert content.read(4, 4) == bytes([16, 17, 18, 19])
    for offset, size in ((2, 2), (0, 4), (3, 2), (6, 4)):
        with pytest.raises(Unknown):
            content.read(offset, size)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ([], OPTIMISED_OUT),
        ([0x55], NOT_SAVED),  # reg5
        ([0x75, 0x00], NOT_SAVED),  # breg5
        ([0x0C, 0, 0, 0, 0x70], NOT_RECORDED),  # an address that nobody recorded
        ([0xA3, 0x01, 0x53, STACK_VALUE], OPTIMISED_OUT),  # entry_value(reg3)
        ([0x31, 0x2F, 0xFD, 0xFF], "form"),  # skip to itself without end
        ([0x22, STACK_VALUE], "form"),  # plus of nothing
        ([0x31, 0x30, 0x1B, STACK_VALUE], "form"),  # by zero
        ([0x31, 0x2F, 0xFE, 0xFF], "form"),  # skip into the middle of itself
        ([0xE5], "form"),  # an operator that no standard has
    ],
)
def test_what_cannot_be_known_says_why(code: list[int], why: str, context: Context) -> None:
    with pytest.raises((Unknown, *UNREADABLE)) as raised:
        locate(context.parse(bytes(code)), context).read(0, 4)
    assert why in str(raised.value) or not isinstance(raised.value, Unknown)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(code=st.binary(max_size=24))
def test_any_bytes_end_with_bytes_or_with_a_reason(code: bytes, context: Context) -> None:
    try:
        operations = context.parse(code)
        found = locate(operations, context).read(0, 4)
        assert len(found) == 4
        evaluate(operations, context)
    except (Unknown, *UNREADABLE):
        pass


class _Unit:
    """A compilation unit whose base types are all of one size."""

    cu_offset = 0

    def __init__(self, size: int) -> None:
        self._size = size

    def get_DIE_from_refaddr(self, address: int) -> SimpleNamespace:
        values = {"DW_AT_encoding": 7, "DW_AT_byte_size": self._size}
        return SimpleNamespace(attributes={name: SimpleNamespace(value=value) for name, value in values.items()})


@pytest.mark.parametrize("size", [0, -1, 17, 1 << 45])
def test_a_base_type_of_a_size_that_no_number_has(size: int, context: Context) -> None:
    operations = context.parse(bytes([0x70, 0x00, 0xA8, 0x05]))  # breg0 0, convert
    assert evaluate(operations, replace(context, unit=_Unit(4))).size == 4
    with pytest.raises(Unknown):
        evaluate(operations, replace(context, unit=_Unit(size)))
