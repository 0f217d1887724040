"""The few things the debugger must read out of Thumb instructions: calls, jumps, and where a load or store went.

Encodings are cited from the Armv7-M manual, DDI 0403E, chapter A7; a halfword is written as the manual prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

ReadCode = Callable[[int, int], bytes | None]  # address, bytes -> the bytes, None where there is no code

_REGISTERS = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc")
_WORD = 0xFFFFFFFF


def is_wide(halfword: int) -> bool:
    """Whether an instruction that begins with `halfword` takes four bytes (A5.1)."""
    return halfword >= 0xE800


def fetch(read: ReadCode, address: int) -> tuple[int, int | None] | None:
    """The instruction at `address` as (first halfword, second halfword or None); None where there is no code."""
    first = read(address, 2)
    if first is None:
        return None
    head = int.from_bytes(first, "little")
    if not is_wide(head):
        return head, None
    second = read(address + 2, 2)
    return None if second is None else (head, int.from_bytes(second, "little"))


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def _long_branch(head: int, tail: int, address: int) -> int:
    """Target of BL and of B.W (A7.7.18 T1, A7.7.12 T4)."""
    sign = head >> 10 & 1
    i1, i2 = (~((tail >> bit & 1) ^ sign) & 1 for bit in (13, 11))
    offset = sign << 24 | i1 << 23 | i2 << 22 | (head & 0x3FF) << 12 | (tail & 0x7FF) << 1
    return (address + 4 + _signed(offset, 25)) & _WORD


@dataclass(frozen=True)
class Call:
    """The instruction that leaves `return address` in LR."""

    address: int
    target: int | None = None  # of BL
    register: str | None = None  # of BLX


def call_before(read: ReadCode, return_address: int) -> Call | None:
    """The BL or BLX that ends at `return_address` (Thumb bit ignored); None when what stands there is no call."""
    end = return_address & ~1
    wide = read(end - 4, 4)
    if wide is not None:
        head, tail = (int.from_bytes(wide[i : i + 2], "little") for i in (0, 2))
        if head & 0xF800 == 0xF000 and tail & 0xD000 == 0xD000:
            return Call(end - 4, target=_long_branch(head, tail, end - 4))
    narrow = read(end - 2, 2)
    if narrow is not None:
        head = int.from_bytes(narrow, "little")
        if head & 0xFF83 in (0x4780, 0x4784):  # BLX, and BLXNS of Armv8-M
            return Call(end - 2, register=_REGISTERS[head >> 3 & 15])
    return None


def jump_target(head: int, tail: int | None, address: int) -> int | None:
    """Target of an unconditional jump to a fixed address (B T2, B.W T4); None for any other instruction."""
    if tail is None:
        return (address + 4 + _signed((head & 0x7FF) << 1, 12)) & _WORD if head & 0xF800 == 0xE000 else None
    return _long_branch(head, tail, address) if head & 0xF800 == 0xF000 and tail & 0xD000 == 0x9000 else None


@dataclass(frozen=True)
class Access:
    """What a load or store touches."""

    store: bool
    address: int
    bytes: int  # in all
    alignment: int  # that the processor wants when it traps unaligned accesses: bytes of one element

    @property
    def aligned(self) -> bool:
        return self.address % self.alignment == 0


def access(head: int, tail: int | None, registers: Mapping[str, int]) -> Access | None:
    """The memory access of an instruction that stands at `registers["pc"]`.

    None when it makes none, when the encoding is not known here, or when a register it uses is not known.
    """
    try:
        return _narrow_access(head, registers) if tail is None else _wide_access(head, tail, registers)
    except KeyError:
        return None


def _base(registers: Mapping[str, int], number: int) -> int:
    if number == 15:
        return registers["pc"] + 4 & ~3
    return registers[_REGISTERS[number]]


def _single(store: bool, address: int, size: int, count: int = 1) -> Access:
    return Access(store, address & _WORD, size * count, size)


# opB of "load/store register offset" (A5.2.4): store?, bytes
_REGISTER_OFFSET = ((True, 4), (True, 2), (True, 1), (False, 1), (False, 4), (False, 2), (False, 1), (False, 2))
_IMMEDIATE_OFFSET = {0b0110: 4, 0b0111: 1, 0b1000: 2}


def _narrow_access(head: int, registers: Mapping[str, int]) -> Access | None:
    top, load = head >> 12, bool(head >> 11 & 1)
    low = _REGISTERS[head >> 3 & 7]
    if head >> 11 == 0b01001:
        return _single(False, _base(registers, 15) + (head & 0xFF) * 4, 4)
    if top == 0b0101:
        store, size = _REGISTER_OFFSET[head >> 9 & 7]
        return _single(store, registers[low] + registers[_REGISTERS[head >> 6 & 7]], size)
    if top in _IMMEDIATE_OFFSET:
        size = _IMMEDIATE_OFFSET[top]
        return _single(not load, registers[low] + (head >> 6 & 31) * size, size)
    if top == 0b1001:
        return _single(not load, registers["sp"] + (head & 0xFF) * 4, 4)
    count = (head & 0xFF).bit_count()
    if head & 0xFE00 == 0xB400:
        count += head >> 8 & 1
        return _single(True, registers["sp"] - 4 * count, 4, count)
    if head & 0xFE00 == 0xBC00:
        return _single(False, registers["sp"], 4, count + (head >> 8 & 1))
    if top == 0b1100:
        return _single(not load, registers[_REGISTERS[head >> 8 & 7]], 4, count)
    return None


def _wide_access(head: int, tail: int, registers: Mapping[str, int]) -> Access | None:
    number, load = head & 15, bool(head >> 4 & 1)
    if head & 0xFE00 == 0xF800:
        return _wide_single(head, tail, registers)
    if head & 0xFE40 == 0xE840 and head & 0x01A0:  # LDRD, STRD: P or W set (A5.3.6)
        offset = (tail & 0xFF) * 4 * (1 if head >> 7 & 1 else -1)
        indexed = offset if head >> 8 & 1 else 0
        return _single(not load, _base(registers, number) + indexed, 4, 2)
    if head & 0xFFE0 == 0xE840:  # LDREX, STREX
        return _single(not load, registers[_REGISTERS[number]] + (tail & 0xFF) * 4, 4)
    if head & 0xFE40 == 0xE800 and head >> 7 & 3 in (1, 2):  # LDM, STM, PUSH, POP (A5.3.5)
        count = tail.bit_count()
        start = registers[_REGISTERS[number]]
        return _single(not load, start if head >> 7 & 1 else start - 4 * count, 4, count)
    if head & 0xFE00 == 0xEC00 and tail & 0x0E00 == 0x0A00:  # VFP (A6.6)
        words = tail & 0xFF
        start = _base(registers, number)
        if head & 0x0120 == 0x0100:  # VLDR, VSTR
            start += words * 4 if head >> 7 & 1 else -words * 4
            return _single(not load, start, 4, 2 if tail >> 8 & 1 else 1)
        if head & 0x01A0 in (0x0080, 0x00A0):  # VLDM, VSTM, VPOP
            return _single(not load, start, 4, words)
        if head & 0x01A0 == 0x0120:  # VPUSH and other decrement-before forms
            return _single(not load, start - words * 4, 4, words)
    return None


def _wide_single(head: int, tail: int, registers: Mapping[str, int]) -> Access | None:
    """LDR, LDRH, LDRB, LDRSH, LDRSB, STR, STRH, STRB in their 32-bit forms (A5.3.7 to A5.3.10)."""
    size, store = 1 << (head >> 5 & 3), not head >> 4 & 1
    if size == 8 or (store and head >> 8 & 1):
        return None
    number = head & 15
    if number == 15:
        offset = tail & 0xFFF
        return None if store else _single(False, _base(registers, 15) + (offset if head >> 7 & 1 else -offset), size)
    start = registers[_REGISTERS[number]]
    if head >> 7 & 1:
        return _single(store, start + (tail & 0xFFF), size)
    if tail >> 11 & 1:
        offset = (tail & 0xFF) if tail >> 9 & 1 else -(tail & 0xFF)
        return _single(store, start + (offset if tail >> 10 & 1 else 0), size)
    if tail & 0x0FC0 == 0:
        return _single(store, start + (registers[_REGISTERS[tail & 15]] << (tail >> 4 & 3)), size)
    return None


def is_undefined(head: int, tail: int | None) -> bool:
    """Whether the encoding is permanently undefined: UDF (A7.7.194)."""
    if tail is None:
        return head & 0xFF00 == 0xDE00
    return head & 0xFFF0 == 0xF7F0 and tail & 0xF000 == 0xA000


def exists_on_v6m(head: int, tail: int | None) -> bool:
    """Whether an Armv6-M processor has the instruction: of the 32-bit ones only BL, MSR, MRS and the barriers."""
    if tail is None:
        cbz_or_it = head & 0xF500 == 0xB100 or (head & 0xFF00 == 0xBF00 and head & 0x000F != 0)
        return not (cbz_or_it or is_undefined(head, tail))
    branch_link = head & 0xF800 == 0xF000 and tail & 0xD000 == 0xD000
    system = head & 0xFFE0 in (0xF380, 0xF3E0) or (head == 0xF3BF and tail & 0xFF00 == 0x8F00)
    return branch_link or system
