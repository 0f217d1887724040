"""What a schedule is: a frozen dataclass whose fields are its knobs, which says of itself what values they may take.

kind      = class of schedules, such as `Product`: a name, and its knobs as data
schedule  = one of a kind with every knob set: `Product(pixels=2, channels=4, unrolled=16, pairs=True)`
family    = the kinds that an operator can choose from, in tiers: the first tier that has a way to compute a layer
            is the one to choose from
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, ClassVar, Protocol

from harness.board import Target
from harness.compiler.loops import Program


@dataclass(frozen=True)
class Knob:
    """One field of a kind of schedules: the values it may take, each a legal one for some layer and core."""

    field: str
    values: tuple[int, ...] | tuple[str, ...]
    meaning: str  # with its unit


class Schedule(Protocol):
    """`draft` and `finish` together make the program; only the chosen draft is finished.

    Knobs that are legal each by itself may not be so together, or not on every core: `draft` gives None then, as it
    does for a layer that cannot be computed exactly this way.
    """

    name: ClassVar[str]
    knobs: ClassVar[tuple[Knob, ...]]

    def draft(self, program: Program, target: Target) -> Program | None:
        """`program` in this way, right but neither simplified nor tidied."""

    def finish(self, draft: Program) -> Program:
        """The program that is printed."""


Family = Sequence[Sequence[type[Any]]]  # of kinds


def settings(kind: type[Any]) -> Iterator[Any]:
    """Every schedule of a kind, the values of the first knob changing slowest."""
    names = [knob.field for knob in kind.knobs]
    for values in product(*(knob.values for knob in kind.knobs)):
        yield kind(**dict(zip(names, values, strict=True)))


def apply(schedule: Schedule, program: Program, target: Target) -> Program | None:
    """`program`, as it was lowered, by `schedule`; None where it cannot be had."""
    draft = schedule.draft(program, target)
    return None if draft is None else schedule.finish(draft)


def knobs_of(schedule: Schedule) -> Mapping[str, int | str]:
    """The knobs as they are set, by name."""
    return {field.name: getattr(schedule, field.name) for field in fields(schedule)}  # type: ignore[arg-type]


def described(schedule: Schedule) -> str:
    """In words, such as "product pixels=2 channels=4"."""
    return " ".join([schedule.name, *(f"{name}={value}" for name, value in knobs_of(schedule).items())])
