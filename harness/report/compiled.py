"""What came of compiling a model: its layers and its memory plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.compiler.csource import CSource, Trade
from harness.report.text import printable


def summary(source: CSource, trades: Sequence[Trade], folder: Path, files: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "layer", "operator", "MACs", "schedule", "file"):
        table.add_column(heading, justify="right" if heading in ("", "MACs") else "left")
    for layer in source.layers:
        table.add_row(str(layer.index), layer.name, layer.op, f"{layer.macs:,}", layer.schedule, layer.file)
    plan = (
        f"{arena(source.arena_bytes, source.arena_lower_bound)} · "
        f"constants {source.constant_bytes:,} B · {sum(layer.macs for layer in source.layers):,} MACs"
    )
    written = Text(f"{files} files in {printable(str(folder))}")
    return Group(table, Text(), _trades(trades, source.objective), Text(), Text(plan), written)


def _trades(trades: Sequence[Trade], objective: str) -> Table:
    """What each objective would cost; estimates from the loops, `harness profile` counts."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("--optimize")
    for heading in ("instructions", "code bytes", "constants", "RAM"):
        table.add_column(f"{heading}, estimated" if heading != "constants" else heading, justify="right")
    for t in trades:
        name = f"{t.objective} (chosen)" if t.objective == objective else t.objective
        figures = (t.instructions, t.code_bytes, t.constant_bytes, t.ram_bytes)
        table.add_row(name, *(f"{figure:,}" for figure in figures))
    return table


def arena(size: int, bound: int) -> str:
    """What the memory plan takes, and how far that is from the least that any plan could."""
    far = f"{size - bound:,} above the lower bound of {bound:,}" if size > bound else "the lower bound"
    return f"arena {size:,} B ({far})"


def as_json(source: CSource, trades: Sequence[Trade], folder: Path, paths: Sequence[Path]) -> dict[str, Any]:
    return {
        "target": source.target.core,
        "without": list(source.without),
        "directory": str(folder),
        "files": [path.relative_to(folder).as_posix() for path in paths],
        "layers": [
            {
                "index": layer.index,
                "name": layer.name,
                "op": layer.op,
                "ops": list(layer.ops),
                "file": layer.file,
                "macs": layer.macs,
                "schedule": layer.schedule,
            }
            for layer in source.layers
        ],
        "trades": [asdict(trade) for trade in trades],
        "memory": {
            "arena_bytes": source.arena_bytes,
            "arena_lower_bound": source.arena_lower_bound,
            "constant_bytes": source.constant_bytes,
        },
    }
