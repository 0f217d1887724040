"""A table of figures, for the terminal and for a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import rich.table
from rich.console import Console

Cell = str | int | None


@dataclass
class Table:
    title: str
    heads: Sequence[str]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        self.rows.append(tuple("" if c is None else f"{c:,}" if isinstance(c, int) else c for c in cells))

    def numeric(self, column: int) -> bool:
        """Whether the column is to be aligned to the right."""
        return all(row[column][:1].isdigit() or not row[column] for row in self.rows)


def terminal(tables: Sequence[Table]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    for table in tables:
        shown = rich.table.Table(title=table.title, title_justify="left", box=None, header_style="bold")
        for column, head in enumerate(table.heads):
            shown.add_column(head, justify="right" if table.numeric(column) else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
        console.print()


def markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        rule = "|".join(" ---: " if table.numeric(column) else " --- " for column in range(len(table.heads)))
        lines = [f"| {' | '.join(row)} |" for row in (tuple(table.heads), *table.rows)]
        parts.append("\n".join([f"## {table.title}", "", lines[0], f"|{rule}|", *lines[1:], ""]))
    return "\n".join(parts)
