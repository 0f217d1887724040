"""Schedules for cores that multiply two pairs of 16-bit lanes at a time: Cortex-M4, M7 and M33."""

from __future__ import annotations

from harness.board import Target
from harness.compiler.loops import Program
from harness.compiler.lowering.contraction import Contraction
from harness.compiler.schedules import scalar
from harness.compiler.schedules.blocking import Blocking
from harness.compiler.schedules.product import product

SEVERAL = Blocking(pixels=2, channels=4, unrolled=16, pairs=True, assembly=True)
ONE = Blocking(pixels=1, channels=8, unrolled=16, pairs=True, assembly=True)  # a vector by a matrix


def contraction(program: Program, target: Target) -> Program:
    """Pairs of channels in 16 bits, 2 pixels x 4 channels, or 1 x 8 where there is one pixel."""
    spec = program.origin
    if isinstance(spec, Contraction):
        pixels = spec.batch * spec.rows.out * spec.columns.out
        made = product(program, ONE if pixels == 1 else SEVERAL)
        if made is not None:
            return made
    return scalar.contraction(program, target)
