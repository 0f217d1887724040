"""Products in register blocks: which blocks there are, and which of them a layer and a core can have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from harness.board import Target
from harness.compiler.loops import Program
from harness.compiler.lowering.contraction import Contraction
from harness.compiler.render_asm import MOST_SUMS
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.blocking import Blocking, Plan, steps
from harness.compiler.schedules.common import tidy
from harness.compiler.schedules.product import Writer, flat_weights, pairs_fit
from harness.compiler.schedules.rescale import short_form

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
        blocking = Blocking(self.pixels, self.channels, self.unrolled, bool(self.pairs))
        channels = spec.weights.shape[0]
        terms = spec.weights[0].size
        pixels = spec.batch * spec.rows.out * spec.columns.out if spec.pointwise else spec.columns.out
        if blocking.pairs and spec.pointwise and pixels == 1 and terms % 4 == 0:
            # No register is left for the end of the loop: half as many turns pay half of what that costs.
            blocking = replace(blocking, narrow=True, unrolled=2 * blocking.unrolled)
        direct = spec.pointwise and (blocking.narrow or not blocking.pairs)
        whole = self.pixels * self.channels == MOST_SUMS
        if "dsp" in target.features and not blocking.pairs and not (direct and whole) and pairs_fit(spec):
            return None  # byte by byte only where that saves a patch, which pairs need, and then in whole blocks
        if direct and self.pixels * terms > REACH:
            return None
        step, depth = steps(terms, blocking, whole=direct)
        fewest = channels + channels % 2 if blocking.pairs else channels
        if self.pixels > pixels or self.channels // 2 >= max(fewest, FEWEST_SUMS // self.pixels):
            return None  # as much as a smaller block does
        if not short_form(spec.arithmetic, flat_weights(spec)):
            return None
        plan = Plan(spec, replace(blocking, channels=min(self.channels, fewest)), depth, -(-channels // self.channels))
        writer = Writer(program, plan, step)
        return writer.program() if writer.printable() else None

    def _legal(self, target: Target) -> bool:
        if "thumb2" not in target.instructions or not FEWEST_SUMS <= self.pixels * self.channels <= MOST_SUMS:
            return False
        return not self.pairs or ("dsp" in target.features and self.channels % 2 == 0)

    def finish(self, draft: Program) -> Program:
        return tidy(draft)
