"""`harness crash decode LOG|RECORD`: the whole explanation of a crash from what was sent in from the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from harness.cli.crash.given import decoded, given
from harness.cli.output import Output, common, file_to_write
from harness.errors import ExitCode

_CORE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@given
@click.option(
    "--core",
    type=_CORE,
    metavar="OUT",
    callback=file_to_write,
    help="Write a core file for gdb-multiarch and this command.",
)
@common
def decode(out: Output, core: Path | None, **evidence: Any) -> int:
    """Explain a crash from a fault record, a core file, or a log that a fault handler printed; - reads standard input.

    Needs the firmware's ELF, unstripped, and nothing else: no emulator, no toolchain, no board.

    Exit status: 0 decoded, perhaps with warnings; 2 usage, nothing to decode, or an ELF with another build ID.
    """
    from harness.debug.gdb.core_file import core_file, unknown_registers
    from harness.debug.gdb.view import UNKNOWN
    from harness.report.decoded import show

    found = decoded(out, core, **evidence)
    show(found, out.console, verbose=out.verbose)
    if core is not None:
        state = found.evidence.state
        out.save_bytes(core, core_file(state, build_id=found.evidence.build_id, report=found.crash.to_json()))
        out.console.print(Text(f"gdb-multiarch {found.image.path} {core}"))
        if unknown := unknown_registers(state):
            out.console.print(Text(f"Not known, and in the core file 0x{UNKNOWN:08x}: {', '.join(unknown)}."))
    out.write(found.to_json())
    return int(ExitCode.MATCH)
