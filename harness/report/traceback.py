"""The chain of calls behind a crash, as a table of frame, function, place and what there is to say of it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.debug.crash import Crash
from harness.report.crash_details import details
from harness.report.text import printable

_GUESS_STYLE = "dim"  # a frame that is only a guess from the words on the stack


def traceback_text(crash: Crash, verbose: bool = False) -> RenderableType:
    """The traceback, the sentence below it, what is doubtful about both, and then the details: see `details`."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for frame, row in crash.rows():
        style = _GUESS_STYLE if frame.via == "scan" else "bold" if frame.layer is not None else ""
        table.add_row(*(Text(printable(cell), style=style) for cell in (f"  {row[0]}", *row[1:])))
    remarks = [Text(printable(note)) for note in crash.notes]
    head = Text("Traceback (most recent call first):")
    return Group(head, table, Text(printable(crash.sentence)), *remarks, *details(crash, verbose))
