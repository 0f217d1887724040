"""Schedules for cores that multiply one pair at a time: Cortex-M0 and M3."""

from __future__ import annotations

from dataclasses import replace

from harness.board import Target
from harness.compiler.fold_zero_point import fold_zero_point
from harness.compiler.loops import (
    Block,
    For,
    Program,
    walk,
)
from harness.compiler.lowering.contraction import Contraction
from harness.compiler.schedule import register_block, unroll
from harness.compiler.schedules.blocking import Blocking
from harness.compiler.schedules.common import by_branch, finished, split_border, tidy, trips, unroll_runs
from harness.compiler.schedules.product import product
from harness.compiler.schedules.rows import Row, by_rows

UNROLLED_TAPS = 20  # a depthwise window of up to this many taps is written out


REACH = 4000  # bytes that a load reaches from its pointer, and some less
SEVERAL = Blocking(pixels=4, channels=2, unrolled=4, pairs=False, assembly=True)
ONE = Blocking(pixels=1, channels=8, unrolled=4, pairs=False, assembly=True)  # a vector by a matrix


def contraction(program: Program, target: Target) -> Program:
    """Convolution and matrix product: 4 pixels x 2 channels, or 1 x 8 where there is one pixel.

    Where a kernel in assembly is not to be had: 2 x 2, or 1 x 4 where pixels have windows of their own.
    """
    spec = program.origin
    if "thumb2" in target.instructions and isinstance(spec, Contraction):
        one = spec.batch * spec.rows.out * spec.columns.out == 1
        far = SEVERAL.pixels * spec.weights[0].size > REACH
        made = product(program, ONE if one else replace(SEVERAL, pixels=1, channels=8) if far else SEVERAL)
        if made is not None:
            return made
    program = fold_zero_point(split_border(tidy(program)))
    body = program.body
    pixels = next((s for s in walk(body) if isinstance(s, For) and s.var == "p"), None)
    if pixels is not None and trips(pixels) > 1:
        body = register_block(register_block(body, "p", 2), "oc", 2)
    else:
        body = register_block(body, "oc", 4)
    body = unroll_runs(body, "k")
    return finished(replace(program, body=body))


def depthwise(program: Program, target: Target) -> Program:
    """Inside the border a window's taps are written out; at the border 4 channels share the loops over the taps."""
    if any(isinstance(s, For) and s.var == "oc" for s in walk(program.body)):
        return contraction(program, target)  # one input channel: lowered as an ordinary convolution
    if "thumb2" in target.instructions:
        made = by_rows(program, Row())
        if made is not None:
            return made
    program = fold_zero_point(split_border(tidy(program)))

    def inside(block: Block) -> Block:
        loops = [s for s in walk(block) if isinstance(s, For) and s.var in ("ky", "kx")]
        taps = 1
        for loop in loops:
            taps *= trips(loop)
        if loops and taps <= UNROLLED_TAPS:
            return unroll(unroll(block, "kx"), "ky")
        return register_block(block, "c", 4)

    body = by_branch(program.body, inside, lambda block: register_block(block, "c", 4))
    return finished(replace(program, body=body))


def pool(program: Program, target: Target) -> Program:
    """4 channels share the loops over the taps of a window."""
    program = tidy(program)
    return finished(replace(program, body=register_block(program.body, "c", 4)))
