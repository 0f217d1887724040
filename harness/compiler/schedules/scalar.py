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
from harness.compiler.schedule import register_block, unroll
from harness.compiler.schedules.common import by_branch, finished, split_border, tidy, trips, unroll_runs

UNROLLED_TAPS = 20  # a depthwise window of up to this many taps is written out


def contraction(program: Program, target: Target) -> Program:
    """Convolution and matrix product: 2 pixels x 2 channels, or 1 x 4 where pixels have windows of their own."""
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


def elementwise(program: Program, target: Target) -> Program:
    """2 elements an iteration."""
    program = tidy(program)
    loops = [s for s in walk(program.body) if isinstance(s, For)]
    if loops:  # a single element has none
        program = replace(program, body=register_block(program.body, loops[-1].var, 2))
    return finished(program)
