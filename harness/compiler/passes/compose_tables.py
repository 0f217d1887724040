"""Operators that together make one byte of one byte become one table.

    5 LOGISTIC   8 -> 9                  5 LOOKUP   8 -> 11     (stands for operators 5, 6 and 7)
    6 MUL        8, 9 -> 10
    7 QUANTIZE   10 -> 11

However many there are, and whatever they compute, there are 256 inputs: the references are run on all of them, one
after the other. A tensor in between goes where nobody else reads it; operators of two operands join in where both come
from the same tensor, or where one is a constant of one element.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.compiler.graph import ABSENT, Graph, Op, TensorId
from harness.compiler.ops import byte_function, operator, reference
from harness.compiler.ops.lookup import Lookup
from harness.compiler.ops.unary import values_of
from harness.compiler.passes.joining import Uses, joined
from harness.dtypes import DType

BYTES = (DType.I8, DType.U8)


@dataclass(frozen=True)
class ComposeTables:
    name: str = "compose-tables"

    def run(self, graph: Graph) -> Graph:
        uses = Uses.of(graph)
        for output in [op.outputs[0] for op in graph.ops if operator(graph, op).by_element]:
            composed = _compose(graph, uses, output)
            if composed is not graph:
                graph, uses = composed, Uses.of(composed)
        return graph


def _compose(graph: Graph, uses: Uses, output: TensorId) -> Graph:
    op = uses.makers.get(output)
    y = graph.tensor(output)
    if op is None or y.dtype not in BYTES:
        return graph
    roots: set[TensorId] = set()
    values: list[np.ndarray] = []
    parts: dict[int, Op] = {}
    for tensor in op.inputs:
        t = graph.tensor(tensor) if tensor != ABSENT else None
        if t is None or t.dtype not in BYTES:
            return graph
        if t.data is not None:
            if t.elements != 1:
                return graph
            values.append(t.data.reshape(1))
            continue
        maker = uses.only_maker(tensor)
        function = None if maker is None else byte_function(graph, maker)
        if maker is not None and function is not None:
            parts[id(maker)] = maker
            roots.add(function.root)
            values.append(function.table)
        else:
            roots.add(tensor)
            values.append(values_of(t.dtype).astype(t.dtype.np))
    if not parts or len(roots) != 1:
        return graph
    (root,) = roots
    if graph.tensor(root).shape != y.shape:
        return graph
    (table,) = reference(graph, op, values)
    merged = Op("LOOKUP", (root,), op.outputs, Lookup(tuple(table.tolist())), ())
    return joined(graph, merged, (*parts.values(), op))
