"""What a layer is in terms of the model: the model's operators it stands for, what they read, and what is done with it.

A layer runs one operator of the graph that the passes left, on the tensors that are left. A report and a comparison
speak of the model's own: of what the group of operators as a whole is computed from, and of what it computes, which
may be a view of what the layer writes, or a whole whose last piece the layer writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from harness.compiler.graph import ABSENT, Graph, Op, TensorId, View


@dataclass(frozen=True, eq=False)
class Groups:
    model: Graph  # as it was read
    graph: Graph  # what the passes made of it

    def inputs(self, op: Op) -> tuple[TensorId, ...]:
        """The tensors that the model's operators behind `op` read and do not make themselves, constants left out."""
        group = [self._by_source[source] for source in op.sources]
        made = {t for one in group for t in one.outputs}
        read = dict.fromkeys(t for one in group for t in one.inputs)
        return tuple(t for t in read if t != ABSENT and t not in made and self.graph.tensor(t).data is None)

    def outputs(self, op: Op) -> tuple[TensorId, ...]:
        """Of every output of `op` the last tensor of the model that shows all its bytes, or what it completes."""
        return tuple(dict.fromkeys(self._last(op, output) for output in op.outputs))

    def parts(self, op: Op) -> tuple[TensorId, ...]:
        """The model's tensors that are done with `op` beside `outputs`, which cover their bytes."""
        own = {self.graph.base(output) for output in op.outputs}
        views = [v for v in self._folded(op) if self.graph.base(v.tensor) in own]
        done = dict.fromkeys((*op.outputs, *(v.base if v.tensor in self._filled else v.tensor for v in views)))
        outputs = self.outputs(op)
        return tuple(t for t in done if t < self.graph.model_tensors and t not in outputs)

    def _last(self, op: Op, output: TensorId) -> TensorId:
        graph, folded = self.graph, self._folded(op)
        wholes = {v.tensor: v.base for v in folded if v.tensor in self._filled}
        while output in wholes:
            output = wholes[output]
        place, size = graph.place(output), graph.tensor(output).bytes
        views = [v.tensor for v in folded if v.tensor not in self._filled and v.tensor < graph.model_tensors]
        shown = [t for t in views if graph.place(t) == place and graph.tensor(t).bytes == size]
        return shown[-1] if shown else output

    def _folded(self, op: Op) -> list[View]:
        """The views that became part of `op`, in their order in the graph."""
        found = {number for source in op.sources for number in self._views.get(source, ())}
        return [v for v in map(self.graph.views.__getitem__, sorted(found)) if set(v.sources) <= set(op.sources)]

    @cached_property
    def _by_source(self) -> Mapping[int, Op]:
        return {source: op for op in self.model.ops for source in op.sources}

    @cached_property
    def _views(self) -> Mapping[int, list[int]]:
        """Of each of the model's operators the views that stand for it."""
        views: dict[int, list[int]] = {}
        for number, view in enumerate(self.graph.views):
            for source in view.sources:
                views.setdefault(source, []).append(number)
        return views

    @cached_property
    def _filled(self) -> set[TensorId]:
        """What operators write, whole or piece by piece; a view that is not among them shows one that is."""
        filled = {t for op in self.graph.ops for t in op.outputs}
        while more := {v.base for v in self.graph.views if v.tensor in filled} - filled:
            filled |= more
        return filled
