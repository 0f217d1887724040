"""What a way of counting gives, whatever it counts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from harness.firmware import Firmware
from harness.profile.call_tree import Node
from harness.profile.timing import Cycles

ENTRY = "model_run"  # the function whose one call is measured


@dataclass(frozen=True)
class Figures:
    """Of a layer, of a function, or of a whole run. None: this way of counting does not give it."""

    instructions: int | None = None  # executed, exact
    cycles: int | None = None  # of a real core's own counter
    estimate: Cycles | None = None  # of cycles, from the core's published timing table
    stack: int | None = (
        None  # bytes of the stack that were written below the caller's frame: painted before, read after
    )


@dataclass(frozen=True)
class Function:
    """One function, in whatever layers it was called."""

    name: str
    file: str | None
    line: int | None
    calls: int
    own: Figures
    inclusive: int  # instructions with those of everything it called


@dataclass(frozen=True)
class SourceLine:
    file: str
    line: int
    instructions: int


@dataclass(frozen=True)
class Measurement:
    """One call of `model_run` from entry to return, as an application pays it."""

    total: Figures
    layers: tuple[Figures, ...]
    tree: Node | None = None  # None: this way of counting does not see functions
    functions: tuple[Function, ...] = ()  # most instructions of their own first
    lines: tuple[SourceLine, ...] = ()  # most instructions first
    stack_used: int | None = (
        None  # bytes of the stack, its top to the lowest that was written, the stub's part included
    )
    notes: tuple[str, ...] = ()


class Counter(Protocol):
    """One way of counting, on one kind of target."""

    @property
    def name(self) -> str:
        """As it stands in reports: what counts."""
        ...

    def measure(self, firmware: Firmware, inputs: Sequence[np.ndarray]) -> Measurement:
        """Counts on `inputs`, one array for each input of the model, in its shape and dtype.

        TargetStopped: the firmware did not come back. InfrastructureError: the count cannot be relied on.
        """
        ...
