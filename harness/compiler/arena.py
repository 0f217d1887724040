"""The memory plan: every activation gets its place in one arena when the model is compiled.

A tensor is alive from the layer that writes it to the last layer that reads it. Two tensors alive at one time must not
overlap; the largest sum of bytes alive at one layer is what no such plan can beat, and is printed beside the plan.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.compiler.csource import Placement
from harness.compiler.graph import Graph, TensorId

SHUFFLES = 300  # orders tried after the ones that usually suffice; the same ones on every run


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
        if graph.base(view.tensor) in places:
            places[view.tensor] = places[graph.base(view.tensor)]
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
    return max((sum(life.bytes for life in lifetimes if life.first <= s <= life.last) for s in steps), default=0)


def _best_offsets(lifetimes: Sequence[Lifetime], bound: int) -> dict[TensorId, int]:
    best: dict[TensorId, int] = {}
    smallest = None
    for order in _orders(lifetimes):
        offsets = _place(order)
        size = max((offsets[life.tensor] + life.bytes for life in lifetimes), default=0)
        if smallest is None or size < smallest:
            best, smallest = offsets, size
        if smallest <= bound:
            break
    return best


def _orders(lifetimes: Sequence[Lifetime]) -> Iterable[Sequence[Lifetime]]:
    yield sorted(lifetimes, key=lambda life: (-life.bytes, life.first))
    yield sorted(lifetimes, key=lambda life: (-(life.last - life.first + 1) * life.bytes, life.first))
    yield sorted(lifetimes, key=lambda life: (life.first - life.last, -life.bytes))
    yield sorted(lifetimes, key=lambda life: (life.first, -life.bytes))
    chance = random.Random(0)
    order = list(lifetimes)
    for _ in range(SHUFFLES):
        chance.shuffle(order)
        yield order


def _place(order: Iterable[Lifetime]) -> dict[TensorId, int]:
    """First fit: each tensor at the lowest offset where it meets nobody."""
    placed: list[tuple[int, Lifetime]] = []
    offsets: dict[TensorId, int] = {}
    for life in order:
        offset = 0
        for start, other in _meeting(placed, life):
            if offset + life.bytes <= start:
                break
            offset = max(offset, _aligned(start + other.bytes, life.align))
        offsets[life.tensor] = offset
        placed.append((offset, life))
    return offsets


def _meeting(placed: list[tuple[int, Lifetime]], life: Lifetime) -> list[tuple[int, Lifetime]]:
    return sorted(((o, p) for o, p in placed if p.meets(life)), key=lambda pair: pair[0])


def _aligned(offset: int, align: int) -> int:
    return -(-offset // align) * align
