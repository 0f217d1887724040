"""An intrinsic: a C function beside its executable meaning, so that neither can drift from the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from harness.dtypes import Type


@dataclass(frozen=True)
class Asm:
    """One instruction for a block of assembly: `{d}` stands for the result's register, `{0}` `{1}` … for arguments."""

    text: str
    accumulates: int | None = None  # the argument that the instruction overwrites with its result
    even: bool = False  # the result's register has to have an even number


@dataclass(frozen=True, eq=False)
class Intrinsic:
    """`meaning` maps int64 (or float32) arrays to the result exactly; `c` defines `static inline` of the same name.

    In `meaning` a vector argument has its lanes as last axis, and a scalar has no such axis. What does not fit the
    result's dtype is an overflow, and illegal: an instruction that wraps says so in its meaning.

    `needs` names target features ("dsp", "mve") without which the intrinsic may not be used; an empty set means that
    the C text itself is right on every core.
    """

    name: str
    params: tuple[tuple[str, Type], ...]
    result: Type
    meaning: Callable[..., np.ndarray]
    c: str
    needs: frozenset[str] = frozenset()
    uses: tuple[Intrinsic, ...] = ()  # intrinsics its C text calls
    header: str = ""  # of the C library, such as "math.h"
    asm: Asm | None = None  # for loops printed as assembly; without one, such a loop may not use it
    adds_products: bool = False  # it is the last argument + the products of the others' lanes, modulo 2^32
    # About as many as gcc makes of it, beside those of `uses`, on a core that lacks nothing, and what it makes instead
    # where a feature of `Target.instructions` is lacking. They rank schedules, see `cost`.
    instructions: float = 1.0
    without: Mapping[str, float] = field(default_factory=dict)

    def instructions_on(self, has: frozenset[str]) -> float:
        """About as many as a core executes that has these features, with those of `uses`; the dearest lack counts."""
        own = max((count for what, count in self.without.items() if what not in has), default=self.instructions)
        return own + sum(used.instructions_on(has) for used in self.uses)
