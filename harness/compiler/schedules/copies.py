"""Copies: runs of bytes by the widest registers of the core, everything else several elements an iteration.

A run of n bytes from a to b:

    for (i = 0; i < n - n % 32; i += 32)      8 words at a time, at any address
        b[i .. i + 31] = a[i .. i + 31]
    the words and bytes that are left, written out
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.board import Target
from harness.compiler.intrinsics.lanes import I8X4, I8X16
from harness.compiler.loops import Block, Const, For, Program, Stmt, Store, Var, load, substitute
from harness.compiler.lowering.building import parallel
from harness.compiler.lowering.moves import Copies, Move, element, names, position
from harness.compiler.schedule import unroll
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.common import finished, trips
from harness.dtypes import DType, Vec

WRITTEN_OUT = 12  # so many registers, or elements, are written out without a loop
FILLED = 16  # elements an iteration fills: the C compiler makes words of their bytes

_REGISTERS = ((I8X16, "mve"), (I8X4, "thumb2"))  # widest first, and what a core needs to move them at any address


@dataclass(frozen=True)
class Copied:
    """Every move of a layer by itself."""

    at_once: int
    name: ClassVar[str] = "copied"
    knobs: ClassVar[tuple[Knob, ...]] = (Knob("at_once", (2, 8), "registers, or elements, an iteration moves"),)

    def draft(self, program: Program, target: Target) -> Program | None:
        spec = program.origin
        if not isinstance(spec, Copies):
            return None
        registers = [lanes for lanes, needs in _REGISTERS if needs in target.instructions]
        body: list[Stmt] = []
        for number, move in enumerate(spec.moves):
            at = names(spec, number)
            inner = self._innermost(spec, move, at, registers)
            for i, count in reversed(list(zip(at[:-1], move.extents[:-1], strict=True))):
                inner = (parallel(i.name, count, *inner),)
            body += inner
        return replace(program, body=tuple(body))

    def finish(self, draft: Program) -> Program:
        return finished(draft)

    def _innermost(self, spec: Copies, move: Move, at: tuple[Var, ...], registers: Sequence[Vec]) -> Block:
        """The loop over the last dimension of a move."""
        if not at:
            return (element(spec, move, at),)
        i, count = at[-1].name, move.extents[-1]
        if move.operand is None:
            return _unrolled(parallel(i, count, element(spec, move, at)), FILLED, FILLED)
        run = move.strides[-1] == move.to_strides[-1] == 1 and spec.results[move.output].element is DType.I8
        made: list[Stmt] = []
        first = 0
        for lanes in registers if run else ():
            end = count - (count - first) % lanes.lanes
            if end > first:
                step = _register(spec, move, at, lanes)
                loop = For(i, Const(first), Const(end), (step,), lanes.lanes, parallel=True)
                made += _unrolled(loop, self.at_once, WRITTEN_OUT)
            first = end
        if first < count:
            loop = For(i, Const(first), Const(count), (element(spec, move, at),), parallel=True)
            made += _unrolled(loop, self.at_once, WRITTEN_OUT)
        return tuple(made)


def _register(spec: Copies, move: Move, at: tuple[Var, ...], lanes: Vec) -> Stmt:
    """As many elements of a run as a register holds."""
    assert move.operand is not None
    value = load(spec.sources[move.operand], position(move.start, move.strides, at), lanes=lanes)
    return Store(spec.results[move.output], (position(move.to, move.to_strides, at),), value)


def _unrolled(loop: For, at_once: int, most: int) -> Block:
    """Written out up to `most` iterations, otherwise `at_once` of them at a time."""
    count = trips(loop)
    if count == 1:
        return substitute(loop.body, {loop.var: loop.start})
    return unroll((loop,), loop.var, None if count <= most else at_once)
