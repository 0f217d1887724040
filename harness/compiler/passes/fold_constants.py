"""An operator whose operands are all constant is computed now, and its output is a constant from here on.

3 RESHAPE  7 (constant), 8 (constant) -> 9        9 (constant)

One that makes an output of the model stays: the application reads that from the arena like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.compiler.graph import ABSENT, Graph, Op
from harness.compiler.ops import reference


@dataclass(frozen=True)
class FoldConstants:
    name: str = "fold-constants"

    def run(self, graph: Graph) -> Graph:
        for op in graph.ops:
            known = all(tensor == ABSENT or graph.tensor(tensor).data is not None for tensor in op.inputs)
            if known and not set(op.outputs) & set(graph.outputs):
                graph = _fold(graph, op)
        return graph


def _fold(graph: Graph, op: Op) -> Graph:
    tensors = list(graph.tensors)
    for tensor, value in zip(op.outputs, reference(graph, op, [None] * len(op.inputs)), strict=True):
        value.setflags(write=False)
        tensors[tensor] = replace(tensors[tensor], data=value)
    return replace(graph, tensors=tuple(tensors), ops=tuple(other for other in graph.ops if other is not op))
