"""The map from C back to the model, as `metadata.json` keeps it: for whoever has the sources but not the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.board import Target
from harness.compiler.csource import CSource, Layer, Placement
from harness.compiler.graph import Graph, Tensor
from harness.dtypes import DType
from harness.errors import BadInput

NAME = "metadata.json"
_MOST_TENSORS = 1 << 16


def read_map(path: Path) -> CSource:
    """Layers and tensors of the model that `path` describes: metadata.json itself, or a folder that has it, either
    `harness compile`'s or one of artefacts, where it lies in `sources`.

    What is not in the file is not in the result: it has no C, no constants and no operators, and of a tensor that lies
    in no arena only a blank. BadInput: there is no such file, or it is damaged.
    """
    candidates = (path, path / NAME, path / "sources" / NAME)
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        hint = "Name the folder that `harness compile -o` wrote, one of artefacts, or a metadata.json."
        raise BadInput(f"there is no {NAME}" if path.exists() else "no such file or folder", where=str(path), hint=hint)
    try:
        return _source(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        what = f"cannot be read as the map of a model: {type(error).__name__} {error}"
        raise BadInput(what, where=str(file), hint="Make it anew with `harness compile MODEL -o DIR`.") from error


def _source(data: Any) -> CSource:
    described = {_index(entry["id"]): entry for entry in data["tensors"]}
    blank = Tensor("", (), DType.I8)
    tensors = tuple(_tensor(described[i]) if i in described else blank for i in range(max(described, default=-1) + 1))
    layers = tuple(_layer(entry) for entry in data["layers"])
    return CSource(
        name=str(data["model"]),
        target=Target(str(data["target"]), frozenset()),
        graph=Graph(str(data["model"]), tensors, (), _ids(data["inputs"]), _ids(data["outputs"]), len(tensors)),
        files={},
        layers=layers,
        placements={i: _placement(entry) for i, entry in described.items()},
        arena_bytes=int(data["arena_bytes"]),
        arena_lower_bound=int(data["arena_lower_bound"]),
        constant_bytes=0,
        objective=str(data["optimize"]),
        without=tuple(map(str, data["without"])),
    )


def _tensor(entry: Any) -> Tensor:
    return Tensor(str(entry["name"]), _ids(entry.get("model_shape", entry["shape"])), DType(entry["dtype"]))


def _layer(entry: Any) -> Layer:
    return Layer(
        index=int(entry["index"]),
        name=str(entry["name"]),
        op=str(entry["op"]),
        ops=_ids(entry["ops"]),
        inputs=_ids(entry["inputs"]),
        outputs=_ids(entry["outputs"]),
        file=str(entry["file"]),
        macs=int(entry["macs"]),
        schedule=str(entry["schedule"]),
        scratch=tuple(_placement(place) for place in entry["scratch"]),
    )


def _placement(entry: Any) -> Placement:
    return Placement(int(entry["offset"]), int(entry["bytes"]))


def _ids(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _index(value: Any) -> int:
    index = int(value)
    if not 0 <= index < _MOST_TENSORS:
        raise ValueError(f"tensor number {index}")
    return index
