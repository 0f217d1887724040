"""`harness crash decode LOG|RECORD`: the whole explanation of a crash from what was sent in from the field."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.output import Output, common
from harness.errors import BadInput, ExitCode

_PATH = click.Path(path_type=Path)
_NUMBER = click.IntRange(min=1)
_ELF = "The firmware that crashed, unstripped; of several the one with the right build ID."
_SOURCES = "What `harness compile` wrote, or the artefacts of a run: names layers and tensors."
_WHICH = "Which crash, where the log has several."
_LARGEST = 1 << 26  # bytes of a log that are read


@click.command()
@click.argument("evidence", metavar="LOG|RECORD|-")
@click.option("--elf", "elfs", type=_PATH, required=True, multiple=True, metavar="F", help=_ELF)
@click.option("--sources", type=_PATH, metavar="DIR", help=_SOURCES)
@click.option("--crash", "number", type=_NUMBER, default=1, show_default=True, metavar="N", help=_WHICH)
@click.option("--any-elf", is_flag=True, help="Decode with a warning although the build IDs differ.")
@common
def decode(out: Output, evidence: str, elfs: tuple[Path, ...], sources: Path | None, number: int, any_elf: bool) -> int:
    """Explain a crash from a fault record, or from a log that a fault handler printed; - reads standard input.

    Needs the firmware's ELF, unstripped, and nothing else: no emulator, no toolchain, no board.

    Exit status: 0 decoded, perhaps with warnings; 2 usage, nothing to decode, or an ELF with another build ID.
    """
    from harness.compiler.metadata import read_map
    from harness.debug.decode import decode as run
    from harness.debug.evidence import crashes_in
    from harness.report.decoded import show

    found = crashes_in(_read(evidence), evidence)
    if number > len(found):
        raise BadInput(f"crash {number} was asked for; the log has {len(found)}", where=evidence)
    source = read_map(sources) if sources is not None else None
    search = () if sources is None else (sources, sources / "sources") if sources.is_dir() else (sources.parent,)
    decoded = run(found[number - 1], elfs, source=source, search=search, any_elf=any_elf)
    show(decoded, out.console, verbose=out.verbose)
    out.write(decoded.to_json())
    return int(ExitCode.MATCH)


def _read(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(_LARGEST)
        with Path(name).open("rb") as stream:
            return stream.read(_LARGEST)
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", where=name) from error
