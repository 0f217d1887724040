"""Loops over elements or channels in the vectors of MVE, as they were lowered otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from harness.board import Target
from harness.compiler.intrinsics.lanes import I8X16, I32X4
from harness.compiler.loops import For, Program, Store, Var, walk
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.common import finished, tidy
from harness.compiler.schedules.elements import WAYS
from harness.compiler.simplify import affine
from harness.compiler.vectorise import NoVectors, vectorise

WIDTHS = {vector.lanes: vector for vector in (I8X16, I32X4)}


@dataclass(frozen=True)
class Lanes:
    """The loop along the output's last dimension in vectors: pools, and one element from one of each operand."""

    way: str
    lanes: int
    name: ClassVar[str] = "vectors"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("way", ("line", "clamp", "loops"), "how an element is computed; loops: as it was lowered"),
        Knob("lanes", (16, 4), "outputs at a time; 16 bytes where they are only compared"),
    )

    def draft(self, program: Program, target: Target) -> Program | None:
        made = WAYS[self.way](program, target) if "mve" in target.features else None
        if made is None:
            return None
        made = tidy(made)
        stores = [s for s in walk(made.body) if isinstance(s, Store) and s.buffer.space == "output"]
        along = {v.name for s in stores for v in affine(s.index[-1])[0] if isinstance(v, Var)}
        loops = {s.var for s in walk(made.body) if isinstance(s, For) and s.parallel} & along
        if len(loops) != 1:
            return None
        try:
            return replace(made, body=vectorise(made.body, loops.pop(), WIDTHS[self.lanes]))
        except NoVectors:
            return None

    def finish(self, draft: Program) -> Program:
        return finished(draft)
