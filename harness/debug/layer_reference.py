"""What a layer should make of given inputs: the numpy references of the model's operators that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from harness.compiler.csource import Layer
from harness.compiler.graph import ABSENT, Graph, Op, TensorId
from harness.compiler.ops import reference
from harness.errors import CompilerBug

Values = Mapping[TensorId, np.ndarray]  # one sample: every array has its tensor's own shape and dtype
Reference = Callable[[Layer, Values], Values]


def reference_for(graph: Graph, alike: Mapping[TensorId, Sequence[TensorId]] | None = None) -> Reference:
    """A function from (layer, its inputs) to its outputs; `graph` is the model as it was read, before any pass.

    Only what the outputs follow from is computed. That can be more than the layer's own operators: of an operand that
    the compiler folded into a constant the model has nothing but the operators it was folded from. `alike` says of a
    tensor which ones show the same bytes: a layer that is given one of them is given all.
    """
    sharing = alike or {}
    makers = {tensor: op for op in graph.ops for tensor in op.outputs}
    order = {id(op): index for index, op in enumerate(graph.ops)}

    def run(layer: Layer, inputs: Values) -> Values:
        known = {
            same: values.reshape(graph.tensor(same).shape)
            for tensor, values in inputs.items()
            for same in sharing.get(tensor, (tensor,))
        }
        needed: dict[int, Op] = {}
        missing = [t for t in layer.outputs if t not in known]
        while missing:
            tensor = missing.pop()
            op = makers.get(tensor)
            if op is None:
                what = f"needs tensor {tensor} {graph.tensor(tensor).name!r}, which it is not given"
                raise CompilerBug(what, where=f"layer {layer.index} ({layer.name})")
            if order[id(op)] not in needed:
                needed[order[id(op)]] = op
                missing += [t for t in op.inputs if t != ABSENT and t not in known and graph.tensor(t).data is None]
        for _, op in sorted(needed.items()):
            operands = [known.get(t) for t in op.inputs]  # None: absent, or a constant of the model
            known.update(zip(op.outputs, reference(graph, op, operands), strict=True))
        return {t: known[t] for t in layer.outputs}

    return run
