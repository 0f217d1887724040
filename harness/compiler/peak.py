"""Schedules for the layer that needs most memory: where another order of its loops lets the output lie over the input.

    depthwise  by columns:  16,000 bytes, since an output column waits for all rows of the input
    depthwise  by rows:      8,640 bytes, and more instructions

The peak is one layer's, or that of several alike. Whichever stands highest is given the schedule that needs least,
until one of them cannot do with less; of the states on the way the objective takes the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.compiler.choose import Candidate, Objective

# By objective: what part of the peak is worth getting below, and how many candidates of a layer are tried for it, the
# fastest first.
EFFORT = {Objective.BALANCED: (0.8, 4), Objective.RAM: (0.99, 1000)}


@dataclass(frozen=True)
class Layer:
    """What a layer can be. Bytes are those that are in use while it runs, shared ones counted once."""

    candidates: Sequence[Candidate]
    alive: int  # bytes of tensors, if nothing is shared
    least: int  # bytes, if as much of its output as can be lay over its inputs
    bytes_of: Callable[[Candidate], int]


@dataclass(frozen=True)
class State:
    chosen: Sequence[Candidate]
    bytes: int  # at the peak

    @property
    def instructions(self) -> float:
        return sum(one.cost.instructions for one in self.chosen)


def lower_peak(layers: Sequence[Layer], chosen: Sequence[Candidate], objective: Objective) -> State:
    """`chosen` with other candidates at the peak, for the objectives that care.

    `ram` takes the lowest peak. `balanced` gives up as large a part of the speed as it gets of the memory, at most.
    """
    needed = _Needed(layers, chosen)
    states = [needed.state()]
    worthwhile, tried = EFFORT.get(objective, (0.0, 0))
    while tried:
        at = needed.highest()
        limit = worthwhile * needed.bytes[at]
        if layers[at].least > limit:
            break
        ways = sorted(layers[at].candidates, key=lambda one: one.cost.instructions)[:tried]
        fits = [(found, one) for one in ways if (found := layers[at].bytes_of(one)) <= limit]
        if not fits:
            break
        lowest = min(found for found, _ in fits)
        needed.bytes[at], needed.chosen[at] = next((n, one) for n, one in fits if n <= lowest / worthwhile)
        states.append(needed.state())
    if objective is Objective.RAM:
        return min(states, key=lambda each: (each.bytes, each.instructions))
    return min(states, key=lambda each: each.bytes * each.instructions)


class _Needed:
    """Bytes by layer: of those that cannot be the highest, what they would be if nothing were shared."""

    def __init__(self, layers: Sequence[Layer], chosen: Sequence[Candidate]) -> None:
        self.layers = layers
        self.chosen = list(chosen)
        self.bytes = [layer.alive + one.cost.scratch_bytes for layer, one in zip(layers, chosen, strict=True)]
        self.known: set[int] = set()

    def highest(self) -> int:
        while True:
            at = max(range(len(self.bytes)), key=self.bytes.__getitem__)
            if at in self.known:
                return at
            self.known.add(at)
            self.bytes[at] = self.layers[at].bytes_of(self.chosen[at])

    def state(self) -> State:
        return State(tuple(self.chosen), self.bytes[self.highest()])
