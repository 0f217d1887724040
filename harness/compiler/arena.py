"""The memory plan: every activation gets its place in one arena when the model is compiled.

A tensor is alive from the layer that writes it to the last layer that reads it. Two tensors alive at one time must not
overlap, but for one case: what a layer reads for the last time may lie under what it writes, as far as the order of its
loops allows (`overlap`). What is alive at one layer, less the most that may be shared there, is what no plan for these
schedules can beat, and is printed beside the plan.

Memory that a layer needs only while it runs is planned as a tensor that is alive at that layer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from harness.compiler.csource import Placement
from harness.compiler.graph import Graph, TensorId
from harness.compiler.overlap import Gap

WORK = 6_000_000  # pairs of tensors looked at while trying further orders: about a second; the same ones on every run
MOST_ORDERS = 2000
EXPLORED = 0.3  # of these orders, how many move any tensor at all


@dataclass(frozen=True)
class Lifetime:
    """A tensor's bytes are needed from layer `first` to layer `last`, both included."""

    tensor: TensorId  # negative: scratch memory of a layer
    first: int
    last: int
    bytes: int
    align: int

    def meets(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Room:
    """Memory with no contents before and none after."""

    bytes: int
    align: int


@dataclass(frozen=True)
class Needs:
    """What one layer asks of the plan. Tensors are those that own memory, not their views."""

    gaps: Mapping[tuple[TensorId, TensorId], Gap] = field(default_factory=dict)  # by output and input
    aligns: Mapping[TensorId, int] = field(default_factory=dict)  # bytes that an address must be a multiple of
    scratch: tuple[Room, ...] = ()


@dataclass(frozen=True)
class Plan:
    placements: Mapping[TensorId, Placement]  # of every activation, views included
    bytes: int
    lower_bound: int
    scratch: tuple[tuple[Placement, ...], ...] = ()  # by layer


Overlaps = Mapping[tuple[TensorId, TensorId], Gap]  # by the tensor that begins at a layer and the one that ends there
_Meeting = Sequence[tuple[int, int, int]]  # with whom, and the offsets from it that are not free: between these two


def plan(graph: Graph, needs: Sequence[Needs] = (), tries: int = MOST_ORDERS) -> Plan:
    """Places every activation of `graph`, whose operators are the layers in execution order, and what layers need.

    Until the bound is met, up to `tries` further orders are tried.
    """
    lifetimes, rooms = lifetimes_of(graph, needs)
    overlaps = overlapping(lifetimes, needs)
    bound = lower_bound(lifetimes, overlaps)
    offsets = _best_offsets(lifetimes, bound, overlaps, tries)
    size = max((offsets[life.tensor] + life.bytes for life in lifetimes), default=0)
    places = {life.tensor: Placement(offsets[life.tensor], life.bytes) for life in lifetimes if life.tensor >= 0}
    for view in graph.views:
        base, offset = graph.place(view.tensor)
        if base in places:
            places[view.tensor] = Placement(places[base].offset + offset, graph.tensor(view.tensor).bytes)
    scratch = tuple(
        tuple(Placement(offsets[room], need.bytes) for room, need in zip(own, layer.scratch, strict=True))
        for own, layer in zip(rooms, needs, strict=True)
    )
    return Plan(places, size, bound, scratch)


def liveness(graph: Graph) -> tuple[Lifetime, ...]:
    """When each tensor that owns memory is needed: inputs from before layer 0, outputs until after the last."""
    first: dict[TensorId, int] = {graph.base(t): 0 for t in graph.inputs}
    last: dict[TensorId, int] = dict(first)
    for index, op in enumerate(graph.ops):
        for tensor in op.outputs:
            first.setdefault(graph.base(tensor), index)
            last[graph.base(tensor)] = index
        for tensor in op.inputs:
            if tensor >= 0 and graph.base(tensor) in first:
                last[graph.base(tensor)] = index
    for tensor in graph.outputs:
        last[graph.base(tensor)] = len(graph.ops)
    return tuple(
        Lifetime(t, first[t], last[t], graph.tensor(t).bytes, graph.tensor(t).dtype.bytes) for t in sorted(first)
    )


def lifetimes_of(graph: Graph, needs: Sequence[Needs]) -> tuple[list[Lifetime], list[list[TensorId]]]:
    """Of tensors and of scratch memory, and by layer the numbers that stand for the latter."""
    aligns: dict[TensorId, int] = {}
    for layer in needs:
        for tensor, align in layer.aligns.items():
            aligns[tensor] = max(align, aligns.get(tensor, 1))
    lives = [
        Lifetime(life.tensor, life.first, life.last, life.bytes, max(life.align, aligns.get(life.tensor, 1)))
        for life in liveness(graph)
    ]
    rooms: list[list[TensorId]] = []
    number = 0
    for index, layer in enumerate(needs):
        rooms.append([])
        for room in layer.scratch:
            number -= 1
            rooms[-1].append(number)
            lives.append(Lifetime(number, index, index, room.bytes, room.align))
    return lives, rooms


def overlapping(lifetimes: Sequence[Lifetime], needs: Sequence[Needs]) -> dict[tuple[TensorId, TensorId], Gap]:
    """The pairs that may share bytes: one that a layer writes first, and one that nobody reads after it."""
    lives = {life.tensor: life for life in lifetimes}
    return {
        (y, x): gap
        for index, layer in enumerate(needs)
        for (y, x), gap in layer.gaps.items()
        if y != x and lives[y].first == index == lives[x].last
    }


def most_saved(sizes: Mapping[TensorId, int], overlaps: Overlaps) -> dict[TensorId, int]:
    """The most bytes that each output may have in common with inputs of its layer."""
    shared: dict[TensorId, int] = {}
    for (y, x), gap in overlaps.items():
        shared[y] = shared.get(y, 0) + most_shared(gap, sizes[y], sizes[x])
    return {y: min(common, sizes[y]) for y, common in shared.items()}  # inputs do not lie on one another


def live_bytes(lifetimes: Sequence[Lifetime]) -> list[int]:
    """The sum of all that is alive, by layer; one more for what is left after the last."""
    change = [0] * (max((life.last for life in lifetimes), default=-1) + 2)
    for life in lifetimes:
        change[life.first] += life.bytes
        change[life.last + 1] -= life.bytes
    total = 0
    return [total := total + step for step in change[:-1]]


def lower_bound(lifetimes: Sequence[Lifetime], overlaps: Overlaps | None = None) -> int:
    """Most bytes alive at one layer, less what may be shared there."""
    lives = {life.tensor: life for life in lifetimes}
    needed = live_bytes(lifetimes)
    for y, saved in most_saved({t: life.bytes for t, life in lives.items()}, overlaps or {}).items():
        needed[lives[y].first] -= saved
    return max(needed, default=0)


def most_shared(gap: Gap, output: int, input_: int) -> int:
    """The most bytes that an output and an input of so many bytes may have in common."""
    inside = (min(0, input_ - output), max(0, input_ - output))  # where the smaller lies inside the larger
    differences = (min(gap.low, inside[0]), max(gap.high, inside[1]))
    return max(max(0, min(input_, d + output) - max(0, d)) for d in differences)


def _best_offsets(
    lifetimes: Sequence[Lifetime], bound: int, overlaps: Overlaps | None = None, tries: int = MOST_ORDERS
) -> dict[TensorId, int]:
    """The best of some usual orders, then of orders that mostly place a tensor from the top of the plan earlier."""
    meeting = _meetings(lifetimes, overlaps or {})
    orders = _orders(lifetimes)
    nowhere = [-1] * len(lifetimes)
    placed = [(_place(lifetimes, order, meeting, nowhere), order) for order in orders]
    plans = [(offsets, order) for offsets, order in placed if offsets is not None]
    offsets, order = min(plans, key=lambda plan: _size(lifetimes, plan[0]))
    size = _size(lifetimes, offsets)
    chance = random.Random(0)
    tries = min(tries, WORK // max(1, sum(map(len, meeting))))
    for _ in range(tries if size > bound else 0):
        top = [i for i, life in enumerate(lifetimes) if offsets[i] + life.bytes == size]
        moved = chance.choice(order if chance.random() < EXPLORED else top)
        at = order.index(moved)
        to = chance.randrange(at + 1)
        before, after = order[:to], [moved, *order[to:at], *order[at + 1 :]]
        known = nowhere.copy()  # what comes before lies where it lay
        for i in before:
            known[i] = offsets[i]
        other = _place(lifetimes, after, meeting, known, size)
        if other is not None:  # sideways too: from there it may go on
            offsets, order, size = other, before + after, _size(lifetimes, other)
        if size <= bound:
            break
    return {life.tensor: offset for life, offset in zip(lifetimes, offsets, strict=True)}


def _orders(lifetimes: Sequence[Lifetime]) -> list[list[int]]:
    """Orders in which to place the tensors, as their positions."""
    keys: tuple[Callable[[Lifetime], tuple[int, int]], ...] = (
        lambda life: (-life.bytes, life.first),
        lambda life: (-(life.last - life.first + 1) * life.bytes, life.first),
        lambda life: (life.first - life.last, -life.bytes),
        lambda life: (life.first, -life.bytes),
    )
    everyone = range(len(lifetimes))
    by_age = sorted(everyone, key=lambda i: (lifetimes[i].first, lifetimes[i].last))
    in_turns = by_age[::2] + by_age[1::2]  # a chain meets its bound: every other tensor at 0, the rest above those two
    backwards = by_age[::-1]  # what moves down from layer to layer starts from where the last output lies
    return [in_turns, backwards, *(sorted(everyone, key=lambda i, key=key: key(lifetimes[i])) for key in keys)]  # type: ignore[misc]


def _size(lifetimes: Sequence[Lifetime], offsets: Sequence[int]) -> int:
    return max((offset + life.bytes for offset, life in zip(offsets, lifetimes, strict=True)), default=0)


def _meetings(lifetimes: Sequence[Lifetime], overlaps: Overlaps) -> list[list[tuple[int, int, int]]]:
    """For each tensor whom it meets, and between which distances from it the tensor must not begin."""
    meeting: list[list[tuple[int, int, int]]] = [[] for _ in lifetimes]
    started = sorted(range(len(lifetimes)), key=lambda i: lifetimes[i].first)
    alive: list[int] = []
    for i in started:
        life = lifetimes[i]
        alive = [j for j in alive if lifetimes[j].last >= life.first]
        for j in alive:
            other = lifetimes[j]
            low, high = -life.bytes, other.bytes
            if (life.tensor, other.tensor) in overlaps:
                gap = overlaps[life.tensor, other.tensor]
                low, high = gap.low, gap.high
            elif (other.tensor, life.tensor) in overlaps:
                gap = overlaps[other.tensor, life.tensor]
                low, high = -gap.high, -gap.low
            if low + 1 < high:
                meeting[i].append((j, low, high))
                meeting[j].append((i, -high, -low))
        alive.append(i)
    return meeting


def _place(
    lifetimes: Sequence[Lifetime],
    order: Sequence[int],
    meeting: Sequence[_Meeting],
    known: Sequence[int],
    most: float = inf,
) -> list[int] | None:
    """First fit: each tensor of `order` at the lowest offset that is free, beside what lies at `known` offsets already.

    -1 stands for what is nowhere. None where that takes more than `most` bytes.
    """
    offsets = [*known]
    for i in order:
        life, offset = lifetimes[i], 0
        taken = [(offsets[j] + low, offsets[j] + high) for j, low, high in meeting[i] if offsets[j] >= 0]
        taken.sort()
        for below, above in taken:
            if offset <= below:
                break
            offset = max(offset, _aligned(above, life.align))
        if offset + life.bytes > most:
            return None
        offsets[i] = offset
    return offsets


def _aligned(offset: int, align: int) -> int:
    return -(-offset // align) * align
