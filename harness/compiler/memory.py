"""What the layers ask of the memory plan, and which way each of them runs once it is made.

Only layers whose tensors do not fit side by side into what the model needs anyway are looked at: the others keep their
tensors apart, and the C compiler is told so. Where that does not lead to the bound, all are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from harness.compiler import arena
from harness.compiler.arena import Needs, Plan, Room
from harness.compiler.backwards import backwards
from harness.compiler.csource import Layer
from harness.compiler.graph import Graph, Op, TensorId
from harness.compiler.loops import Program
from harness.compiler.overlap import Gap, Reads, gaps
from harness.compiler.scratch import scratch_of
from harness.errors import CompilerBug

FEW = 50  # orders that are tried while only some layers share memory
WORTH = 64  # bytes nearer to the input, for which one more loop is turned round

Gaps = Mapping[tuple[TensorId, TensorId], Gap]  # by output and input, both with memory of their own


@dataclass(frozen=True)
class Way:
    """One way to run a layer, and where its outputs may then lie."""

    program: Program
    gaps: Gaps


@dataclass(frozen=True)
class _Layer:
    """A layer and the ways in which it may run."""

    graph: Graph
    layer: Layer
    program: Program
    dying: frozenset[TensorId]  # inputs that nobody reads after it
    reads: Reads = field(default_factory=Reads)

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """As it was scheduled; and backwards, where the output cannot take the input's place otherwise."""
        forwards = Way(self.program, self.gaps_of(self.program))
        found = [pair for pair in forwards.gaps if pair[1] in self.dying]
        if len(found) != 1 or self.takes_all(found[0], forwards):
            return (forwards,)
        best: Way | None = None
        for turned in backwards(self.program, self.reads):
            way = Way(turned, self.gaps_of(turned))
            if best is None or way.gaps[found[0]].high <= best.gaps[found[0]].high - WORTH:
                best = way
        return (forwards,) if best is None else (forwards, best)

    def takes_all(self, pair: tuple[TensorId, TensorId], way: Way) -> bool:
        output, input_ = (self.graph.tensor(t).bytes for t in pair)
        return arena.most_shared(way.gaps[pair], output, input_) == min(output, input_)

    def gaps_of(self, program: Program) -> Gaps:
        """By tensors with memory of their own; a parameter may lie some bytes after the start of one."""
        found = gaps(program, self.reads)
        result: dict[tuple[TensorId, TensorId], Gap] = {}
        for y, output in zip(program.of_space("output"), self.op.outputs, strict=True):
            for x, input_ in zip(program.of_space("input"), self.graph.activations(self.op), strict=True):
                (of, to), (by, at) = self.graph.place(output), self.graph.place(input_)
                gap = found[y.name, x.name].moved(at - to)
                result[of, by] = result[of, by].both(gap) if (of, by) in result else gap
        return result

    @property
    def op(self) -> Op:
        return self.graph.ops[self.layer.index]

    def needs(self, *, share: bool) -> Needs:
        together: dict[tuple[TensorId, TensorId], Gap] = {}
        for way in self.ways if share else ():
            for pair, gap in way.gaps.items():
                if pair[1] in self.dying:
                    together[pair] = together[pair].union(gap) if pair in together else gap
        buffers = (*self.program.of_space("input"), *self.program.of_space("output"))
        aligns: dict[TensorId, int] = {}
        for buffer, tensor in zip(buffers, (*self.graph.activations(self.op), *self.op.outputs), strict=True):
            base = self.graph.base(tensor)
            aligns[base] = max(aligns.get(base, 1), buffer.align)
        rooms = (Room(b.elements * b.dtype.bytes, max(b.align, b.dtype.bytes)) for b in scratch_of(self.program))
        return Needs(together, aligns, tuple(rooms))

    def settled(self, plan: Plan) -> Program:
        """The first way that is right where the plan puts the tensors."""
        for way in self.ways:
            if all(gap.allows(_difference(plan, pair)) for pair, gap in way.gaps.items()):
                return way.program
        raise CompilerBug("the memory plan puts tensors where no way to run the layer allows it", where=self.layer.name)


class Usage:
    """What any plan takes at least while a layer of `graph` runs."""

    def __init__(self, graph: Graph, *, share: bool) -> None:
        lifetimes = arena.liveness(graph)
        self.graph = graph
        self.share = share
        self.alive: Sequence[int] = arena.live_bytes(lifetimes)  # bytes of tensors, by layer
        self.sizes = {t: tensor.bytes for t, tensor in enumerate(graph.tensors)}
        self.last = {life.tensor: life.last for life in lifetimes}
        self._layers: dict[tuple[int, int], _Layer] = {}  # by index and program; a layer holds its program

    def layer(self, layer: Layer, program: Program) -> _Layer:
        """The layer by this program, of which everybody asks for the same ways."""
        key = (layer.index, id(program))
        if key not in self._layers:
            self._layers[key] = _Layer(self.graph, layer, program, self.dying(layer.index))
        return self._layers[key]

    def bytes_of(self, layer: Layer, program: Program) -> int:
        """Tensors, and what the layer works in; what may be shared is counted once."""
        needs = self.layer(layer, program).needs(share=self.share)
        saved = sum(arena.most_saved(self.sizes, needs.gaps).values())
        return self.alive[layer.index] + sum(room.bytes for room in needs.scratch) - saved

    def least(self, index: int) -> int:
        """If the outputs of the layer could lie over its inputs as they liked."""
        if not self.share:
            return self.alive[index]
        outputs = sum(self.sizes[t] for t in {self.graph.base(t) for t in self.graph.ops[index].outputs})
        return self.alive[index] - min(outputs, sum(self.sizes[t] for t in self.dying(index)))

    def dying(self, index: int) -> frozenset[TensorId]:
        """Inputs that nobody reads after the layer."""
        op = self.graph.ops[index]
        return frozenset(b for b in map(self.graph.base, self.graph.activations(op)) if self.last[b] == index)


def planned(usage: Usage, layers: Sequence[Layer], programs: Sequence[Program]) -> tuple[Plan, list[Program]]:
    """The plan, and the program that each layer runs. Without sharing, no output lies over an input."""
    graph, share = usage.graph, usage.share
    every = [usage.layer(layer, program) for layer, program in zip(layers, programs, strict=True)]
    apart = [one.needs(share=False) for one in every]
    if not share:
        return arena.plan(graph, apart), list(programs)
    crowded = _crowded(graph, every, apart)
    best = arena.plan(graph, [one.needs(share=i in crowded) for i, one in enumerate(every)], tries=FEW)
    if best.bytes > best.lower_bound:
        other = arena.plan(graph, [one.needs(share=True) for one in every])
        if other.bytes < best.bytes:
            return other, [one.settled(other) for one in every]
        best = replace(best, lower_bound=min(best.lower_bound, other.lower_bound))
    return best, [one.settled(best) if i in crowded else one.program for i, one in enumerate(every)]


def _crowded(graph: Graph, layers: Sequence[_Layer], apart: Sequence[Needs]) -> frozenset[int]:
    """The layers at which more is alive than the model needs at all, if every layer shares what it can."""
    live = arena.live_bytes(arena.lifetimes_of(graph, apart)[0])
    sizes = {t: tensor.bytes for t, tensor in enumerate(graph.tensors)}
    found: set[int] = set()
    bound = live[-1]
    for index in sorted(range(len(layers)), key=lambda i: -live[i]):
        if live[index] <= bound:
            break
        bound = max(bound, live[index] - sum(arena.most_saved(sizes, layers[index].needs(share=True).gaps).values()))
        found.add(index)
    return frozenset(found)


def _difference(plan: Plan, pair: tuple[TensorId, TensorId]) -> int:
    return plan.placements[pair[0]].offset - plan.placements[pair[1]].offset
