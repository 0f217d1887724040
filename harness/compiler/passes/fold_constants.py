"""An operator whose operands are all constant is computed now, and its output is a constant from here on.

3 RESHAPE  7 (constant), 8 (constant) -> 9        9 (constant)

One that only looks at the shape of its operand counts as well: so the target of a reshape that Keras computes for a
free batch size is a constant. What reads a folded tensor is checked once more, now that the values are known.

One that makes an output of the model stays: the application reads that from the arena like any other. And so does one
whose output is much larger than what it is made of, since that would be kept in flash: a row that is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.compiler.graph import ABSENT, Graph, Op
from harness.compiler.ops import OPERATORS, reference


@dataclass(frozen=True)
class FoldConstants:
    name: str = "fold-constants"
    growth: int = 4096  # bytes of flash that folding one operator may cost, at most

    def run(self, graph: Graph) -> Graph:
        for op in graph.ops:
            known = all(tensor == ABSENT or graph.tensor(tensor).data is not None for tensor in op.inputs)
            known = known or OPERATORS[op.kind].of_shapes
            if known and not set(op.outputs) & set(graph.outputs) and _cost(graph, op) <= self.growth:
                graph = _fold(graph, op)
        return graph


def _cost(graph: Graph, op: Op) -> int:
    """Bytes by which the outputs exceed the operands that are of their type: weights, not axes and sizes."""
    dtypes = {graph.tensor(t).dtype for t in op.outputs}
    operands = [graph.tensor(t) for t in dict.fromkeys(op.inputs) if t != ABSENT]
    given = sum(t.bytes for t in operands if t.dtype in dtypes)
    return sum(graph.tensor(t).bytes for t in op.outputs) - given


def _fold(graph: Graph, op: Op) -> Graph:
    tensors = list(graph.tensors)
    for tensor, value in zip(op.outputs, reference(graph, op, [None] * len(op.inputs)), strict=True):
        value.setflags(write=False)
        tensors[tensor] = replace(tensors[tensor], data=value)
    graph = replace(graph, tensors=tuple(tensors), ops=tuple(other for other in graph.ops if other is not op))
    for reader in graph.ops:
        if not set(reader.inputs).isdisjoint(op.outputs):
            OPERATORS[reader.kind].check(graph, reader)
    return graph
