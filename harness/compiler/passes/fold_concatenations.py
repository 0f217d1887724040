"""A CONCATENATION of pieces that lie in the whole one after another needs no copy: each is made where it belongs.

    3 CONV_2D        7 -> 8                     3 CONV_2D  7 -> 8       8 and 9 are views of 10, each at its offset
    4 CONV_2D        7 -> 9                     4 CONV_2D  7 -> 9       (stands for operators 4 and 5)
    5 CONCATENATION  8, 9 -> 10

So it is along the first dimension that is not 1. A piece may be a reshape of what an operator makes; then that lies in
the whole. The operator joins the one that makes the last piece. It stays, as a copy, where a piece is constant, a part
of something, or in another whole already, and where the model would need more memory, since the place of the whole is
taken from its first piece on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.compiler.graph import Graph, Op, View
from harness.compiler.ops import operator
from harness.compiler.passes.base import peak


@dataclass(frozen=True)
class FoldConcatenations:
    name: str = "fold-concatenations"

    def run(self, graph: Graph) -> Graph:
        needed = peak(graph)
        for output in [op.outputs[0] for op in graph.ops if op.kind in ("CONCATENATION", "PACK")]:
            op = next(op for op in graph.ops if output in op.outputs)
            folded = _fold(graph, op)
            if folded is not None and (after := peak(folded)) <= needed:
                graph, needed = folded, after
        return graph


def _fold(graph: Graph, op: Op) -> Graph | None:
    """`graph` with the pieces of `op` inside its output; None where one cannot be."""
    moves = operator(graph, op).moves
    assert moves is not None
    (whole,) = op.outputs
    views = []
    for move in moves(graph, op):
        if move.operand is None or not move.is_run:
            return None
        piece = graph.tensor(op.inputs[move.operand])
        base, offset = graph.place(op.inputs[move.operand])
        held = graph.tensor(base)
        if held.data is not None or offset or held.bytes != piece.bytes:
            return None
        views.append(View(base, whole, op.sources, move.to * piece.dtype.bytes))
    bases = {view.tensor for view in views}
    makers = [other for other in graph.ops if any(graph.base(t) in bases for t in other.outputs)]
    if len(bases) < len(views) or not makers:
        return None
    last = makers[-1]
    ops = tuple(
        replace(other, sources=tuple(sorted({*other.sources, *op.sources}))) if other is last else other
        for other in graph.ops
        if other is not op
    )
    return replace(graph, ops=ops, views=(*graph.views, *views))
