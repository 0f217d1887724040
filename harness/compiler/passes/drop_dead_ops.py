"""An operator that no output of the model depends on is not computed.

0 CONV_2D  0 -> 4                  0 CONV_2D  0 -> 4
1 SOFTMAX  4 -> 5, an output       1 SOFTMAX  4 -> 5, an output
2 CONV_2D  4 -> 8, read by none
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.compiler.graph import Graph


@dataclass(frozen=True)
class DropDeadOps:
    name: str = "drop-dead-ops"

    def run(self, graph: Graph) -> Graph:
        needed = {graph.base(t) for t in graph.outputs}
        live = []
        for op in reversed(graph.ops):
            if any(graph.base(t) in needed for t in op.outputs):
                needed |= {graph.base(t) for t in op.inputs}
                live.append(op)
        if len(live) == len(graph.ops):
            return graph
        views = tuple(view for view in graph.views if graph.base(view.tensor) in needed)
        return replace(graph, ops=tuple(reversed(live)), views=views)
