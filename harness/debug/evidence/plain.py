"""Registers with their values in any order, case and form: what hand-written fault handlers print.

[Hard fault handler - all numbers in hex]
R0 = 0x00000000
…
LR [R14] = 0x08000cd3  subroutine call return address
PC [R15] = 0x08000c88  program counter
PSR = 0x61000000
CFSR = 0x8200
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.cpustate import CpuState
from harness.debug.evidence.base import Evidence, Format
from harness.debug.evidence.causes import without_lost_frame
from harness.debug.evidence.dumps import ROW, memory_of
from harness.debug.evidence.stacks import proven
from harness.debug.evidence.text import Text
from harness.debug.evidence.words import STATUS, Word, resolve, words_in

NAME = "register list"

_FAULT = re.compile(r"\b(hard|mem(?:ory)?[ _-]?(?:manage(?:ment)?)?|bus|usage|secure)[ _-]?fault", re.IGNORECASE)
_AT = re.compile(r"\bhard ?fault at (0x[0-9a-f]{1,8})\b", re.IGNORECASE)  # Nordic's SDK: the heading has the PC
_REASONS = {"h": "hardfault", "m": "memmanage", "b": "busfault", "u": "usagefault", "s": "securefault"}
_GAP = 8  # lines without a register that end a list
_NEAR = 100  # lines around a list in which memory is looked for, as far as there is no other list
_HEADING = 8  # lines before a list in which its heading is looked for
_SP = "The log does not say whether its SP is from before the exception frame was pushed or from after that."


@dataclass(frozen=True)
class _Lines:
    """What stands in each line besides registers. A line is searched once: a whole log may be lists, several a line,
    and the lines around each of them are those of others."""

    faults: Sequence[re.Match[str] | None]
    headings_with_pc: Sequence[re.Match[str] | None]
    rows: Sequence[re.Match[str] | None]


def _find(text: Text) -> list[Evidence]:
    lists = list(_lists(words_in(text.lines, 0, text.open)))
    if not lists:
        return []
    lines = _Lines(*([pattern.search(line) for line in text.lines] for pattern in (_FAULT, _AT, ROW)))
    ends = [0, *(words[-1].line + 1 for words in lists)]
    starts = [*(words[0].line for words in lists[1:]), len(text.lines)]
    return [_read(lines, words, end, start) for words, end, start in zip(lists, ends, starts)]


def _lists(words: Iterator[Word]) -> Iterator[list[Word]]:
    """The words of each crash: a list ends where its first register comes again, or long after its last."""
    current: list[Word] = []
    has_pc = False
    for word in words:
        again = current and word.name == current[0].name and has_pc
        if again or (current and word.line - current[-1].line > _GAP):
            if _is_crash(current):
                yield current
            current, has_pc = [], False
        current.append(word)
        has_pc = has_pc or word.name == "pc"
    if _is_crash(current):
        yield current


def _is_crash(words: list[Word]) -> bool:
    names = {word.name for word in words}
    return bool(names & {"pc", "lr"}) and len(names) >= 2 and bool(names - STATUS)


def _read(lines: _Lines, words: list[Word], after: int, before: int) -> Evidence:
    """The crash of a list. The one before it ends before the line `after`, the next one begins at the line `before`."""
    first, last = words[0].line, words[-1].line
    headed = slice(max(0, first - _HEADING), last + 1)
    found = resolve(words, any_base=True)
    registers, notes = dict(found.values), list(found.notes)
    at = next(filter(None, lines.headings_with_pc[headed]), None)
    if at:
        registers.setdefault("pc", int(at[1], 16))
    registers = without_lost_frame(registers, found.status, notes)
    memory = memory_of(lines.rows[min(max(after, first - _NEAR), first) : max(min(before, last + _NEAR), last + 1)])
    registers, listed = proven(registers, memory, notes)
    if "sp" in registers and not memory:
        notes.append(_SP)
    kind = next(filter(None, lines.faults[headed]), None)
    return Evidence(
        CpuState(registers, found.status, memory, reason=_REASONS[kind[1][0].lower()] if kind else ""),
        NAME,
        None,
        listed=listed,
        notes=tuple(notes),
        line=first + 1,
        cut=found.cut or ("pc" not in registers and not found.status),
    )


FORMAT = Format(NAME, "a list of registers (R0 = 0x…, PC: …)", _find)
