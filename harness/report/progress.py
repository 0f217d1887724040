"""What a command shows while it works: the stage, and a bar over the layers. Nothing where nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from harness.debug.compare import Progress as Report
from harness.report.text import printable

_STAGES = {
    "load": "reading the model",
    "compile": "compiling to C",
    "build": "building the firmware",
    "oracle": "asking the oracle",
    "boot": "starting the target",
    "run": "running layers",
    "count": "counting",
}


@contextmanager
def shown(console: Console, title: str) -> Iterator[Report]:
    """A function to hand to `verify(progress=…)`; the display disappears at the end of the block."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(printable(title), total=None)

        def report(stage: str, done: int, total: int) -> None:
            step = f" {done + 1} of {total}" if total > 1 else ""
            description = f"{printable(title)}: {_STAGES.get(stage, stage)}{step}"
            progress.update(task, description=description, completed=done, total=total if total > 1 else None)

        yield report
