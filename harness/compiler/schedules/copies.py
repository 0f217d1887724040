"""Copies: runs of bytes by the widest registers of the core, everything else several elements an iteration.

A run of n bytes from a to b:

    for (i = 0; i < n - n % 32; i += 32)      8 words at a time, at any address
        b[i .. i + 31] = a[i .. i + 31]
    the words and bytes that are left, written out
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from harness.board import Target
from harness.compiler.intrinsics.lanes import I8X4, I8X16
from harness.compiler.loops import Block, Const, Expr, For, Program, Stmt, Store, Var, load
from harness.compiler.lowering.building import parallel
from harness.compiler.lowering.moves import Copies, Move, element, names, position
from harness.compiler.schedule import unroll
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.common import finished
from harness.dtypes import DType, Vec

WRITTEN_OUT = 12  # runs of up to this many registers are written out
FILLED = 16  # elements an iteration fills: the C compiler makes words of their bytes


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
        lanes = I8X16 if "mve" in target.instructions else I8X4 if "thumb2" in target.instructions else None
        body: list[Stmt] = []
        for number, move in enumerate(spec.moves):
            at = names(spec, number)
            inner = self._innermost(spec, move, at, lanes)
            for i, count in reversed(list(zip(at[:-1], move.extents[:-1], strict=True))):
                inner = (parallel(i.name, count, *inner),)
            body += inner
        return replace(program, body=tuple(body))

    def finish(self, draft: Program) -> Program:
        return finished(draft)

    def _innermost(self, spec: Copies, move: Move, at: tuple[Var, ...], lanes: Vec | None) -> Block:
        """The loop over the last dimension of a move."""
        if not at:
            return (element(spec, move, at),)
        count = move.extents[-1]
        one_by_one = parallel(at[-1].name, count, element(spec, move, at))
        if move.operand is None:
            return unroll((one_by_one,), at[-1].name, FILLED) if count > FILLED else unroll((one_by_one,), at[-1].name)
        run = move.strides[-1] == move.to_strides[-1] == 1 and spec.results[move.output].element is DType.I8
        if not run or lanes is None or count < lanes.lanes:
            return unroll((one_by_one,), at[-1].name, self.at_once)
        return self._by_registers(spec, move, at, lanes)

    def _by_registers(self, spec: Copies, move: Move, at: tuple[Var, ...], lanes: Vec) -> Block:
        assert move.operand is not None
        source, result = spec.sources[move.operand], spec.results[move.output]
        width = lanes.lanes
        count = move.extents[-1]

        def register(k: Expr) -> Stmt:
            index = (*at[:-1], k)
            value = load(source, position(move.start, move.strides, index), lanes=lanes)
            return Store(result, (position(move.to, move.to_strides, index),), value)

        whole = count - count % width
        i = at[-1].name
        registers: Block = (For(i, Const(0), Const(whole), (register(at[-1]),), width, parallel=True),)
        if whole == width:
            registers = (register(Const(0)),)
        else:
            registers = unroll(registers, i, None if whole <= WRITTEN_OUT * width else self.at_once)
        return (*registers, *(element(spec, move, (*at[:-1], Const(k))) for k in range(whole, count)))
