"""Names of registers with their values, as people print them: `R0 = 0x…`, `r14/lr: 0x…`, `LR [R14] = …`, `pc  0x… <f>`.

A word keeps its digits until all of a list are there: only together they tell whether numbers without 0x are
hexadecimal, and whether the last one was cut off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_ALIASES = {
    **{f"r{n}": f"r{n}" for n in range(13)},
    **{f"r{n:02}": f"r{n}" for n in range(10)},
    **{f"s{n}": f"s{n}" for n in range(32)},
    **dict.fromkeys(("ip",), "r12"),
    **dict.fromkeys(("sp", "r13"), "sp"),
    **dict.fromkeys(("lr", "r14"), "lr"),
    **dict.fromkeys(("pc", "r15", "return_address", "return address"), "pc"),
    **dict.fromkeys(("xpsr", "psr", "retpsr"), "xpsr"),
    **dict.fromkeys(("exc_return", "exc_ret", "exc return", "excreturn"), "exc_return"),
    **{name: name for name in ("msp", "psp", "control", "primask", "basepri", "faultmask", "fpscr")},
    **dict.fromkeys(("cfsr", "cfaults"), "cfsr"),
    **dict.fromkeys(("hfsr", "hfaults"), "hfsr"),
    **dict.fromkeys(("dfsr", "dfaults"), "dfsr"),
    **dict.fromkeys(("afsr", "afaults"), "afsr"),
    **dict.fromkeys(("mmfar", "mmar"), "mmfar"),
    **dict.fromkeys(("bfar", "bfaultaddr"), "bfar"),
    **dict.fromkeys(("mmfsr", "mfsr", "mmsr"), "mmfsr"),
    **{name: name for name in ("bfsr", "ufsr", "shcsr", "sfsr", "sfar")},
}
STATUS = frozenset({"cfsr", "hfsr", "dfsr", "afsr", "mmfar", "bfar", "shcsr", "sfsr", "sfar", "mmfsr", "bfsr", "ufsr"})
_PARTS = {"mmfsr": (0, 0xFF), "bfsr": (8, 0xFF), "ufsr": (16, 0xFFFF)}  # of CFSR: bit, mask

_NAMES = "|".join(sorted((re.escape(name) for name in _ALIASES), key=len, reverse=True))
_TOKEN = re.compile(
    rf"""
    (?<![A-Za-z0-9.])                                   # not inside a word
    (?:SCB(?:->|_(?:CFSR_)?)|NVIC_|stacked[_ ]|hardfault_|_|\$)?
    (?: s\[\s*(?P<single>\d{{1,2}})\s*\] | (?P<name>{_NAMES}) )
    (?: / [a-z]+\d* )?                                  # r14/lr
    (?: \s*[\[(] \s* [\w/]+ \s* [\])] | \) )?           # LR [R14], SP(R13), (/32), (r15/pc)
    (?: \s+ (?:register|address|addr|value) )?
    (?P<separator> \s* (?:[=:|]|->|\ is(?:\ at)?\ |\ at\ ) \s* | \s+ )
    (?P<prefix> 0x)? (?P<digits> [0-9a-f]+ ) (?![0-9a-z_])
    """,
    re.IGNORECASE | re.VERBOSE,
)
_WORD_DIGITS = 8
_TOO_MANY_DIGITS = 11  # for a word, in either base; thousands of decimal ones int() refuses to convert


@dataclass(frozen=True)
class Word:
    """One register as a log gives it."""

    name: str  # as in CpuState, and mmfsr, bfsr, ufsr
    digits: str
    prefixed: bool  # with 0x
    line: int  # index into the text's lines
    last: bool = False  # nothing at all follows it in the log


def words_in(lines: Sequence[str], first: int = 0, is_open: bool = False) -> Iterator[Word]:
    """Every register with a value. `first` is the number of the first line; `is_open` that of `Text`."""
    for number, line in enumerate(lines, first):
        for found in _TOKEN.finditer(line):
            prefixed, digits = bool(found["prefix"]), found["digits"]
            single = found["single"]
            if single is not None and int(single) > 31:
                continue
            name = f"s{int(single)}" if single is not None else _ALIASES[found["name"].lower()]
            if not prefixed:
                if not found["separator"].strip():
                    continue  # "sp a"
                if name[0] == "s" and name[1:].isdigit() and len(digits) != _WORD_DIGITS:
                    continue  # "S1: 5" is no floating-point register
            last = is_open and number == first + len(lines) - 1 and found.end() == len(line)
            yield Word(name, digits, prefixed, number, last)


@dataclass(frozen=True)
class Registers:
    """What a list of words amounts to."""

    values: dict[str, int]
    status: dict[str, int]
    notes: tuple[str, ...]
    cut: bool


def resolve(words: Iterable[Word], *, any_base: bool = False) -> Registers:
    """Values of the words; of a register that is given twice the first one, with a note when the second differs.

    Numbers without 0x are hexadecimal, but where some are too long for that. `any_base`: what printed them is not
    known, and where nothing tells that they are hexadecimal they are decimal.
    """
    words = list(words)
    decimal = _decimal(words, any_base)
    # a register is the widest of its list: status registers are often printed shorter
    padded = any(len(word.digits) == _WORD_DIGITS and word.digits[0] == "0" for word in words)
    values: dict[str, int] = {}
    notes: list[str] = []
    cut = False
    for word in words:
        digits = word.digits.lstrip("0")[:_TOO_MANY_DIGITS] or "0"
        value = int(digits, 10 if decimal and not word.prefixed else 16)
        if value > 0xFFFFFFFF:
            notes.append(f"{word.name} is given as {word.digits[:20]}, which is no 32-bit value; it is left out.")
            continue
        if word.last and len(word.digits) < _WORD_DIGITS:
            cut = True
            if padded:
                notes.append(f"The log ends in the middle of {word.name}; it is left out.")
                continue
            notes.append(f"The log ends right after {word.name}: its value may be cut off.")
        known = values.setdefault(word.name, value)
        if known != value:
            notes.append(f"{word.name} is given twice, as 0x{known:08x} and as 0x{value:08x}: the first was taken.")
    if decimal:
        notes.append(f"The values are taken as decimal: {decimal}.")
    status = {name: values.pop(name) for name in list(values) if name in STATUS}
    return Registers(values, _composed(status, notes), tuple(dict.fromkeys(notes)), cut)


def _decimal(words: Sequence[Word], any_base: bool) -> str:
    """Why the numbers without 0x are decimal; empty where they are hexadecimal, or the same in both."""
    bare = [word.digits for word in words if not word.prefixed]
    if not all(digits.isdigit() for digits in bare):
        return ""
    if any(len(digits) > _WORD_DIGITS for digits in bare):
        return "some have more digits than a hexadecimal word"
    padded = any(len(digits) > 1 and digits[0] == "0" for digits in bare) or {len(d) for d in bare} == {_WORD_DIGITS}
    if not any_base or len(bare) < len(words) or padded or all(len(digits) == 1 for digits in bare):
        return ""
    return "none has 0x, leading zeros or a digit from a to f. If they are hexadecimal, write 0x before each"


def _composed(status: dict[str, int], notes: list[str]) -> dict[str, int]:
    """CFSR from its three parts where it is not given whole."""
    parts = {name: status.pop(name) for name in _PARTS if name in status}
    if not parts:
        return status
    joined, seen = 0, 0
    for name, value in parts.items():
        bit, mask = _PARTS[name]
        # some print a part as CFSR masked, not shifted down
        part = value >> bit & mask if bit and value > mask else value & mask
        joined |= part << bit
        seen |= mask << bit
    if "cfsr" not in status:
        return {"cfsr": joined, **status}
    if status["cfsr"] & seen != joined:
        notes.append(f"CFSR 0x{status['cfsr']:08x} and its parts contradict each other: CFSR was taken.")
    return status
