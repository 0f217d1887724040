"""RESHAPE costs nothing: its output shows the same bytes under another shape.

    9  AVERAGE_POOL_2D  30 -> 31            9  AVERAGE_POOL_2D  30 -> 31     (stands for operators 9 and 10)
    10 RESHAPE          31 -> 32                                              32 is a view of 31
    11 FULLY_CONNECTED  32 -> 33            10 FULLY_CONNECTED  32 -> 33

The operator joins the one that makes the tensor, or, where the tensor is the model's input, the first that reads it.
Where neither exists (the model does nothing but reshape) it stays, as a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.compiler.graph import Graph, Op, View

VIEWS = frozenset({"RESHAPE"})


@dataclass(frozen=True)
class FoldViews:
    name: str = "fold-views"

    def run(self, graph: Graph) -> Graph:
        for outputs in [op.outputs for op in graph.ops if op.kind in VIEWS]:
            # Looked up anew each time: folding one view may have added to the sources of the next.
            graph = _fold(graph, next(op for op in graph.ops if op.outputs == outputs))
        return graph


def _fold(graph: Graph, view: Op) -> Graph:
    source, result = view.inputs[0], view.outputs[0]
    if graph.tensor(source).data is not None:
        return graph
    bases = {graph.base(source), result}
    kin = {*bases, *(v.tensor for v in graph.views if graph.base(v.tensor) in bases)}
    makers = [op for op in graph.ops if op is not view and any(t in kin for t in op.outputs)]
    readers = [op for op in graph.ops if op is not view and any(t in kin for t in op.inputs)]
    host = next(iter(makers or readers), None)
    if host is None:
        return graph
    ops = tuple(
        replace(op, sources=tuple(sorted({*op.sources, *view.sources}))) if op is host else op
        for op in graph.ops
        if op is not view
    )
    return replace(graph, ops=ops, views=(*graph.views, View(result, source, view.sources)))
