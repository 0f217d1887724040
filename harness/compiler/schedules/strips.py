"""Depthwise convolution in the lanes of MVE: the window of one output as one vector.

    for each strip, one or two rows of outputs:
        for c:
            strip = the rows of channel c under the strip, interleaved: column 0 of all rows, column 1 of all rows …
                    what lies in the padding as the input's zero point
            for each block of four outputs along the strip:
                x_i = 16 elements of `strip` from output i's first column on, which is all of its window
                sums = every x_i times the kernel, added up
                scale, clamp, store: four outputs at a time

            columns   0         1         2                      w_0: the kernel as it is for the upper row of outputs
            strip     a b c d | a b c d | a b c d | …                 1 1 1 . 1 1 1 . 1 1 1 . . . . .
                      `--- window of output 0 --'                w_1: moved by one element for the lower row
                                                                      . 1 1 1 . 1 1 1 . 1 1 1 . . . .

Rows and columns stand for either dimension: a strip runs along the one that costs less. The kernel is stored with a
zero behind each column where there are two rows, so that both its forms are loads from one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from harness.board import Target
from harness.compiler.intrinsics.lanes import I8X16, I16X8, I32X4, reach
from harness.compiler.intrinsics.mve import ADD, GATHERED, MLADAV, SPREAD, SPREAD_I8, SPREAD_I16
from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Call,
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
    load,
    minimum,
)
from harness.compiler.lowering.building import parallel, serial
from harness.compiler.lowering.contraction import Depthwise
from harness.compiler.lowering.window import Window
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.blocking import within
from harness.compiler.schedules.common import finished
from harness.compiler.schedules.rescale import Scaling, table
from harness.compiler.schedules.rescale_lanes import LaneScaling
from harness.compiler.schedules.sums import sums_of
from harness.dtypes import DType

LANES, FOUR, EIGHT = I8X16.lanes, I32X4.lanes, I16X8.lanes
WRITTEN_OUT = 6  # vectors of a row that are copied without a loop


@dataclass(frozen=True)
class Strips:
    """A depthwise convolution by strips of `rows` rows of outputs, along a column where it is `down`."""

    down: int
    rows: int
    name: ClassVar[str] = "strips"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("down", (0, 1), "0: strips run along rows; 1: along columns"),
        Knob("rows", (1, 2), "rows of outputs in a strip; 2 without stride or dilation only"),
    )

    def draft(self, program: Program, target: Target) -> Program | None:
        spec = program.origin
        if not isinstance(spec, Depthwise) or "mve" not in target.features:
            return None
        if not sums_of(spec).short_form:
            return None
        writer = _Writer(program, spec, self)
        return writer.program() if writer.possible else None

    def finish(self, draft: Program) -> Program:
        return finished(draft)


class _Writer:
    """Writes the program of one layer."""

    def __init__(self, program: Program, spec: Depthwise, knobs: Strips) -> None:
        self.original, self.spec, self.down = program, spec, bool(knobs.down)
        self.along: Window = spec.rows if self.down else spec.columns
        self.across: Window = spec.columns if self.down else spec.rows
        self.channels = spec.weights.shape[2]
        self.height = knobs.rows
        self.rows = self.across.kernel + self.height - 1  # of the input
        a = self.along
        self.used = min(a.size, (a.out - 1) * a.stride + a.kernel - a.pad_before)  # columns of the input
        # Elements of the input and of the output from one column to the next.
        self.step = (spec.columns.size if self.down else 1) * self.channels
        self.step_out = (spec.columns.out if self.down else 1) * self.channels
        self.taps = a.kernel * self.rows  # of a channel, those of weight zero included
        (x,) = [b for b in program.buffers if b.space == "input" or b.name == "input"]
        (y,) = program.of_space("output")
        shape = (spec.batch, spec.rows.size * spec.columns.size * self.channels)
        self.x = replace(x, shape=shape, data=None if x.data is None else x.data.reshape(shape))
        self.y = replace(y, shape=(spec.batch, spec.rows.out * spec.columns.out * self.channels))
        self.scaling = LaneScaling(Scaling.of(program.name, sums_of(spec), self.channels))
        self.bias = table(f"{program.name}_bias", self.scaling.scaling.starts.astype(np.int32))
        self.weights = table(f"{program.name}_weights", self.packed())
        length = (a.out - 1) * a.stride * self.rows + LANES
        self.held = Buffer("strip", DType.I8, (max(length, self.end),), "register", align=4)

    @property
    def possible(self) -> bool:
        """Whether windows fit into vectors, and strips into the layer."""
        w = self.across
        fits = self.taps <= LANES and self.along.dilation == 1 and self.used > 0
        moved = self.height == 1 or (w.stride == 1 and w.dilation == 1 and w.out >= self.height)
        return fits and moved and max(self.step, self.step_out) <= reach(I16X8)

    @property
    def end(self) -> int:
        """Elements of a strip up to the last one that lies in the input."""
        return (self.along.pad_before + self.used) * self.rows

    def packed(self) -> np.ndarray:
        """int8: zeros that the kernel may be moved by, then of each channel the kernel column by column."""
        kernel = self.spec.weights.transpose(2, 0, 1) if self.down else self.spec.weights.transpose(2, 1, 0)
        columns = np.zeros((self.channels, self.along.kernel, self.rows), np.int8)
        columns[:, :, : self.across.kernel] = kernel
        return np.concatenate([np.zeros(self.height - 1, np.int8), columns.reshape(-1)])

    def program(self) -> Program:
        s, c = self.spec, Var("c")
        across: Expr = Var("strip_at") * self.height
        if self.across.out % self.height:  # the last strip reaches back
            across = minimum(across, self.across.out - self.height)
        first = Let("across", across)
        channel: Block = (
            Alloc(self.held),
            *self.padding(),
            *self.copied(first.var),
            *self.kernels(),
            Let("bias_lanes", Call(SPREAD, (load(self.bias, c),))),
            *self.scaling.scaling.lets(c, "_c"),
            *self.constants(),
            self.blocks(first.var),
        )
        over = parallel("strip_at", -(-self.across.out // self.height), first, parallel("c", self.channels, *channel))
        constants = (self.x, self.bias, *self.scaling.scaling.tables, self.weights)
        inputs = (self.x,) if self.x.space == "input" else ()
        tables = tuple(b for b in constants if b.space == "const")
        body = (parallel("n", s.batch, over),)
        return Program(self.original.name, (*inputs, self.y, *tables), body, s)

    # ---- the strip

    def padding(self) -> Block:
        """The zero point before and behind what comes from the input."""
        value = Call(SPREAD_I8, (Const(self.spec.arithmetic.input_zero_point, DType.I8),))
        length = self.held.shape[0]
        starts = [*range(0, self.along.pad_before * self.rows, LANES), *range(self.end, length, LANES)]
        places = dict.fromkeys(min(start, length - LANES) for start in starts)
        return tuple(Store(self.held, (Const(place),), value) for place in places)

    def copied(self, across: Expr) -> Block:
        """The rows of the input, element after element of a column."""
        r = Var("r")
        w = self.across
        row = Let("row", across * w.stride + r * w.dilation - w.pad_before)
        other = 1 if self.down else self.spec.columns.size
        origin = row.var * (other * self.channels) + Var("c")

        def from_input(column: Expr, active: Expr | None) -> Expr:
            at = origin + column * self.step
            return Load(self.x, (Var("n"), at), I16X8, active, self.step)

        def zero_point(column: Expr, active: Expr | None) -> Expr:
            return Call(SPREAD_I16, (Const(self.spec.arithmetic.input_zero_point, DType.I16),))

        inside = within(row.var, w)
        copy = self.columns(r, from_input)
        body = copy if inside is None else (If(inside, copy, self.columns(r, zero_point)),)
        return (serial("r", 0, self.rows, row, *body),)

    def columns(self, r: Var, value: Callable[[Expr, Expr | None], Expr]) -> Block:
        """Eight columns of row `r` at a time, the last eight reaching back."""
        used = self.used

        def move(column: Expr, active: Expr | None) -> Stmt:
            at = (column + self.along.pad_before) * self.rows + r
            return Store(self.held, (at,), value(column, active), active, self.rows)

        if used < EIGHT:
            return (move(Const(0), Const(used)),)
        number = -(-used // EIGHT)
        if number <= WRITTEN_OUT:
            return tuple(move(Const(min(i * EIGHT, used - EIGHT)), None) for i in range(number))
        column = Let("column", minimum(Var("columns"), used - EIGHT))
        body = (column, move(column.var, None))
        return (For("columns", Const(0), Const(number * EIGHT), body, EIGHT),)

    # ---- the blocks of a strip

    def kernels(self) -> Block:
        """The kernel of every row of outputs."""
        active = Const(self.taps) if self.taps < LANES else None
        return tuple(
            Let(f"w_{j}", Load(self.weights, (Var("c") * self.taps + (self.height - 1 - j),), I8X16, active))
            for j in range(self.height)
        )

    def constants(self) -> tuple[Let, ...]:
        """What scales the channel, in every lane."""
        lets = self.scaling.scaling.lets(Var("c"), "_c")
        return tuple(Let(f"{let.name.partition('_')[0]}_lanes", Call(SPREAD, (let.var,))) for let in lets)

    def blocks(self, across: Expr) -> Stmt:
        out = self.along.out
        count = min(FOUR, out)
        body: list[Stmt] = []
        at: Expr = Var("block")
        if out % count:
            at = minimum(at, out - count)
        first = Let("at", at)
        start = first.var * (self.along.stride * self.rows)
        xs = [Let(f"x_{i}", Load(self.held, (start + i * self.along.stride * self.rows,), I8X16)) for i in range(count)]
        body += [first, *xs]
        lets = self.constants()
        for j in range(self.height):
            sums = [Let(f"sum_{j}_{i}", Call(MLADAV, (x.var, Var(f"w_{j}", I8X16)))) for i, x in enumerate(xs)]
            body += sums
            four = [sum_.var for sum_ in sums] + [sums[0].var] * (FOUR - count)
            total = Let(f"total_{j}", Call(ADD, (Call(GATHERED, tuple(four)), Var("bias_lanes", I32X4))))
            body.append(total)
            other = (1 if self.down else self.spec.columns.out) * self.channels
            place = first.var * self.step_out + (across + j) * other + Var("c")
            active = Const(count) if count < FOUR else None
            body.append(Store(self.y, (Var("n"), place), self.scaling.output(total.var, lets), active, self.step_out))
        return For("block", Const(0), Const(-(-out // count) * count), tuple(body), count)
