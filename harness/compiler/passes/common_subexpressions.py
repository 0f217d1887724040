"""What is computed twice from the same operands is computed once, and constants with equal contents are one.

    3 CONV_2D  7, 8 -> 9              3 CONV_2D  7, 8 -> 9     (stands for operators 3 and 4)
    4 CONV_2D  7, 8 -> 12                                      12 is a view of 9
    5 ADD      9, 12 -> 13            4 ADD      9, 12 -> 13

Both are the same when kind, attributes and operands are, and the results have one shape, type and quantisation. The
result that is not computed keeps its id and shows the other one's bytes, so a reader, a report and an application find
the model's own tensor as before.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from harness.compiler.graph import Graph, Op, TensorId, View


@dataclass(frozen=True)
class CommonSubexpressions:
    name: str = "common-subexpressions"

    def run(self, graph: Graph) -> Graph:
        constants = _equal_constants(graph)
        same = dict(constants)  # of a tensor the one that stands for it
        first: dict[Hashable, int] = {}
        ops: list[Op] = []
        views = list(graph.views)
        for op in graph.ops:
            key = _key(graph, op, tuple(same.get(graph.base(t), graph.base(t)) for t in op.inputs))
            at = first.setdefault(key, len(ops))
            if at == len(ops):
                ops.append(replace(op, inputs=tuple(constants.get(t, t) for t in op.inputs)))
                continue
            ops[at] = replace(ops[at], sources=tuple(sorted({*ops[at].sources, *op.sources})))
            for result, other in zip(op.outputs, ops[at].outputs, strict=True):
                same[result] = other
                views.append(View(result, other, op.sources))
        return replace(graph, ops=tuple(ops), views=tuple(views))


def _key(graph: Graph, op: Op, operands: tuple[TensorId, ...]) -> Hashable:
    """What makes a computation the same. The text of the attributes tells 0.0 from -0.0."""
    shown = [graph.tensor(t) for t in op.outputs]
    shapes = tuple(graph.tensor(t).shape for t in op.inputs if t >= 0)  # a view shows one base under several
    results = tuple((t.shape, t.dtype, t.quant) for t in shown)
    return op.kind, op.attrs, repr(op.attrs), operands, shapes, results


def _equal_constants(graph: Graph) -> dict[TensorId, TensorId]:
    """Of every constant the first with the same contents, where that is another one."""
    first: dict[Hashable, TensorId] = {}
    same = {}
    for tensor, spec in enumerate(graph.tensors):
        if spec.data is not None:
            one = first.setdefault((spec.dtype, spec.shape, spec.quant, spec.data.tobytes()), tensor)
            if one != tensor:
                same[tensor] = one
    return same
