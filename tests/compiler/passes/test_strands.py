"""Strands: what is tied stays or goes together, whichever came first, the tie or the need."""

from __future__ import annotations

import numpy as np

from harness.compiler.passes.strands import Strands


def needed(strands: Strands, key: object) -> list[int]:
    return np.flatnonzero(strands.needed(key)).tolist()


def test_ties_carry_needs_both_ways_and_on() -> None:
    strands = Strands({"a": 4, "b": 4, "c": 8})
    strands.tie("a", np.arange(4), "b", np.arange(4)[::-1])
    strands.tie("c", np.arange(8), "b", np.arange(8) % 4)
    assert strands.need("c", np.arange(8) == 5)
    assert (needed(strands, "a"), needed(strands, "b"), needed(strands, "c")) == ([2], [1], [1, 5])
    assert not strands.need("a", np.arange(4) == 2)


def test_a_tie_after_a_need_carries_it_too() -> None:
    for first, second in (("a", "b"), ("b", "a")):
        strands = Strands({"a": 2, "b": 2})
        strands.need_all([first, "nothing"])
        strands.tie("a", np.array([1]), "b", np.array([0]))
        assert needed(strands, first) == [0, 1]
        assert needed(strands, second) == [1 if second == "a" else 0]
    assert not strands.has("nothing")
