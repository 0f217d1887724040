"""A crash that was explained from evidence alone, on a console."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from harness.debug.decode import Decoded
from harness.report.text import printable
from harness.report.traceback import traceback_text


def show(decoded: Decoded, console: Console, *, verbose: bool = False) -> None:
    """Warnings first: with the wrong ELF nothing below them is true. `verbose` adds registers and status bits."""
    for warning in decoded.warnings:
        console.print(Text("warning: ", style="bold yellow").append(printable(warning), style="default"))
    evidence = decoded.evidence
    line = f", line {evidence.line}" if evidence.line is not None else ""
    console.print(Text(f"{evidence.format}{line}. {printable(' '.join(evidence.context))}".rstrip()))
    console.print(traceback_text(decoded.crash))
    for note in decoded.notes:
        console.print(Text(printable(note)))
    if verbose:
        for bit in decoded.crash.status_bits:
            console.print(Text(f"  {printable(bit)}"))
        values = {**decoded.crash.registers, **decoded.crash.fault_status}
        row = [f"{name} 0x{value:08x}" for name, value in values.items()]
        for first in range(0, len(row), 6):
            console.print(Text("  " + "  ".join(row[first : first + 6])))
