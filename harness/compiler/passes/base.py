"""A pass: a frozen dataclass whose fields are its options, and a function from graph to graph."""

from __future__ import annotations

from typing import Protocol

from harness.compiler.arena import live_bytes, liveness
from harness.compiler.graph import Graph


class Pass(Protocol):
    @property
    def name(self) -> str:
        """What `--without` and a bisection call it."""

    def run(self, graph: Graph) -> Graph:
        """The graph after the pass; the one given is left as it is."""


def peak(graph: Graph) -> int:
    """Most bytes alive at one layer, were every operator of `graph` a layer."""
    return max(live_bytes(liveness(graph)), default=0)
