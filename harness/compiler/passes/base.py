"""A pass: a frozen dataclass whose fields are its options, and a function from graph to graph."""

from __future__ import annotations

from itertools import accumulate
from typing import Protocol

from harness.compiler.arena import liveness
from harness.compiler.graph import Graph


class Pass(Protocol):
    @property
    def name(self) -> str:
        """What `--without` and a bisection call it."""

    def run(self, graph: Graph) -> Graph:
        """The graph after the pass; the one given is left as it is."""


def peak(graph: Graph) -> int:
    """Most bytes alive at one layer, were every operator of `graph` a layer."""
    change = [0] * (len(graph.ops) + 1)
    for life in liveness(graph):
        change[life.first] += life.bytes
        change[life.last + 1] -= life.bytes
    return max(accumulate(change))
