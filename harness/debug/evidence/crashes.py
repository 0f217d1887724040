"""Where in a log one crash ends and the next begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.debug.evidence.base import Evidence
from harness.debug.evidence.text import Text

LONGEST = 400  # lines of one crash


@dataclass(frozen=True)
class Part:
    """The lines of one crash."""

    first: int  # index of its first line in the log
    lines: Sequence[str]
    is_last: bool  # nothing of the log follows it


def parts(lines: Sequence[str], begins: Callable[[str], bool], told: Callable[[str], bool]) -> Iterator[Part]:
    """The crashes of a log. A line that `begins` one is of the same crash as the last until the program counter was
    `told`: a fault that became a hard fault has two headings."""
    starts: list[int] = []
    has_pc = True
    for number, line in enumerate(lines):
        if begins(line) and (has_pc or number - starts[-1] >= LONGEST):
            starts.append(number)
            has_pc = False
        has_pc = has_pc or told(line)
    for start, end in zip(starts, [*starts[1:], len(lines)]):
        yield Part(start, lines[start : min(end, start + LONGEST)], end == len(lines) and end - start <= LONGEST)


def each(
    begins: Callable[[str], bool], told: Callable[[str], bool], read: Callable[[Part, bool], Evidence | None]
) -> Callable[[Text], list[Evidence]]:
    """`Format.find` of a format whose crashes `parts` finds. `read` is given a part, and whether the log ends in the
    middle of a line."""

    def find(text: Text) -> list[Evidence]:
        found = (read(part, text.open) for part in parts(text.lines, begins, told))
        return [evidence for evidence in found if evidence is not None]

    return find
