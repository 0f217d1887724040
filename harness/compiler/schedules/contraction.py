"""Products in register blocks: which blocks there are, and which of them a layer and a core can have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from harness.board import Target
from harness.compiler.loops import Buffer, Program
from harness.compiler.lowering.contraction import Contraction
from harness.compiler.render_asm import MOST_SUMS
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.blocking import Blocking, Plan, steps
from harness.compiler.schedules.common import tidy
from harness.compiler.schedules.product import Writer, with_steps
from harness.compiler.schedules.sums import sums_of

FEWEST_SUMS = 4  # below, loading costs more than multiplying
REACH = 4000  # bytes that a load reaches from its pointer, and some less


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product in blocks of `pixels` x `channels` sums, in a kernel of assembly."""

    pixels: int
    channels: int
    unrolled: int
    pairs: int
    name: ClassVar[str] = "product"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("pixels", (1, 2, 4), "output pixels at a time"),
        Knob("channels", (1, 2, 4, 8), "output channels at a time; even with pairs"),
        Knob("unrolled", (4, 16), "terms of the sums that are written out in the kernel"),
        Knob("pairs", (0, 1), "1: two terms by one SMLAD, two channels in 16 bits of weights"),
    )

    def draft(self, program: Program, target: Target) -> Program | None:
        spec = program.origin
        if not isinstance(spec, Contraction) or not self._legal(target):
            return None
        pairs = bool(self.pairs)
        channels = spec.weights.shape[0]
        terms = spec.weights[0].size
        pixels = spec.batch * spec.rows.out * spec.columns.out if spec.pointwise else spec.columns.out
        narrow = pairs and spec.pointwise and pixels == 1 and terms % 4 == 0
        direct = spec.pointwise and (narrow or not pairs)
        whole = self.pixels * self.channels == MOST_SUMS
        if "dsp" in target.features and not pairs and not (direct and whole) and sums_of(spec).pairs_fit:
            return None  # byte by byte only where that saves a patch, which pairs need, and then in whole blocks
        if direct and self.pixels * terms > REACH:
            return None
        # When narrow, no register is left for the end of the loop: half as many turns pay half of what that costs.
        step, depth = steps(terms, self.unrolled * (2 if narrow else 1), pairs=pairs, whole=direct)
        fewest = channels + channels % 2 if pairs else channels
        if self.pixels > pixels or self.channels // 2 >= max(fewest, FEWEST_SUMS // self.pixels):
            return None  # as much as a smaller block does
        if not sums_of(spec).short_form or (pairs and not sums_of(spec).pairs_fit):
            return None
        blocking = Blocking(self.pixels, min(self.channels, fewest), pairs, narrow)
        plan = Plan(spec, blocking, depth, -(-channels // self.channels))
        written = _written(program.name, program.buffers, plan)
        return None if written is None else with_steps(written, step // plan.taken)

    def _legal(self, target: Target) -> bool:
        if "thumb2" not in target.instructions or not FEWEST_SUMS <= self.pixels * self.channels <= MOST_SUMS:
            return False
        return not self.pairs or ("dsp" in target.features and self.channels % 2 == 0)

    def finish(self, draft: Program) -> Program:
        return tidy(draft)


@lru_cache(maxsize=4)  # settings that differ in how much of the kernel is written out share the rest
def _written(name: str, buffers: tuple[Buffer, ...], plan: Plan) -> Program | None:
    """The program of a layer; None where its kernel wants more registers than there are."""
    writer = Writer(name, buffers, plan)
    return writer.program() if writer.printable() else None
