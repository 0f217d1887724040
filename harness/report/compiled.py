"""What came of compiling a model: its layers and its memory plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.compiler.csource import CSource
from harness.report.text import printable


def summary(source: CSource, folder: Path, files: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "layer", "operator", "MACs", "file"):
        table.add_column(heading, justify="right" if heading in ("", "MACs") else "left")
    for layer in source.layers:
        table.add_row(str(layer.index), layer.name, layer.op, f"{layer.macs:,}", layer.file)
    plan = (
        f"arena {source.arena_bytes:,} B (lower bound {source.arena_lower_bound:,}) · "
        f"constants {source.constant_bytes:,} B · {sum(layer.macs for layer in source.layers):,} MACs"
    )
    return Group(table, Text(), Text(plan), Text(f"{files} files in {printable(str(folder))}"))


def as_json(source: CSource, folder: Path, paths: Sequence[Path]) -> dict[str, Any]:
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
            }
            for layer in source.layers
        ],
        "memory": {
            "arena_bytes": source.arena_bytes,
            "arena_lower_bound": source.arena_lower_bound,
            "constant_bytes": source.constant_bytes,
        },
    }
