"""The boards, and what each would need to run here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from harness.board import Board
from harness.runners.renode import find_renode

_CROSS_COMPILER = "arm-none-eabi-gcc"
_RENODE = "renode"
_PROGRAMS = {
    "host": ("gcc",),
    "qemu": (_CROSS_COMPILER, "qemu-system-arm"),
    "renode": (_CROSS_COMPILER, _RENODE),
    "serial": (_CROSS_COMPILER,),
}


def missing(board: Board) -> tuple[str, ...]:
    """The programs that `board` needs and that are not here."""
    return tuple(program for program in _PROGRAMS[board.runner.kind] if _found(program) is None)


def _found(program: str) -> str | None:
    return find_renode() if program == _RENODE else shutil.which(program)


def table(boards: Sequence[Board]) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("board", "core", "flash", "RAM", "runner", "here", "description"):
        grid.add_column(heading, justify="right" if heading in ("flash", "RAM") else "left", overflow="fold")
    for board in boards:
        lacking = missing(board)
        here = Text("yes", style="green") if not lacking else Text(f"no: needs {', '.join(lacking)}", style="yellow")
        if not lacking and board.runner.kind == "serial":
            here = Text("with --board-url")
        grid.add_row(
            Text(board.name, style="bold"),
            " ".join([board.cpu.core, *sorted(board.cpu.features)]),
            _size(board, "flash"),
            _size(board, "ram"),
            _runner(board),
            here,
            Text(board.description),
        )
    return grid


def as_json(boards: Sequence[Board]) -> dict[str, Any]:
    return {
        "boards": [
            {
                "name": board.name,
                "description": board.description,
                "core": board.cpu.core,
                "features": sorted(board.cpu.features),
                "flash_bytes": _bytes(board, "flash"),
                "ram_bytes": _bytes(board, "ram"),
                "runner": board.runner.kind,
                "runs_here": not missing(board),
                "missing": list(missing(board)),
            }
            for board in boards
        ]
    }


def _bytes(board: Board, kind: str) -> int | None:
    """Of all its regions of a kind together; None where the operating system gives the memory."""
    return sum(region.bytes for region in board.memory if region.kind == kind) or None


def _size(board: Board, kind: str) -> str:
    count = _bytes(board, kind)
    return "" if count is None else f"{count // 1024:,} KB"


def _runner(board: Board) -> str:
    machine = getattr(board.runner, "machine", None)
    return f"{board.runner.kind} {machine}" if machine else board.runner.kind
