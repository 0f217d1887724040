"""The memory plan: every activation gets its place in one arena when the model is compiled.

A tensor is alive from the layer that writes it to the last layer that reads it. Two tensors alive at one time must not
overlap; the largest sum of bytes alive at one layer is what no such plan can beat, and is printed beside the plan.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.compiler.csource import Placement
from harness.compiler.graph import Graph, TensorId

WORK = 6_000_000  # pairs of tensors looked at while trying further orders: about a second; the same ones on every run
MOST_ORDERS = 2000
EXPLORED = 0.3  # of these orders, how many move any tensor at all


@dataclass(frozen=True)
class Lifetime:
    """A tensor's bytes are needed from layer `first` to layer `last`, both included."""

    tensor: TensorId
    first: int
    last: int
    bytes: int
    align: int

    def meets(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    placements: Mapping[TensorId, Placement]  # of every activation, views included
    bytes: int
    lower_bound: int


def plan(graph: Graph) -> Plan:
    """Places every activation of `graph`, whose operators are the layers in execution order."""
    lifetimes = liveness(graph)
    bound = lower_bound(lifetimes)
    offsets = _best_offsets(lifetimes, bound)
    size = max((offsets[life.tensor] + life.bytes for life in lifetimes), default=0)
    places = {life.tensor: Placement(offsets[life.tensor], life.bytes) for life in lifetimes}
    for view in graph.views:
        base, offset = graph.place(view.tensor)
        if base in places:
            places[view.tensor] = Placement(places[base].offset + offset, graph.tensor(view.tensor).bytes)
    return Plan(places, size, bound)


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
        last[graph.base(tensor)] = max(len(graph.ops) - 1, 0)
    return tuple(
        Lifetime(t, first[t], last[t], graph.tensor(t).bytes, graph.tensor(t).dtype.bytes) for t in sorted(first)
    )


def lower_bound(lifetimes: Sequence[Lifetime]) -> int:
    """Most bytes alive at one layer."""
    steps = range(max((life.last for life in lifetimes), default=-1) + 1)
    return max((alive(lifetimes, step) for step in steps), default=0)


def alive(lifetimes: Sequence[Lifetime], layer: int) -> int:
    """Bytes needed while `layer` runs."""
    return sum(life.bytes for life in lifetimes if life.first <= layer <= life.last)


def _best_offsets(lifetimes: Sequence[Lifetime], bound: int) -> dict[TensorId, int]:
    """The best of five usual orders, then of orders that mostly place a tensor from the top of the plan earlier."""
    meeting = [
        [j for j, other in enumerate(lifetimes) if j != i and other.meets(life)] for i, life in enumerate(lifetimes)
    ]
    orders = _orders(lifetimes)
    plans = [(_place(lifetimes, order, meeting), order) for order in orders]
    offsets, order = min(plans, key=lambda plan: _size(lifetimes, plan[0]))
    size = _size(lifetimes, offsets)
    chance = random.Random(0)
    tries = min(MOST_ORDERS, WORK // max(1, sum(map(len, meeting))))
    for _ in range(tries if size > bound else 0):
        top = [i for i, life in enumerate(lifetimes) if offsets[i] + life.bytes == size]
        moved = chance.choice(order if chance.random() < EXPLORED else top)
        at = order.index(moved)
        earlier = order[:at] + order[at + 1 :]
        earlier.insert(chance.randrange(at + 1), moved)
        other = _place(lifetimes, earlier, meeting)
        if _size(lifetimes, other) <= size:  # sideways too: from there it may go on
            offsets, order, size = other, earlier, _size(lifetimes, other)
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
    return [in_turns, *(sorted(everyone, key=lambda i, key=key: key(lifetimes[i])) for key in keys)]  # type: ignore[misc]


def _size(lifetimes: Sequence[Lifetime], offsets: Sequence[int]) -> int:
    return max((offset + life.bytes for offset, life in zip(offsets, lifetimes, strict=True)), default=0)


def _place(lifetimes: Sequence[Lifetime], order: Sequence[int], meeting: Sequence[Sequence[int]]) -> list[int]:
    """First fit: each tensor at the lowest offset where it meets nobody; -1 stands for not placed yet."""
    offsets = [-1] * len(lifetimes)
    for i in order:
        life, offset = lifetimes[i], 0
        for start, j in sorted((offsets[j], j) for j in meeting[i] if offsets[j] >= 0):
            if offset + life.bytes <= start:
                break
            offset = max(offset, _aligned(start + lifetimes[j].bytes, life.align))
        offsets[i] = offset
    return offsets


def _aligned(offset: int, align: int) -> int:
    return -(-offset // align) * align
