"""Keeps compiled sources between runs: a model that was compiled before, by this very compiler, is only read back.

An entry is a JSON file named after a digest of the model's bytes, the target, the options and every file of the
compiler. A missing, damaged or unwritable entry costs a compilation and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.board import Target
from harness.compiler.choose import Objective
from harness.compiler.csource import CSource, Layer, Placement
from harness.compiler.graph import Graph, Kept, TensorId
from harness.resources import prune

LIMIT_BYTES = 128 << 20  # of the whole folder; a large model's C takes one or two MiB
_LAYERS = TypeAdapter(tuple[Layer, ...])
_KEPT = TypeAdapter(dict[TensorId, Kept])


def to_entry(source: CSource) -> dict[str, Any]:
    """All of `source` but its graph and target, as `json.dumps` takes it."""
    return {
        "files": dict(source.files),
        "layers": [asdict(layer) for layer in source.layers],
        "placements": {tensor: [p.offset, p.bytes] for tensor, p in source.placements.items()},
        "arena_bytes": source.arena_bytes,
        "arena_lower_bound": source.arena_lower_bound,
        "constant_bytes": source.constant_bytes,
        "kept": {tensor: asdict(kept) for tensor, kept in source.kept.items()},
        "objective": source.objective,
        "without": list(source.without),
    }


def from_entry(entry: Any, graph: Graph, target: Target) -> CSource:
    """The source of `graph` for `target` that `to_entry` made `entry` of. ValueError: it is none, or damaged."""
    try:
        return CSource(
            name=graph.name,
            target=target,
            graph=graph,
            files={str(name): str(text) for name, text in entry["files"].items()},
            layers=_LAYERS.validate_python(entry["layers"]),
            placements={int(tensor): Placement(*place) for tensor, place in entry["placements"].items()},
            arena_bytes=int(entry["arena_bytes"]),
            arena_lower_bound=int(entry["arena_lower_bound"]),
            constant_bytes=int(entry["constant_bytes"]),
            kept=_KEPT.validate_python(entry["kept"]),
            objective=str(entry["objective"]),
            without=tuple(map(str, entry["without"])),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a compiled source: {error}") from error


@dataclass(frozen=True)
class SourceCache:
    folder: Path

    def load(
        self, model: bytes, graph: Graph, target: Target, objective: Objective, without: Collection[str] = ()
    ) -> CSource | None:
        """The source of `graph`, which was read from `model`, compiled with these options, or None."""
        try:
            path = self._path(model, graph.name, target, objective.value, without)
            entry = json.loads(path.read_text(encoding="utf-8"))
            os.utime(path)  # used just now: among the last to go
            return from_entry(entry, graph, target)
        except (OSError, ValueError):
            return None

    def save(self, model: bytes, source: CSource) -> None:
        path = self._path(model, source.name, source.target, source.objective, source.without)
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(to_entry(source), file)
            os.replace(temporary, path)  # a reader sees the whole entry or none
            prune(self.folder, LIMIT_BYTES)

    def _path(self, model: bytes, name: str, target: Target, objective: str, without: Collection[str]) -> Path:
        wanted = f"{name} {target.core} {sorted(target.features)} {objective} {sorted(without)}"
        digest = hashlib.sha256(model)
        digest.update(wanted.encode("utf-8", "backslashreplace"))
        digest.update(_compiler().encode())
        return self.folder / f"{digest.hexdigest()}.json"


@cache
def _compiler() -> str:
    """Digest of the compiler itself: all of its source, and the element types it knows."""
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in (root.parent / "dtypes.py", *sorted(root.rglob("*.py"))):
        digest.update(path.relative_to(root.parent).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
