"""Schedules that transform the loops as they were lowered: for cores without kernels, and for what none fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from harness.board import Target
from harness.compiler.fold_zero_point import fold_zero_point
from harness.compiler.loops import Block, For, Program, walk
from harness.compiler.schedule import register_block, unroll
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.common import by_branch, finished, split_border, tidy, trips, unroll_runs

UNROLLED_TAPS = 20  # a depthwise window of up to this many taps is written out


@dataclass(frozen=True)
class Blocked:
    """Convolution and matrix product: the sums of 2 x 2 pixels and channels share a loop, or of 1 x 4."""

    pixels: int
    channels: int
    name: ClassVar[str] = "blocked"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("pixels", (1, 2), "rows of a matrix product at a time; 1 where pixels have windows of their own"),
        Knob("channels", (2, 4), "output channels at a time"),
    )

    def draft(self, program: Program, target: Target) -> Program | None:
        loops = {s.var: s for s in walk(program.body) if isinstance(s, For)}
        if "oc" not in loops or self.pixels * self.channels != 4:
            return None
        flat = "p" in loops and trips(loops["p"]) > 1
        if (self.pixels > 1) != flat:
            return None
        program = fold_zero_point(split_border(tidy(program)))
        body = program.body
        if flat:
            body = register_block(body, "p", self.pixels)
        return replace(program, body=unroll_runs(register_block(body, "oc", self.channels), "k"))

    def finish(self, draft: Program) -> Program:
        return finished(draft)


@dataclass(frozen=True)
class Taps:
    """Depthwise convolution: inside the border a window's taps are written out, at the border channels share loops."""

    channels: int
    name: ClassVar[str] = "taps"
    knobs: ClassVar[tuple[Knob, ...]] = (Knob("channels", (4,), "channels that share the loops over a window"),)

    def draft(self, program: Program, target: Target) -> Program | None:
        if not any(isinstance(s, For) and s.var == "c" for s in walk(program.body)):
            return None
        program = fold_zero_point(split_border(tidy(program)))
        return replace(program, body=by_branch(program.body, self._inside, self._shared))

    def _inside(self, block: Block) -> Block:
        loops = [s for s in walk(block) if isinstance(s, For) and s.var in ("ky", "kx")]
        taps = 1
        for loop in loops:
            taps *= trips(loop)
        if loops and taps <= UNROLLED_TAPS:
            return unroll(unroll(block, "kx"), "ky")
        return self._shared(block)

    def _shared(self, block: Block) -> Block:
        return register_block(block, "c", self.channels)

    def finish(self, draft: Program) -> Program:
        return finished(draft)


@dataclass(frozen=True)
class Channels:
    """Average and maximum: channels share the loops over the taps of a window."""

    channels: int
    name: ClassVar[str] = "channels"
    knobs: ClassVar[tuple[Knob, ...]] = (Knob("channels", (1, 4), "channels at a time"),)

    def draft(self, program: Program, target: Target) -> Program | None:
        program = tidy(program)
        return replace(program, body=register_block(program.body, "c", self.channels))

    def finish(self, draft: Program) -> Program:
        return finished(draft)


@dataclass(frozen=True)
class Plain:
    """As the operator was lowered, with repeated loads shared and invariant bounds hoisted."""

    name: ClassVar[str] = "plain"
    knobs: ClassVar[tuple[Knob, ...]] = ()

    def draft(self, program: Program, target: Target) -> Program | None:
        return program

    def finish(self, draft: Program) -> Program:
        return finished(draft)
