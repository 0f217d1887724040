"""The map from C back to the model, for whoever does not have the model: `metadata.json` beside the sources, and what
of it is needed to explain a crash as comments in the ELF file.

    layerproof.model {'model': 'kws', 'arena_bytes': 8832, …}
    layerproof.layer {'index': 3, 'name': 'conv2d_3', 'op': 'CONV_2D', …}
    layerproof.tensor {'id': 7, 'name': 'conv1', 'shape': [1, 25, 5, 64], 'offset': 1024, …}

A comment is JSON with ' for ", so that it can stand in strings of C and of the assembler. Linkers put the comments of
all files together in any order, and equal ones once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from operator import itemgetter
from pathlib import Path
from typing import Any

from harness.board import Target
from harness.compiler.arena import Plan
from harness.compiler.csource import CSource, Layer, Placement
from harness.compiler.graph import Graph, Tensor, TensorId
from harness.dtypes import DType
from harness.errors import BadInput

NAME = "metadata.json"
_PREFIX = "layerproof."
_OF_THE_CODE_ALONE = {"channels", "scales", "zero_points"}  # no use to who explains a crash, and long
_MOST_TENSORS = 1 << 16
_LARGEST = 1 << 32  # bytes, elements, or what else is counted
_NOT_A_MAP = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


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
    except (OSError, *_NOT_A_MAP) as error:
        what = f"cannot be read as the map of a model: {type(error).__name__} {error}"
        raise BadInput(what, where=str(file), hint="Make it anew with `harness compile MODEL -o DIR`.") from error


def describe(
    graph: Graph, target: Target, layers: Sequence[Layer], plan: Plan, objective: str, without: Sequence[str]
) -> dict[str, Any]:
    """What `metadata.json` says: of layers and of the tensors in the arena, places and sizes in bytes."""

    def tensor(t: TensorId) -> dict[str, object]:
        described = graph.tensor(t)
        place = plan.placements[t]
        entry: dict[str, object] = {
            "id": t,
            "name": described.name,
            "shape": list(described.shape),
            "dtype": described.dtype.value,
            "offset": place.offset,
            "bytes": place.bytes,
        }
        if t in graph.kept:
            entry["model_shape"] = list(graph.kept[t].shape)
            entry["channels"] = list(graph.kept[t].channels)
        if described.quant is not None:
            entry["scales"] = list(described.quant.scales)
            entry["zero_points"] = list(described.quant.zero_points)
        return entry

    return {
        "model": graph.name,
        "target": target.core,
        "optimize": objective,
        "without": list(without),
        "arena_bytes": plan.bytes,
        "arena_lower_bound": plan.lower_bound,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "layers": [
            {
                "index": layer.index,
                "name": layer.name,
                "op": layer.op,
                "ops": list(layer.ops),
                "inputs": list(layer.inputs),
                "outputs": list(layer.outputs),
                "file": layer.file,
                "macs": layer.macs,
                "schedule": layer.schedule,
                "scratch": [{"offset": place.offset, "bytes": place.bytes} for place in layer.scratch],
            }
            for layer in layers
        ],
        "tensors": [tensor(t) for t in sorted(plan.placements)],
    }


def comments(data: Mapping[str, Any]) -> list[str]:
    """`describe`'s data as comments for an ELF file: printable ASCII without " and ?, backslashes only of escapes."""
    model = {name: value for name, value in data.items() if name not in ("layers", "tensors")}
    tensors = [{n: v for n, v in tensor.items() if n not in _OF_THE_CODE_ALONE} for tensor in data["tensors"]]
    entries = {"model": [model], "layer": data["layers"], "tensor": tensors}
    return [f"{_PREFIX}{kind} {_quoted(json.dumps(entry))}" for kind in entries for entry in entries[kind]]


def _quoted(text: str) -> str:
    """JSON without the characters that C or the assembler would read: ? begins C's trigraphs."""
    for characters, code in (("\\\\", "5c"), ('\\"', "22"), ("'", "27"), ("?", "3f"), ("\x7f", "7f")):
        text = text.replace(characters, f"\\u00{code}")
    return text.replace('"', "'")


def has_map(found: Iterable[str]) -> bool:
    """Whether comments of an ELF file are of any map, whole or not."""
    return any(comment.startswith(_PREFIX) for comment in found)


def read_comments(found: Iterable[str]) -> CSource | None:
    """The map that the comments of an ELF file have, as of `read_map`; None without one, or of several models."""
    entries: dict[str, list[Any]] = {"model": [], "layer": [], "tensor": []}
    try:
        for comment in dict.fromkeys(found):
            kind, _, text = comment.removeprefix(_PREFIX).partition(" ")
            if comment.startswith(_PREFIX) and kind in entries:
                entries[kind].append(json.loads(text.replace("'", '"')))
        (model,) = entries["model"]
        layers = sorted(entries["layer"], key=itemgetter("index"))
        tensors = sorted(entries["tensor"], key=itemgetter("id"))
        return _source({**model, "layers": layers, "tensors": tensors})
    except _NOT_A_MAP:
        return None


def _source(data: Any) -> CSource:
    described = {_tensor_id(entry["id"]): entry for entry in data["tensors"]}
    blank = Tensor("", (), DType.I8)
    tensors = tuple(_tensor(described[i]) if i in described else blank for i in range(max(described, default=-1) + 1))
    layers = tuple(_layer(entry) for entry in data["layers"])
    if any(layer.index != number for number, layer in enumerate(layers)):
        raise ValueError("layers are missing, or not in their order")
    return CSource(
        name=str(data["model"]),
        target=Target(str(data["target"]), frozenset()),
        graph=Graph(str(data["model"]), tensors, (), _tensors(data["inputs"]), _tensors(data["outputs"]), len(tensors)),
        files={},
        layers=layers,
        placements={i: _placement(entry) for i, entry in described.items()},
        arena_bytes=_number(data["arena_bytes"]),
        arena_lower_bound=_number(data["arena_lower_bound"]),
        constant_bytes=0,
        objective=str(data["optimize"]),
        without=tuple(map(str, data["without"])),
    )


def _tensor(entry: Any) -> Tensor:
    shape = tuple(map(_number, entry.get("model_shape", entry["shape"])))
    if prod(shape) > _LARGEST:
        raise ValueError(f"a tensor of {len(shape)} dimensions that no memory holds")
    return Tensor(str(entry["name"]), shape, DType(entry["dtype"]))


def _layer(entry: Any) -> Layer:
    return Layer(
        index=_number(entry["index"]),
        name=str(entry["name"]),
        op=str(entry["op"]),
        ops=tuple(map(_number, entry["ops"])),
        inputs=_tensors(entry["inputs"]),
        outputs=_tensors(entry["outputs"]),
        file=str(entry["file"]),
        macs=int(entry["macs"]),
        schedule=str(entry["schedule"]),
        scratch=tuple(_placement(place) for place in entry["scratch"]),
    )


def _placement(entry: Any) -> Placement:
    return Placement(_number(entry["offset"]), _number(entry["bytes"]))


def _tensors(values: Any) -> tuple[TensorId, ...]:
    return tuple(map(_tensor_id, values))


def _tensor_id(value: Any) -> TensorId:
    return _number(value, _MOST_TENSORS)


def _number(value: Any, below: int = _LARGEST + 1) -> int:
    number = int(value)
    if not 0 <= number < below:
        raise ValueError(f"a number that cannot be right, of {number.bit_length()} bits")
    return number
