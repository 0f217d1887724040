"""What only shows bytes that are there already costs nothing: its outputs become views of its operand.

    9  AVERAGE_POOL_2D  30 -> 31            9  AVERAGE_POOL_2D  30 -> 31     (stands for operators 9 and 10)
    10 SPLIT            31 -> 32, 33                                          32 and 33 are views of 31
    11 FULLY_CONNECTED  32 -> 34            10 FULLY_CONNECTED  32 -> 34

A RESHAPE or SQUEEZE always is one, a TRANSPOSE where only dimensions of size 1 change places, a SPLIT or SLICE where
each piece is one run of the whole. The operator joins the one that makes the tensor, or, where the tensor is the
model's input, the first that reads it. Where neither exists (the model does nothing but reshape) it stays, as a copy;
and so it does where a small piece would keep a large whole alive so long that the model needed more memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.compiler.graph import Graph, Op, View
from harness.compiler.ops import operator
from harness.compiler.passes.base import peak


@dataclass(frozen=True)
class FoldViews:
    name: str = "fold-views"

    def run(self, graph: Graph) -> Graph:
        needed: int | None = None  # bytes; None: not known for the graph as it is by now
        for outputs in [op.outputs for op in graph.ops if _views(graph, op)]:
            # Looked up anew each time: folding one view may have added to the sources of the next.
            op = next(op for op in graph.ops if op.outputs == outputs)
            folded = _fold(graph, op)
            if _shows_all(graph, op):
                graph, needed = folded, None
                continue
            needed = peak(graph) if needed is None else needed
            after = peak(folded)
            if after <= needed:
                graph, needed = folded, after
        return graph


def _views(graph: Graph, op: Op) -> tuple[View, ...]:
    """Every output of `op` as a view of its operand; none where one of them is not."""
    moves = operator(graph, op).moves
    views = []
    for move in () if moves is None else moves(graph, op):
        output = op.outputs[move.output]
        t = graph.tensor(output)
        if not move.is_run or move.elements != t.elements or move.operand is None:
            return ()
        source = op.inputs[move.operand]
        if graph.tensor(source).data is not None:
            return ()
        views.append(View(output, source, op.sources, move.start * t.dtype.bytes))
    return tuple(views) if len(views) == len(op.outputs) else ()


def _shows_all(graph: Graph, op: Op) -> bool:
    """Nothing is kept alive by the views that was not alive before."""
    return all(graph.tensor(v.base).bytes == graph.tensor(v.tensor).bytes for v in _views(graph, op))


def _fold(graph: Graph, op: Op) -> Graph:
    views = _views(graph, op)
    bases = {graph.base(views[0].base), *op.outputs}
    kin = {*bases, *(v.tensor for v in graph.views if graph.base(v.tensor) in bases)}
    makers = [other for other in graph.ops if other is not op and any(t in kin for t in other.outputs)]
    readers = [other for other in graph.ops if other is not op and any(t in kin for t in other.inputs)]
    host = next(iter(makers or readers), None)
    if host is None:
        return graph
    ops = tuple(
        replace(other, sources=tuple(sorted({*other.sources, *op.sources}))) if other is host else other
        for other in graph.ops
        if other is not op
    )
    return replace(graph, ops=ops, views=(*graph.views, *views))
