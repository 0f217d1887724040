"""`harness crash …`: what is left of a crash, turned into words, files and answers for a debugger."""

from __future__ import annotations

import click

from harness.cli.crash.decode import decode
from harness.cli.crash.gdb import gdb


@click.group()
def crash() -> None:
    """Explain what is left of a crash: a record, or a log pasted from the field."""


crash.add_command(decode)
crash.add_command(gdb)
