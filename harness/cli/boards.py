"""`harness boards`: what there is to run on."""

from __future__ import annotations

import click

from harness.cli.output import Output, common


@click.command()
@common
def boards(out: Output) -> int:
    """List the boards: their core, memory and runner, and whether each can run here."""
    from harness.board import all_boards
    from harness.report.boards import as_json, table

    found = all_boards()
    out.console.print(table(found))
    out.write(as_json(found))
    return 0
