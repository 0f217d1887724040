"""Columns of a table that must fit into a terminal: what matters most is never cut, what tells least leaves first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.table import Table
from rich.text import Text

from harness.report.text import shortened

WIDTH = 120  # characters of a report that is not for a terminal
_GAP = 2  # blanks between two columns
_SHORTEST_NAME = 10  # a name with fewer says nothing


@dataclass(frozen=True)
class Column:
    heading: str
    cells: tuple[Text, ...]
    right: bool = False

    @property
    def width(self) -> int:
        """Characters without which something is cut; a heading may be broken between its words."""
        words = (Text(word).cell_len for word in self.heading.split())
        return max((*words, *(cell.cell_len for cell in self.cells)), default=0)

    def within(self, width: int) -> Column:
        return replace(self, cells=tuple(Text(shortened(cell.plain, width)) for cell in self.cells))


def column(heading: str, cells: Sequence[str], *, right: bool = False) -> Column:
    return Column(heading, tuple(Text(cell) for cell in cells), right)


def table(columns: Sequence[Column], width: int, leaving: Sequence[str], name: str = "") -> Table:
    """Those of `columns` that there is room for in `width`: the ones called `leaving` are left out in this order.

    The column called `name`, when its turn comes, is shortened instead as long as its cells still say something.
    """
    fitting = _fitting(list(columns), width, leaving, name)
    made = Table(box=None, pad_edge=False, header_style="bold")
    for each in fitting:
        made.add_column(each.heading, justify="right" if each.right else "left", width=each.width)
    for row in zip(*(each.cells for each in fitting), strict=True):
        made.add_row(*row)
    return made


def _fitting(columns: list[Column], width: int, leaving: Sequence[str], name: str) -> list[Column]:
    for heading in leaving:
        excess = sum(each.width + _GAP for each in columns) - _GAP - width
        if excess <= 0:
            break
        if heading == name:
            (named,) = (each for each in columns if each.heading == name)
            if named.width - excess >= _SHORTEST_NAME:
                return [each.within(each.width - excess) if each is named else each for each in columns]
        columns = [each for each in columns if each.heading != heading]
    return columns
