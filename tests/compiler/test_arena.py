"""The memory plan: nothing alive overlaps, and the bound is met where it can be."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compiler import arena
from harness.compiler.arena import Lifetime, Needs, Room, _best_offsets, liveness, lower_bound, most_shared, plan
from harness.compiler.graph import Graph, Op, Tensor, View
from harness.compiler.overlap import Gap, disjoint
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


@st.composite
def sharing(draw: st.DrawFn) -> tuple[list[Lifetime], dict[tuple[int, int], Gap]]:
    """A chain of tensors, some of them alive for longer, and what of each may lie over the one before."""
    count = draw(st.integers(2, 8))
    lives, overlaps = [], {}
    for i in range(count):
        longer = draw(st.sampled_from([0, 0, 0, 1, 2]))
        align = draw(st.sampled_from([1, 4]))
        lives.append(Lifetime(i, max(0, i - 1), i + longer, draw(st.integers(1, 40)), align))
        if i and lives[i - 1].last == lives[i].first:
            size = lives[i - 1].bytes
            low = draw(st.integers(-lives[i].bytes, size))
            overlaps[i, i - 1] = Gap(low, draw(st.integers(-lives[i].bytes, size)))
    return lives, overlaps


@given(sharing())
def test_what_may_not_be_shared_is_not(drawn: tuple[list[Lifetime], dict[tuple[int, int], Gap]]) -> None:
    lives, overlaps = drawn
    bound = lower_bound(lives, overlaps)
    offsets = _best_offsets(lives, bound, overlaps)
    for a in lives:
        assert offsets[a.tensor] % a.align == 0
        for b in lives:
            if a.tensor <= b.tensor or not a.meets(b):
                continue
            gap = overlaps.get((a.tensor, b.tensor), disjoint(a.bytes, b.bytes))
            assert gap.allows(offsets[a.tensor] - offsets[b.tensor])
    assert max(offsets[life.tensor] + life.bytes for life in lives) >= bound
    assert bound <= lower_bound(lives)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(-40, 40), st.integers(-40, 40))
def test_the_most_shared_is_what_some_difference_shares(output: int, input_: int, low: int, high: int) -> None:
    gap = Gap(low, high)
    shared = {d: len(set(range(d, d + output)) & set(range(input_))) for d in range(-80, 81) if gap.allows(d)}
    assert most_shared(gap, output, input_) == max(shared.values())


def shifting(layers: int, size: int, step: int) -> tuple[list[Lifetime], dict[tuple[int, int], Gap]]:
    """A chain of equal tensors; each has to lie `step` bytes below or above the one before."""
    lives = [Lifetime(i, max(0, i - 1), i, size, 1) for i in range(layers)]
    return lives, {(i, i - 1): Gap(-step, step) for i in range(1, layers)}


@pytest.mark.parametrize("layers", [3, 10, 40])
def test_a_long_chain_moves_down_and_up_again(layers: int) -> None:
    lives, overlaps = shifting(layers, 1000, 30)
    bound = lower_bound(lives, overlaps)
    offsets = _best_offsets(lives, bound, overlaps)
    assert bound == 1030
    assert max(offsets.values()) + 1000 == bound


def test_two_dying_inputs_share_one_output_only_once() -> None:
    """ADD of two tensors, with 5 bytes of its own: 25 bytes are alive whatever it does."""
    lives = [Lifetime(0, 0, 1, 10, 1), Lifetime(1, 0, 1, 10, 1), Lifetime(2, 1, 2, 10, 1), Lifetime(-1, 1, 1, 5, 1)]
    overlaps = {(2, 0): Gap(0, 10), (2, 1): Gap(0, 10)}
    assert lower_bound(lives) == 35
    assert lower_bound(lives, overlaps) == 25
    offsets = _best_offsets(lives, 25, overlaps)
    assert max(offsets[life.tensor] + life.bytes for life in lives) == 25


def test_an_output_of_the_model_is_not_written_over() -> None:
    """The last layer reads an output of the model for the last time; it may not take its place."""
    tensors = tuple(Tensor(f"t{i}", (8,), DType.I8) for i in range(3))
    ops = (Op("A", (0,), (1,), None, (0,)), Op("B", (1,), (2,), None, (1,)))
    graph = Graph("two outputs", tensors, ops, (0,), (1, 2), 3)
    anywhere = Gap(8, -8)
    needs = [Needs({(1, 0): anywhere}), Needs({(2, 1): anywhere})]
    made = plan(graph, needs)
    assert not made.placements[1].meets(made.placements[2])
    assert made.bytes == made.lower_bound == 16


def test_scratch_memory_is_its_layers_own() -> None:
    graph = chain(16, 8, 16)
    made = plan(graph, [Needs(scratch=(Room(6, 4), Room(3, 1))), Needs(aligns={2: 8})])
    (first, second), none = made.scratch
    assert none == ()
    assert first.offset % 4 == 0
    assert made.placements[2].offset % 8 == 0
    everyone = [first, second, made.placements[0], made.placements[1]]
    assert not any(a.meets(b) for a, b in itertools.combinations(everyone, 2))
    assert made.lower_bound == 33


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
        3: (2, 3),
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


@pytest.mark.slow
def test_a_thousand_tensors_do_not_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is bounded whatever their number: counted in pairs of tensors, not in seconds."""
    looked_at = 0
    place = arena._place

    def counting(
        lives: list[Lifetime], order: list[int], meeting: list[list[tuple[int, int, int]]], *rest: Any
    ) -> list[int] | None:
        nonlocal looked_at
        looked_at += sum(len(meeting[i]) for i in order)
        return place(lives, order, meeting, *rest)

    monkeypatch.setattr(arena, "_place", counting)
    lives = crowd(1000, 30, 0)
    pairs = sum(a.meets(b) for a in lives for b in lives) - len(lives)
    assert size(lives) <= 1.15 * lower_bound(lives)
    assert looked_at <= arena.WORK + 6 * pairs
