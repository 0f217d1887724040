"""Call frame information: for every address of a function, where its caller's registers are (DWARF 4, section 6.4)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from elftools.dwarf.callframe import FDE, RegisterRule

from harness.debug.image import MALFORMED, Image
from harness.debug.memory import Memory

# DWARF's numbers of the core registers and of S0 to S31 (AADWARF32 4.1)
_CORE = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc")
_NAMES = dict(enumerate(_CORE)) | {64 + n: f"s{n}" for n in range(32)}
_LR = 14
# what a caller finds unchanged (AAPCS32 6.1.1, 6.1.2.1)
_CALLEE_SAVED = frozenset([*(f"r{n}" for n in range(4, 12)), *(f"s{n}" for n in range(16, 32))])
_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class Caller:
    """The caller's registers as the information gives them; `sp` is the canonical frame address."""

    sp: int
    return_address: int
    saved: bool  # the return address was read from the stack; otherwise it is LR as it stood in the called function
    registers: Mapping[str, int] = field(default_factory=dict)


class CallFrames:
    def __init__(self, image: Image) -> None:
        self._image = image

    @cached_property
    def _index(self) -> tuple[list[int], list[Any]]:
        dwarf = self._image.dwarf
        try:
            entries = dwarf.CFI_entries() if dwarf is not None and dwarf.has_CFI() else []
        except MALFORMED:
            entries = []
        found = [e for e in entries if isinstance(e, FDE) and not self._image.is_discarded(_start(e))]
        found.sort(key=_start)
        return [_start(e) for e in found], found

    def row(self, address: int) -> Mapping[Any, Any] | None:
        """The rules in force at `address`, as pyelftools' table row; None where there is no information."""
        starts, entries = self._index
        index = bisect_right(starts, address) - 1
        if index < 0 or address >= starts[index] + int(entries[index]["address_range"]):
            return None
        try:
            table = entries[index].get_decoded().table
        except MALFORMED:
            return None
        rows = [row for row in table if row["pc"] & ~1 <= address]
        return rows[-1] if rows else None

    def caller(self, address: int, registers: Mapping[str, int], memory: Memory, live: bool) -> Caller | None:
        """One step up from `address` with `registers`. `live`: LR may still hold the return address, because the code
        at `address` was executing and not waiting for a call to return. None when the information does not suffice.
        """
        row = self.row(address)
        cfa = self._frame_address(row, registers) if row is not None else None
        if row is None or cfa is None:
            return None
        found = {name: value for name, value in registers.items() if name in _CALLEE_SAVED}
        for number, rule in row.items():
            if number in _NAMES and number != _LR:
                value = self._value(rule, cfa, number, registers, memory)
                if value is None:
                    found.pop(_NAMES[number], None)
                else:
                    found[_NAMES[number]] = value
        rule = row.get(_LR)
        saved = rule is not None and rule.type not in (RegisterRule.SAME_VALUE, RegisterRule.UNDEFINED)
        if saved:
            address_of_return = self._value(rule, cfa, _LR, registers, memory)
        else:
            address_of_return = registers.get("lr") if live else None
        if address_of_return is None:
            return None
        return Caller(cfa, address_of_return, saved, found)

    def frame_address(self, address: int, registers: Mapping[str, int]) -> int | None:
        """The canonical frame address of a function that is at `address`; None where there is no information."""
        row = self.row(address)
        return None if row is None else self._frame_address(row, registers)

    @staticmethod
    def _frame_address(row: Mapping[Any, Any], registers: Mapping[str, int]) -> int | None:
        rule = row["cfa"]
        if rule.expr is not None or rule.reg not in _NAMES:
            return None  # gcc writes no expressions for Cortex-M
        base = registers.get(_NAMES[rule.reg])
        return None if base is None else (base + rule.offset) & _WORD

    @staticmethod
    def _value(rule: Any, cfa: int, number: int, registers: Mapping[str, int], memory: Memory) -> int | None:
        if rule.type == RegisterRule.OFFSET:
            return memory.word((cfa + rule.arg) & _WORD)
        if rule.type == RegisterRule.VAL_OFFSET:
            return int(cfa + rule.arg) & _WORD
        if rule.type == RegisterRule.SAME_VALUE:
            return registers.get(_NAMES[number])
        if rule.type == RegisterRule.REGISTER and rule.arg in _NAMES:
            return registers.get(_NAMES[rule.arg])
        return None


def _start(entry: Any) -> int:
    return int(entry["initial_location"]) & ~1
