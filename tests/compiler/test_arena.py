"""The memory plan: nothing alive overlaps, and the bound is met where it can be."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compiler import arena
from harness.compiler.arena import Lifetime, _best_offsets, liveness, lower_bound, plan
from harness.compiler.graph import Graph, Op, Tensor, View
from harness.dtypes import DType


@st.composite
def lifetimes(draw: st.DrawFn) -> list[Lifetime]:
    count = draw(st.integers(1, 12))
    result = []
    for tensor in range(count):
        first = draw(st.integers(0, 8))
        align = draw(st.sampled_from([1, 4]))
        size = draw(st.integers(1, 50)) * align
        result.append(Lifetime(tensor, first, first + draw(st.integers(0, 4)), size, align))
    return result


@given(lifetimes())
def test_tensors_alive_together_never_overlap(lives: list[Lifetime]) -> None:
    offsets = _best_offsets(lives, lower_bound(lives))
    for a in lives:
        assert offsets[a.tensor] % a.align == 0
        for b in lives:
            if a.tensor < b.tensor and a.meets(b):
                first, second = sorted((a, b), key=lambda life: offsets[life.tensor])
                assert offsets[first.tensor] + first.bytes <= offsets[second.tensor]


def chain(*sizes: int) -> Graph:
    tensors = tuple(Tensor(f"t{i}", (n,), DType.I8) for i, n in enumerate(sizes))
    ops = tuple(Op("ADD", (i,), (i + 1,), None, (i,)) for i in range(len(sizes) - 1))
    return Graph("chain", tensors, ops, (0,), (len(sizes) - 1,), len(sizes))


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=12))
def test_a_chain_meets_its_bound(sizes: list[int]) -> None:
    made = plan(chain(*sizes))
    assert made.bytes == made.lower_bound == max(a + b for a, b in itertools.pairwise(sizes))


def test_a_skip_connection_stays_alive() -> None:
    tensors = tuple(Tensor(f"t{i}", (10,), DType.I8) for i in range(4))
    ops = (Op("A", (0,), (1,), None, (0,)), Op("B", (1,), (2,), None, (1,)), Op("ADD", (1, 2), (3,), None, (2,)))
    graph = Graph("skip", tensors, ops, (0,), (3,), 4)
    assert {life.tensor: (life.first, life.last) for life in liveness(graph)} == {
        0: (0, 0),
        1: (0, 2),
        2: (1, 2),
        3: (2, 2),
    }
    assert plan(graph).bytes == plan(graph).lower_bound == 30


def test_a_view_shares_its_place() -> None:
    tensors = tuple(Tensor(f"t{i}", (8,), DType.I8) for i in range(4))
    ops = (Op("A", (0,), (1,), None, (0, 1)), Op("B", (2,), (3,), None, (2,)))
    graph = Graph("view", tensors, ops, (0,), (3,), 4, views=(View(2, 1, (1,)),))
    made = plan(graph)
    assert made.placements[2] == made.placements[1]
    assert made.bytes == made.lower_bound == 16


def crowd(count: int, span: int, seed: int) -> list[Lifetime]:
    """Tensors of all sizes that begin anywhere and live for up to `span` layers."""
    chance = random.Random(seed)
    begins = [chance.randrange(count) for _ in range(count)]
    return [
        Lifetime(tensor, first, min(count, first + chance.randint(0, span)), 4 * chance.randint(1, 50), 4)
        for tensor, first in enumerate(begins)
    ]


def size(lives: list[Lifetime]) -> int:
    offsets = _best_offsets(lives, lower_bound(lives))
    return max(offsets[life.tensor] + life.bytes for life in lives)


@pytest.mark.parametrize("seed", range(6))
def test_entangled_tensors_come_near_the_bound(seed: int) -> None:
    lives = crowd(60, 6, seed)
    assert size(lives) <= 1.01 * lower_bound(lives)


def test_a_thousand_tensors_do_not_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is bounded whatever their number: counted in pairs of tensors, not in seconds."""
    looked_at = 0
    place = arena._place

    def counting(lives: list[Lifetime], order: list[int], meeting: list[list[int]]) -> list[int]:
        nonlocal looked_at
        looked_at += sum(map(len, meeting))
        return place(lives, order, meeting)

    monkeypatch.setattr(arena, "_place", counting)
    lives = crowd(1000, 30, 0)
    pairs = sum(a.meets(b) for a in lives for b in lives) - len(lives)
    assert size(lives) <= 1.15 * lower_bound(lives)
    assert looked_at <= arena.WORK + 5 * pairs
