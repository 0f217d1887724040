"""An oracle that is a file: tensors somebody computed elsewhere, for instance on another device."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from harness.compiler.graph import Graph, TensorId
from harness.errors import BadInput
from harness.oracle.inputs import NpzFile, same_samples

_NAME = re.compile(r"(tensor|output|input)_(0|[1-9][0-9]{0,8})")


def load_expected(path: Path, graph: Graph, samples: int) -> dict[TensorId, np.ndarray]:
    """tensor_<id> and output_<n> of an .npz file, by tensor id, each (samples, *shape).

    BadInput names an array that is no tensor an operator of the model computes, or has another shape, dtype or number
    of samples than the run.
    """
    computed = {t for op in graph.ops for t in op.outputs}
    found: dict[TensorId, np.ndarray] = {}
    with NpzFile(path) as file:
        for name in sorted(file.names):
            match = _NAME.fullmatch(name)
            if match is None:
                raise BadInput(f"array {name!r} is none of tensor_<id>, output_<n>, input_<n>", where=str(path))
            kind, number = match[1], int(match[2])
            if kind == "input":
                continue
            if kind == "output" and number >= len(graph.outputs):
                raise BadInput(f"array {name!r}: the model has {len(graph.outputs)} outputs", where=str(path))
            tensor_id = graph.outputs[number] if kind == "output" else number
            if tensor_id not in computed:
                raise BadInput(f"array {name!r}: no operator of the model computes tensor {tensor_id}", where=str(path))
            if tensor_id in found:
                raise BadInput(f"array {name!r} gives tensor {tensor_id} a second time", where=str(path))
            tensor = graph.tensor(tensor_id)
            file.expect(name, tensor.shape, tensor.dtype)
            found[tensor_id] = file.read(name)
    if not found:
        raise BadInput("holds no expected tensors (tensor_<id> or output_<n>)", where=str(path))
    same_samples(path, {f"tensor_{t}": values for t, values in found.items()})
    count = next(iter(found.values())).shape[0]
    if count != samples:
        raise BadInput(f"holds {count} samples, the run has {samples}", where=str(path))
    return found
