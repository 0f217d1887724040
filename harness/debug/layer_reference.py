"""What a layer should make of given inputs: the numpy references of the model's operators that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from harness.compiler.csource import Layer
from harness.compiler.graph import ABSENT, Graph, TensorId
from harness.compiler.ops import reference

Values = Mapping[TensorId, np.ndarray]  # one sample: every array has its tensor's own shape and dtype
Reference = Callable[[Layer, Values], Values]


def reference_for(graph: Graph) -> Reference:
    """A function from (layer, its inputs) to its outputs; `graph` is the model as it was read, before any pass."""
    by_source = {source: op for op in graph.ops for source in op.sources}
    constants = _constants(graph)

    def run(layer: Layer, inputs: Values) -> Values:
        known = {**constants, **inputs}
        for index in layer.ops:
            op = by_source[index]
            operands = [None if t == ABSENT else known[t] for t in op.inputs]
            known.update(zip(op.outputs, reference(graph, op, operands), strict=True))
        return {t: known[t] for t in layer.outputs}

    return run


def _constants(graph: Graph) -> dict[TensorId, np.ndarray]:
    """The constants of the model, and what its operators make of constants alone: no layer computes that."""
    known = {t: spec.data for t, spec in enumerate(graph.tensors) if spec.data is not None}
    for op in graph.ops:
        if all(t == ABSENT or t in known for t in op.inputs):
            operands = [known.get(t) for t in op.inputs]
            known.update(zip(op.outputs, reference(graph, op, operands), strict=True))
    return known
