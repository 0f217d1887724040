"""What every command of `harness crash` is given, and the crash it makes of that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.output import Output
from harness.errors import BadInput

if TYPE_CHECKING:
    from harness.debug.decode import Decoded

_PATH = click.Path(path_type=Path)
_NUMBER = click.IntRange(min=1)
_ELF = "The firmware that crashed, unstripped; of several the one with the right build ID."
_SOURCES = "What `harness compile` wrote, or the artefacts of a run: source files are looked for there."
_BOARD = "A board's name, or its TOML file: names what lies at an address beside the firmware."
_WHICH = "Which crash, where the log has several."
_LARGEST = 1 << 26  # bytes of a log that are read


def given(function: Callable[..., int]) -> Callable[..., int]:
    """Adds to a command the arguments of `decoded`."""
    for decorate in (
        click.option("--any-elf", is_flag=True, help="Go on with a warning although the build IDs differ."),
        click.option("--crash", "number", type=_NUMBER, default=1, show_default=True, metavar="N", help=_WHICH),
        click.option("--board", metavar="B", help=_BOARD),
        click.option("--sources", type=_PATH, metavar="DIR", help=_SOURCES),
        click.option("--elf", "elfs", type=_PATH, required=True, multiple=True, metavar="F", help=_ELF),
        click.argument("evidence", metavar="LOG|RECORD|CORE|-"),
    ):
        function = decorate(function)
    return function


def decoded(
    out: Output,
    *written: Path | None,
    evidence: str,
    elfs: tuple[Path, ...],
    sources: Path | None,
    board: str | None,
    number: int,
    any_elf: bool,
) -> Decoded:
    """The crash that the file `evidence`, or standard input, tells of.

    BadInput as of `harness.debug.decode.decode`, and where `out` or `written` would overwrite what is read.
    """
    from harness.board import load_board
    from harness.compiler.metadata import read_map
    from harness.debug.decode import decode
    from harness.debug.evidence import crashes_in

    read = [*elfs, *(Path(name) for name in (evidence, sources, board) if name is not None and name != "-")]
    out.spare(read, *written)
    found = crashes_in(_read(evidence), evidence)
    if number > len(found):
        raise BadInput(f"crash {number} was asked for; the log has {len(found)}", where=evidence)
    source = read_map(sources) if sources is not None else None
    search = () if sources is None else (sources, sources / "sources") if sources.is_dir() else (sources.parent,)
    where = load_board(board) if board is not None else None
    return decode(found[number - 1], elfs, source=source, search=search, board=where, any_elf=any_elf)


def _read(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(_LARGEST)
        with Path(name).open("rb") as stream:
            return stream.read(_LARGEST)
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", where=name) from error
