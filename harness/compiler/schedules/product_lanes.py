"""Convolution and matrix product in the lanes of MVE: sums across a vector, several at a time.

    for each block of pixels:
        patch = the pixels' windows, what lies in the padding as the input's zero point
        for each group of channels:
            for k, as many terms at a time as a vector holds:
                every pixel's patch[k …] * every channel's weights[k …], added up        the kernel
            scale, clamp, store: four channels at a time

A sum is cut into as few steps as it can be, all of one length: what does not divide is filled with weights of zero,
less than one for each step. The weights of a group's channels take turns, step by step, so that one pointer walks
through them. Blocks and groups that do not fit reach back, and compute some outputs a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from harness.board import Target
from harness.compiler.intrinsics.lanes import I8X16, I32X4
from harness.compiler.intrinsics.mve import ADD, GATHERED, MLADAV, MLADAVA, SPREAD_I8
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
    minimum,
)
from harness.compiler.lowering.building import parallel, serial
from harness.compiler.lowering.contraction import Contraction
from harness.compiler.render_asm import MOST_SUMS
from harness.compiler.schedule import unroll
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.blocking import all_within, both, within
from harness.compiler.schedules.common import finished
from harness.compiler.schedules.rescale import Scaling, table
from harness.compiler.schedules.rescale_lanes import LaneScaling
from harness.compiler.schedules.sums import sums_of
from harness.dtypes import DType

LANES = I8X16.lanes
FOUR = I32X4.lanes
AT_ONCE = 2  # steps that are written out
WRITTEN_OUT = 12  # vectors of a window that are copied without loops
FEW = 2  # values that are copied faster one by one than as a part of a vector


@dataclass(frozen=True)
class LaneProduct:
    """A convolution or matrix product in blocks of `pixels` x `channels` sums, each across a vector."""

    pixels: int
    channels: int
    unrolled: int
    name: ClassVar[str] = "lanes"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("pixels", (1, 2), "output pixels at a time"),
        Knob("channels", (4, 8), "output channels at a time"),
        Knob("unrolled", (1, 4), "steps of 16 terms that are written out in the kernel, where they divide all of them"),
    )

    def draft(self, program: Program, target: Target) -> Program | None:
        spec = program.origin
        if not isinstance(spec, Contraction) or "mve" not in target.features:
            return None
        if self.pixels * self.channels > MOST_SUMS or not sums_of(spec).short_form:
            return None
        pixels = spec.batch * spec.rows.out * spec.columns.out if spec.pointwise else spec.columns.out
        steps = -(-spec.weights[0].size // LANES)
        if self.pixels > pixels or self.channels > max(spec.weights.shape[0], FOUR):
            return None
        if self.unrolled > 1 and _unrolled(steps, self.unrolled) == 1:
            return None  # the same as not unrolled
        return _Writer(program, spec, self).program()

    def finish(self, draft: Program) -> Program:
        return finished(draft)


def _unrolled(steps: int, most: int) -> int:
    """Steps that are written out: a divisor of all of them."""
    return max(u for u in range(1, most + 1) if steps % u == 0)


class _Writer:
    """Writes the program of one layer."""

    def __init__(self, program: Program, spec: Contraction, knobs: LaneProduct) -> None:
        self.original, self.spec = program, spec
        self.p, self.c = knobs.pixels, knobs.channels
        self.channels, self.height, self.width, self.depth = spec.weights.shape
        self.terms = self.height * self.width * self.depth
        self.steps = -(-self.terms // LANES)
        self.unrolled = _unrolled(self.steps, knobs.unrolled)
        self.length = -(-self.terms // self.steps)  # terms of a step
        self.groups = -(-self.channels // self.c)
        self.flat = spec.pointwise
        self.patched = not self.flat or self.length * self.steps != self.terms
        self.pixels_of_row = spec.batch * spec.rows.size * spec.columns.size if self.flat else spec.columns.out
        (x,) = [b for b in program.buffers if b.space == "input" or b.name == "input"]
        (y,) = program.of_space("output")
        s = spec
        shape: tuple[int, ...] = (self.pixels_of_row, self.depth)
        out: tuple[int, ...] = (self.pixels_of_row, self.channels)
        if not self.flat:
            shape = (s.batch, s.rows.size, s.columns.size * self.depth)
            out = (s.batch, s.rows.out, s.columns.out, self.channels)
        self.x = replace(x, shape=shape, data=None if x.data is None else x.data.reshape(shape))
        self.y = replace(y, shape=out)
        scaling = Scaling.of(program.name, sums_of(spec), max(self.channels, FOUR))
        self.scaling = LaneScaling(scaling)
        self.bias = table(f"{program.name}_bias", scaling.starts.astype(np.int32))
        self.weights = table(f"{program.name}_weights", self.packed())
        self.patch = Buffer("patch", DType.I8, (self.p, self.steps * self.length), "register", align=4)

    def first_channel(self, group: int) -> int:
        return max(min(group * self.c, self.channels - self.c), 0)

    def packed(self) -> np.ndarray:
        """int8: of every group, step by step, the terms of every channel; the last vector may read beyond them."""
        w = np.zeros((max(self.channels, self.c), self.steps * self.length), np.int8)
        w[: self.channels, : self.terms] = sums_of(self.spec).weights
        groups = [w[first : first + self.c] for first in map(self.first_channel, range(self.groups))]
        stepped = np.stack(groups).reshape(self.groups, self.c, self.steps, self.length).transpose(0, 2, 1, 3)
        return np.concatenate([stepped.reshape(-1), np.zeros(LANES - self.length, np.int8)])

    # ---- loops

    def program(self) -> Program:
        pixel = Var("p" if self.flat else "ox")
        blocks = -(-self.pixels_of_row // self.p)
        first: Expr = Var("block")
        if self.pixels_of_row % self.p:
            first = minimum(first, self.pixels_of_row - self.p)
        inputs_at_once = self.inputs_at_once(pixel) if self.steps <= AT_ONCE else ()
        groups = parallel("g", self.groups, *self.group(pixel))
        body = (Let(pixel.name, first), *self.gather(pixel), *inputs_at_once, groups)
        block: Block = (For("block", Const(0), Const(blocks * self.p), body, self.p, parallel=True),)
        if not self.flat:
            block = (parallel("n", self.spec.batch, parallel("oy", self.spec.rows.out, *block)),)
        constants = (self.x, self.bias, *self.scaling.scaling.tables, self.weights)
        inputs = (self.x,) if self.x.space == "input" else ()
        tables = tuple(b for b in constants if b.space == "const")
        return Program(self.original.name, (*inputs, self.y, *tables), block, self.spec)

    def group(self, pixel: Var) -> Block:
        """One group of channels of a block of pixels."""
        channel: Expr = Var("g") * self.c
        if self.channels % self.c and self.groups > 1:
            channel = minimum(channel, self.channels - self.c)
        first = Let("c", channel)
        totals = self.at_once(first.var) if self.steps <= AT_ONCE else self.by_kernel(pixel, first.var)
        result: list[Stmt] = [first, *totals]
        for v in range(0, self.c, FOUR):
            lets = self.scaling.lets(first.var + v, f"_{v}")
            result += lets
            for q in range(self.p):
                at = (pixel + q, first.var + v)
                index = at if self.flat else (Var("n"), Var("oy"), *at)
                active = Const(self.channels) if self.channels < FOUR else None
                result.append(Store(self.y, index, self.scaling.output(Var(f"sum_{q}_{v}", I32X4), lets), active))
        return tuple(result)

    def start(self, first: Expr, v: int) -> Let:
        return Let(f"start_{v}", Load(self.bias, (first + v,), I32X4))

    def inputs_at_once(self, pixel: Var) -> Block:
        """Few steps: every group finds the pixels' terms in registers."""
        return tuple(Let(f"x_{q}_{k}", self.x_at(pixel, q, Const(k))) for q in range(self.p) for k in range(self.steps))

    def at_once(self, first: Expr) -> Block:
        """Few steps, written out: a sum never leaves its register before it becomes a lane."""
        result: list[Stmt] = []
        for v in range(0, self.c, FOUR):
            start = self.start(first, v)
            result.append(start)
            sums: dict[tuple[int, int], Expr] = {}
            for k in range(self.steps):
                for c in range(v, v + FOUR):
                    w = Let(f"w_{c}_{k}", self.w_at(Const(k), c))
                    result.append(w)
                    for q in range(self.p):
                        before = sums.get((q, c))
                        args = (Var(f"x_{q}_{k}", I8X16), w.var)
                        term = Call(MLADAV, args) if before is None else Call(MLADAVA, (*args, before))
                        partial = Let(f"sum_{q}_{c}_{k}", term)
                        result.append(partial)
                        sums[q, c] = partial.var
            for q in range(self.p):
                lanes = Call(GATHERED, tuple(sums[q, c] for c in range(v, v + FOUR)))
                result.append(Let(f"sum_{q}_{v}", Call(ADD, (lanes, start.var))))
        return tuple(result)

    def by_kernel(self, pixel: Var, first: Expr) -> Block:
        """Many steps: a loop in assembly adds to all sums, which lie in memory before and after it."""
        sums = Buffer("sums", DType.I32, (self.p * self.c,), "register", align=4)
        result: list[Stmt] = [Alloc(sums)]
        for v in range(0, self.c, FOUR):
            start = self.start(first, v)
            result += [start, *(Store(sums, (Const(q * self.c + v),), start.var) for q in range(self.p))]
        result.append(self.kernel(pixel, sums))
        for v in range(0, self.c, FOUR):
            for q in range(self.p):
                result.append(Let(f"sum_{q}_{v}", Load(sums, (Const(q * self.c + v),), I32X4)))
        return tuple(result)

    def x_at(self, pixel: Var, q: int, k: Expr) -> Expr:
        """Pixel q's terms of step k."""
        active = Const(self.length) if self.length < LANES else None
        buffer, row = (self.patch, Const(q)) if self.patched else (self.x, pixel + q)
        return Load(buffer, (row, k * self.length), I8X16, active)

    def w_at(self, k: Expr, c: int) -> Expr:
        """Channel c's weights of step k."""
        at = (Var("g") * self.steps + k) * (self.c * self.length) + c * self.length
        return Load(self.weights, (at,), I8X16)

    def kernel(self, pixel: Var, sums: Buffer) -> Stmt:
        k = Var("k")
        xs = [Let(f"x_{q}", self.x_at(pixel, q, k)) for q in range(self.p)]
        body: list[Stmt] = list(xs)
        for c in range(self.c):
            w = Let(f"w_{c}", self.w_at(k, c))
            body.append(w)
            for q, x in enumerate(xs):
                place = (Const(q * self.c + c),)
                body.append(Store(sums, place, Call(MLADAVA, (x.var, w.var, Load(sums, place)))))
        return replace(serial("k", 0, self.steps, *body), kernel=self.unrolled)

    # ---- the patch

    def gather(self, pixel: Var) -> Block:
        """Fills the patch with the windows of the block's pixels."""
        if not self.patched:
            return ()
        result: list[Stmt] = [Alloc(self.patch)]
        for q in range(self.p):
            tail = range(self.terms, self.steps * self.length)
            result += [Store(self.patch, (Const(q), Const(k)), Const(0, DType.I8)) for k in tail]
            if self.flat:
                result += self.run(q, Const(0), (pixel + q,), Const(0), self.depth)
            else:
                result += self.window(q, pixel + q)
        return tuple(result)

    def window(self, q: int, at: Expr) -> Block:
        """Whole rows of the kernel where the window lies inside the input, tap by tap at the border."""
        s = self.spec
        rows, columns = s.rows, s.columns
        top = Let(f"top_{q}", Var("oy") * rows.stride - rows.pad_before)
        left = Let(f"left_{q}", at * columns.stride - columns.pad_before)
        ky, kx = Var(f"ky_{q}"), Var(f"kx_{q}")
        iy = Let(f"iy_{q}", top.var + ky * rows.dilation)
        ix = Let(f"ix_{q}", left.var + kx * columns.dilation)
        line = ky * (self.width * self.depth)
        whole = columns.dilation == 1
        across = self.run(q, line, (Var("n"), iy.var), left.var * self.depth, self.width * self.depth)
        tap = line + kx * self.depth
        copy = self.run(q, tap, (Var("n"), iy.var), ix.var * self.depth, self.depth)
        row = across if whole else (serial(kx.name, 0, self.width, ix, *copy),)
        inside: Block = (serial(ky.name, 0, self.height, iy, *row),)
        if self.height * -(-self.width * self.depth // LANES) <= WRITTEN_OUT:
            inside = unroll(unroll(inside, f"i_{q}"), ky.name)
        columns_inside = all_within(left.var, columns)
        window_inside = both(all_within(top.var, rows), columns_inside)
        if window_inside is None:
            return (top, left, *inside)
        if columns_inside is not None:
            tap_inside = within(ix.var, columns)
            assert tap_inside is not None
            careful = serial(kx.name, 0, self.width, ix, If(tap_inside, copy, self.fill(q, tap, self.depth)))
            row = (If(columns_inside, row, (careful,)),)
        row_inside = within(iy.var, rows)
        if row_inside is not None:
            row = (If(row_inside, row, self.fill(q, line, self.width * self.depth)),)
        border: Block = (serial(ky.name, 0, self.height, iy, *row),)
        known = bool(rows.inner) and bool(columns.inner)  # otherwise no window lies inside
        return (top, left, *((If(window_inside, inside, border),) if known else border))

    def run(self, q: int, position: Expr, row: tuple[Expr, ...], start: Expr, length: int) -> Block:
        """Copies `length` values of the input's `row` from `start` on to `position` in the patch."""
        return self.moved(q, position, length, lambda at, vector, active: self.read(row, start + at, vector, active))

    def read(self, row: tuple[Expr, ...], at: Expr, vector: bool, active: Expr | None) -> Expr:
        return Load(self.x, (*row, at), I8X16 if vector else None, active)

    def fill(self, q: int, position: Expr, length: int) -> Block:
        """The input's zero point in the same place."""
        value = Const(self.spec.arithmetic.input_zero_point, DType.I8)
        return self.moved(
            q, position, length, lambda at, vector, active: Call(SPREAD_I8, (value,)) if vector else value
        )

    def moved(self, q: int, position: Expr, length: int, value: Callable[[Expr, bool, Expr | None], Expr]) -> Block:
        """Stores that many values: full vectors, and the rest under a predicate, or one by one where they are few."""

        def move(at: Expr, vector: bool, active: Expr | None) -> Stmt:
            return Store(self.patch, (Const(q), position + at), value(at, vector, active), active)

        full, rest = divmod(length, LANES)
        i = Var(f"i_{q}")
        result: list[Stmt] = [serial(i.name, 0, full, move(i * LANES, True, None))] if full else []
        if rest > FEW:
            result.append(move(Const(full * LANES), True, Const(rest)))
        else:
            result += [move(Const(full * LANES + n), False, None) for n in range(rest)]
        return tuple(result)
