"""What passes share that make one operator of several. Not a pass itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.compiler.graph import Graph, Op, TensorId


@dataclass(frozen=True)
class Uses:
    """Who makes a tensor and who reads it."""

    makers: Mapping[TensorId, Op]
    readers: Mapping[TensorId, Sequence[Op]]
    shown: frozenset[TensorId]  # outputs of the model, and what views show

    @classmethod
    def of(cls, graph: Graph) -> Uses:
        readers: dict[TensorId, list[Op]] = {}
        for op in graph.ops:
            for tensor in dict.fromkeys(op.inputs):
                readers.setdefault(tensor, []).append(op)
        return cls({t: op for op in graph.ops for t in op.outputs}, readers, graph.shown)

    def only_maker(self, tensor: TensorId) -> Op | None:
        """The operator that makes a tensor which one operator reads and nobody else sees."""
        if tensor in self.shown or len(self.readers.get(tensor, ())) != 1:
            return None
        return self.makers.get(tensor)


def joined(graph: Graph, merged: Op, parts: Sequence[Op]) -> Graph:
    """`merged` in the place of the last of `parts`, for all of whose operators it stands."""
    sources = tuple(sorted({source for part in parts for source in part.sources}))
    merged = replace(merged, sources=sources)
    gone = {id(part) for part in parts[:-1]}
    ops = tuple(merged if op is parts[-1] else op for op in graph.ops if id(op) not in gone)
    return graph.with_ops(ops)
