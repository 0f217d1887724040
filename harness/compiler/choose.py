"""Which schedule each layer gets: the candidates of its operator, what each will cost, and what is wanted.

    speed      fewest instructions
    size       fewest bytes of flash
    ram        fewest instructions among what keeps the peak of memory as low as it can be
    balanced   instructions and bytes of flash weighed against each other

A layer is one of many: what a byte is worth in instructions follows from what the whole model takes of both, so that a
layer that hardly runs is made small and one that runs all the time is made fast. Memory has one peak: only a layer that
would raise it has to do with less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from harness.board import Target
from harness.compiler.cost import Cost, cost
from harness.compiler.csource import Trade
from harness.compiler.loops import Program
from harness.compiler.schedules.base import Family, Schedule, settings

WEIGHT = 0.25  # balanced: one percent of the flash is worth so many percent of the instructions
ROUNDS = 3


class Objective(Enum):
    """What a model is optimised for. The values are what `--optimize` takes."""

    SPEED = "speed"
    BALANCED = "balanced"
    SIZE = "size"
    RAM = "ram"


@dataclass(frozen=True)
class Candidate:
    """One way to compute a layer, and its estimated cost."""

    schedule: Schedule
    cost: Cost


@dataclass(frozen=True)
class Choice:
    """What a layer can be, and the bytes of tensors that are alive while it runs."""

    candidates: Sequence[Candidate]
    alive: int


def candidates(program: Program, target: Target, family: Family) -> list[Candidate]:
    """What `program`, as it was lowered, can be: every legal schedule of the first tier that has one."""
    for tier in family:
        found = []
        for schedule in (one for kind in tier for one in settings(kind)):
            draft = schedule.draft(program, target)
            if draft is not None:
                found.append(Candidate(schedule, cost(draft, target)))
        if found:
            return found
    return []


def choose(layers: Sequence[Choice], objective: Objective) -> list[Candidate]:
    """For each layer the best of its candidates; of equals the one that comes first."""
    if objective is Objective.SIZE:
        return [min(each.candidates, key=lambda one: (one.cost.flash_bytes, one.cost.instructions)) for each in layers]
    if objective is Objective.RAM:
        peak = max(each.alive + min(one.cost.scratch_bytes for one in each.candidates) for each in layers)
        layers = [_below(each, peak) for each in layers]
    chosen = _cheapest(layers, 0.0)
    if objective is Objective.BALANCED:
        # What a byte is worth depends on the sums of what is chosen, and is settled after a few rounds.
        for _ in range(ROUNDS):
            flash = sum(one.cost.flash_bytes for one in chosen)
            chosen = _cheapest(layers, WEIGHT * sum(one.cost.instructions for one in chosen) / max(flash, 1.0))
    return chosen


def _cheapest(layers: Sequence[Choice], price: float) -> list[Candidate]:
    """Fewest instructions, where a byte of flash costs as much as `price` of them."""

    def rank(one: Candidate) -> tuple[float, float]:
        return one.cost.instructions + price * one.cost.flash_bytes, one.cost.flash_bytes

    return [min(each.candidates, key=rank) for each in layers]


def _below(each: Choice, peak: int) -> Choice:
    """What keeps the memory in use at `peak` or less; there is something."""
    return Choice([one for one in each.candidates if each.alive + one.cost.scratch_bytes <= peak], each.alive)


def trade(layers: Sequence[Choice], objective: Objective) -> Trade:
    """What the model will cost when `objective` chooses."""
    costs = [one.cost for one in choose(layers, objective)]
    return Trade(
        objective.value,
        round(sum(c.instructions for c in costs)),
        round(sum(c.code_bytes for c in costs)),
        sum(c.constant_bytes for c in costs),
        max(each.alive + c.scratch_bytes for each, c in zip(layers, costs, strict=True)),
    )
