"""Which schedule each layer gets: the candidates of its operator, what each will cost, and what is wanted.

    speed      fewest instructions
    size       fewest bytes of flash
    ram        the lowest peak of memory, then fewest instructions
    balanced   instructions, bytes of flash and the peak of memory weighed against each other

A layer is one of many: what a byte is worth in instructions follows from what the whole model takes of both, so that a
layer that hardly runs is made small and one that runs all the time is made fast. Memory has one peak, and only the
layers there have to do with less: `peak` sees to that.
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


def choose(layers: Sequence[Sequence[Candidate]], objective: Objective) -> list[Candidate]:
    """For each layer the best of its candidates, memory apart: see `peak`. Of equals the one that comes first."""
    if objective is Objective.SIZE:
        return [min(found, key=lambda one: (one.cost.flash_bytes, one.cost.instructions)) for found in layers]
    chosen = _cheapest(layers, 0.0)
    if objective is Objective.BALANCED:
        # What a byte is worth depends on the sums of what is chosen, and is settled after a few rounds.
        for _ in range(ROUNDS):
            flash = sum(one.cost.flash_bytes for one in chosen)
            chosen = _cheapest(layers, WEIGHT * sum(one.cost.instructions for one in chosen) / max(flash, 1.0))
    return chosen


def _cheapest(layers: Sequence[Sequence[Candidate]], price: float) -> list[Candidate]:
    """Fewest instructions, where a byte of flash costs as much as `price` of them."""

    def rank(one: Candidate) -> tuple[float, float]:
        return one.cost.instructions + price * one.cost.flash_bytes, one.cost.flash_bytes

    return [min(found, key=rank) for found in layers]


def trade(chosen: Sequence[Candidate], objective: Objective, ram_bytes: int) -> Trade:
    """What the model will cost when its layers are `chosen`."""
    return Trade(
        objective.value,
        round(sum(one.cost.instructions for one in chosen)),
        round(sum(one.cost.code_bytes for one in chosen)),
        sum(one.cost.constant_bytes for one in chosen),
        ram_bytes,
    )
