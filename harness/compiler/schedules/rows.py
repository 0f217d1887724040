"""Depthwise convolution by rows: one channel, several neighbouring outputs at a time.

    for oy:
        for c:
            acc = bias, and for the kernel's rows above or below the input the zero point times their weights
            for each block of outputs of the row:
                for ky inside the input:
                    w_0 … = the kernel's row;  x_0 … = the inputs under the block, each loaded once
                    acc_0 += x_0 * w_0 …
                scale, clamp, store

Neighbouring outputs share most of their inputs, and all of them the weights. What lies left or right of the input
counts as its zero point, so that one bias is right for all. Where the outputs stand in a column, blocks run down it,
and the channels inside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.board import Target
from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Program,
    Stmt,
    Store,
    Var,
    accumulate,
    binary,
    cast,
    load,
    maximum,
    minimum,
    store,
)
from harness.compiler.lowering.building import parallel, serial
from harness.compiler.lowering.contraction import Depthwise
from harness.compiler.lowering.window import Window
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.common import tidy
from harness.compiler.schedules.rescale import Scaling, table
from harness.compiler.schedules.sums import sums_of
from harness.dtypes import DType

I32 = DType.I32
MOST_TAPS = 12  # along a block: as many weights as are held, or loaded, in one stretch of code


@dataclass(frozen=True)
class Rows:
    """A depthwise convolution by rows, `outputs` neighbours at a time."""

    outputs: int
    name: ClassVar[str] = "rows"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("outputs", (1, 2, 3, 4, 5, 6), "outputs of a row at a time; as many as there are: without a loop"),
    )

    def draft(self, program: Program, target: Target) -> Program | None:
        spec = program.origin
        if not isinstance(spec, Depthwise) or "thumb2" not in target.instructions:
            return None
        down = spec.columns.out == 1 and spec.rows.out > 1
        along = spec.rows if down else spec.columns
        if along.kernel > MOST_TAPS or self.outputs > along.out:
            return None
        if not sums_of(spec).short_form:
            return None
        return _Writer(program, spec, self, down).program()

    def finish(self, draft: Program) -> Program:
        return tidy(draft)


class _Writer:
    def __init__(self, program: Program, spec: Depthwise, row: Rows, down: bool) -> None:
        self.original = program
        self.spec = spec
        self.down = down
        self.along: Window = spec.rows if down else spec.columns
        self.across: Window = spec.columns if down else spec.rows
        self.outputs = row.outputs
        (x,) = [b for b in program.buffers if b.space == "input" or b.name == "input"]
        (self.y,) = program.of_space("output")
        self.x = x
        self.channels = spec.weights.shape[2]
        kernel = spec.weights.transpose(2, 1, 0) if down else spec.weights.transpose(2, 0, 1)
        self.weights = table(f"{program.name}_weights", np.ascontiguousarray(kernel))
        self.scaling = Scaling.of(program.name, sums_of(spec), self.channels)
        self.bias = table(f"{program.name}_bias", self.scaling.starts.astype(np.int32))
        # Input positions under a block, counted from where its first tap reads.
        a = self.along
        reads = {i * a.stride + k * a.dilation for i in range(self.outputs) for k in range(a.kernel)}
        self.positions = sorted(reads)

    def program(self) -> Program:
        c, across = Var("c"), Var("across")
        first = maximum(0, self.first_tap(across))
        stop = minimum(self.across.kernel, self.stop_tap(across))
        start = Let("bias", load(self.bias, c))
        lets = self.scaling.lets(c, "_c")
        total = Buffer("outside", I32, (), "register")
        missing = self.missing(total) if self.across.padded else ()
        head: Block = (start, Alloc(total), store(total, value=start.var), *missing, *lets)

        def channels(*body: Stmt) -> Stmt:
            return parallel("c", self.channels, *head, *body)

        inner: Block
        if self.down and not missing:  # from top to bottom, all channels at once: what is above is read no more
            inner = self.blocks(lambda at: (channels(*self.block(at, total, lets)),))
        else:
            inner = (channels(*self.blocks(lambda at: self.block(at, total, lets))),)
        bounds: Block = (Let("k_first", first), Let("k_stop", stop)) if self.across.padded else ()
        over = parallel("across", self.across.out, *bounds, *inner)
        body: Block = (parallel("n", self.spec.batch, over),)
        tables = (self.x, self.bias, *self.scaling.tables, self.weights)
        inputs = (self.x,) if self.x.space == "input" else ()
        constants = tuple(b for b in tables if b.space == "const")
        return Program(self.original.name, (*inputs, self.y, *constants), body, self.spec)

    # ---- the kernel's rows

    def first_tap(self, out: Expr) -> Expr:
        """The first tap across that reads the input: ceil((pad - out * stride) / dilation)."""
        w = self.across
        before = w.pad_before - out * w.stride
        return before if w.dilation == 1 else binary("div", before + (w.dilation - 1), w.dilation)

    def stop_tap(self, out: Expr) -> Expr:
        w = self.across
        room = w.size + w.pad_before - out * w.stride
        return room if w.dilation == 1 else binary("div", room + (w.dilation - 1), w.dilation)

    def missing(self, total: Buffer) -> Block:
        """The zero point times the weights of the kernel's rows that lie outside the input."""
        zero_point = self.spec.arithmetic.input_zero_point
        k, j = Var("k"), Var("j")
        step = accumulate(total, cast(load(self.weights, Var("c"), k, j), I32) * zero_point)
        taps = serial("j", 0, self.along.kernel, step)
        before = serial("k", 0, minimum(Var("k_first"), self.across.kernel), taps)
        after = serial("k", maximum(Var("k_stop"), 0), self.across.kernel, taps)
        return (before, after)

    # ---- the blocks of a row

    def blocks(self, block: Callable[[Expr], Block]) -> Block:
        out, n = self.along.out, self.outputs
        if out == n:
            return block(Const(0))
        at = Let("at", minimum(Var("block"), out - n))  # the last block reaches back over what is there already
        body = (at, *block(at.var))
        return (For("block", Const(0), Const(-(-out // n) * n), body, n, parallel=True),)

    def block(self, at: Expr, total: Buffer, lets: Sequence[Let]) -> Block:
        sums = [Buffer(f"acc_{i}", I32, (), "register") for i in range(self.outputs)]
        result: list[Stmt] = []
        for acc in sums:
            result += [Alloc(acc), store(acc, value=load(total))]
        result.append(self.taps(at, sums))
        for i, acc in enumerate(sums):
            named, value = self.scaling.output(f"sum_{i}", load(acc), lets)
            result += [*named, store(self.y, *self.place(at + i), value=value)]
        return tuple(result)

    def taps(self, at: Expr, sums: list[Buffer]) -> Stmt:
        k = Var("k")
        ws = [Let(f"w_{j}", cast(load(self.weights, Var("c"), k, Const(j)), I32)) for j in range(self.along.kernel)]
        a = self.along
        # An input is multiplied with all it meets as soon as it is loaded, and its register is free again.
        meets: dict[int, list[tuple[Buffer, Let]]] = {p: [] for p in self.positions}
        for i, acc in enumerate(sums):
            for j, w in enumerate(ws):
                meets[i * a.stride + j * a.dilation].append((acc, w))
        before, fetched = self.inputs(at, k)
        body: list[Stmt] = [*ws, *before]
        for p, (statements, x) in fetched.items():
            body += [*statements, *(accumulate(acc, x * w.var) for acc, w in meets[p])]
        if self.across.padded:
            return serial("k", Var("k_first"), Var("k_stop"), *body)
        return serial("k", 0, self.across.kernel, *body)

    def inputs(self, at: Expr, k: Var) -> tuple[Block, dict[int, tuple[Block, Expr]]]:
        """What lies under a block in the kernel's row `k`: what comes first, and by position statements and value."""
        a = self.along
        origin = at * a.stride - a.pad_before
        fetched = {p: cast(self.element(origin + p, k), I32) for p in self.positions}
        zero_point = Const(self.spec.arithmetic.input_zero_point)
        if not a.padded or self.outputs == a.out:  # known for every position when it is compiled
            result: dict[int, tuple[Block, Expr]] = {}
            for p, value in fetched.items():
                outside = self.outputs == a.out and not 0 <= p - a.pad_before < a.size
                x = Let(f"x_{p}", value)
                result[p] = ((), zero_point) if outside else ((x,), x.var)
            return (), result
        registers = {p: Buffer(f"x_{p}", I32, (), "register") for p in self.positions}
        plain = tuple(Store(registers[p], (), fetched[p]) for p in self.positions)
        careful: list[Stmt] = []
        for p in self.positions:
            inside = binary("and", origin + p >= 0, origin + p < a.size)
            known, unknown = Store(registers[p], (), fetched[p]), Store(registers[p], (), zero_point)
            careful.append(If(inside, (known,), (unknown,)) if self.ever_inside(p, p) else unknown)
        whole = binary("and", origin >= 0, origin + self.positions[-1] < a.size)
        statements: list[Stmt] = [Alloc(r) for r in registers.values()]
        # the kernel may be wider than an input and one side of its padding
        statements += [If(whole, plain, tuple(careful))] if self.ever_inside(0, self.positions[-1]) else careful
        return tuple(statements), {p: ((), load(r)) for p, r in registers.items()}

    def ever_inside(self, first: int, last: int) -> bool:
        """Whether the positions `first` to `last` lie in the input for any place at which a block might begin."""
        a = self.along
        starts = (at * a.stride - a.pad_before for at in range(a.out - self.outputs + 1))
        return any(start + first >= 0 and start + last < a.size for start in starts)

    def element(self, position: Expr, k: Var) -> Load:
        w = self.across
        other = Var("across") * w.stride + k * w.dilation - w.pad_before
        index = (position, other) if self.down else (other, position)
        return Load(self.x, (Var("n"), *index, Var("c")))

    def place(self, position: Expr) -> tuple[Expr, ...]:
        index = (position, Var("across")) if self.down else (Var("across"), position)
        return (Var("n"), *index, Var("c"))
