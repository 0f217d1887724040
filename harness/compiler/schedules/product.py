"""Convolution and matrix product as one register-blocked product, whatever the window.

    for each block of pixels:
        patch = the pixels' windows, what lies in the padding as the input's zero point
        for each group of channels:
            for k: every pixel's patch[k] * every channel's weights[k]          the kernel
            scale, clamp, store

A patch makes windows of any shape, stride, dilation and padding a run of numbers in the order the kernel reads them:
one body of code serves the border and the inside, and the zero point is in the bias for both. It costs a copy for each
input value of a window, the kernel a multiplication for each of those and each channel. A pointwise convolution in a
form that the kernel reads as it stands needs none.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.compiler.intrinsics.dsp import DIFFERENCE, LOW_BYTES, SMLAD, SXTB16, SXTB16_ROR8, wrapped
from harness.compiler.intrinsics.lanes import I8X4, I16X2
from harness.compiler.loops import (
    Alloc,
    Binary,
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
    cast,
    load,
    minimum,
    store,
)
from harness.compiler.lowering.building import parallel, serial
from harness.compiler.lowering.contraction import Arithmetic
from harness.compiler.render_asm import printable
from harness.compiler.schedule import unroll
from harness.compiler.schedules.blocking import Plan, all_within, both, room, within
from harness.compiler.schedules.rescale import Scaling, table
from harness.compiler.schedules.sums import sums_of
from harness.compiler.simplify import simplify
from harness.dtypes import DType

WRITTEN_OUT = 32  # a window of so few values is copied without loops

_PRINTABLE: dict[tuple[int, int, bool, bool, bool], bool] = {}  # forms of kernels, and whether each can be had


class Writer:
    """Writes the program of one plan."""

    def __init__(self, name: str, buffers: Sequence[Buffer], plan: Plan) -> None:
        """For the layer `name`, whose plain loops have these `buffers`."""
        self.name = name
        self.plan = plan
        self.spec = s = plan.spec
        self.arithmetic: Arithmetic = s.arithmetic
        (x,) = [b for b in buffers if b.space == "input"] or [
            b for b in buffers if b.space == "const" and b.name == "input"
        ]
        (y,) = [b for b in buffers if b.space == "output"]
        self.flat = s.pointwise
        # The kernel reads the input itself.
        self.direct = self.flat and (plan.blocking.narrow or not plan.blocking.pairs)
        self.channels, _, _, depth = s.weights.shape
        self.pixels_of_row = s.batch * s.rows.size * s.columns.size if self.flat else s.columns.out
        shape: tuple[int, ...] = (self.pixels_of_row, depth)
        out: tuple[int, ...] = (self.pixels_of_row, self.channels)
        if not self.flat:
            shape = (s.batch, s.rows.size, s.columns.size, depth)
            out = (s.batch, s.rows.out, s.columns.out, self.channels)
        data = None if x.data is None else x.data.reshape(shape)
        self.x = replace(x, shape=shape, data=data, align=4 if depth % 4 == 0 else 1)
        self.y = replace(y, shape=out)
        self.p = plan.blocking.pixels
        self.c = plan.blocking.channels
        padded = plan.groups * self.c
        self.scaling = Scaling.of(name, sums_of(s), padded, pairs=plan.blocking.pairs)
        starts = self.scaling.starts.copy()
        if plan.blocking.pairs:  # a sum of pairs is the lower sum and, above it, the upper one
            starts[1::2] += starts[::2]
        self.bias = table(f"{name}_bias", wrapped(starts).astype(np.int32))
        self.patch = self.patch_buffer()
        self.weights = self.packed()

    # ---- data

    def order(self) -> np.ndarray:
        """Position in the patch to position in the window: words are widened to bytes 0, 2 and then 1, 3."""
        positions = np.arange(self.plan.depth)
        if self.plan.blocking.pairs and self.words:
            return positions.reshape(-1, 2, 2).transpose(0, 2, 1).reshape(-1)
        return positions

    @property
    def words(self) -> bool:
        """Windows are copied four values at a time."""
        return self.spec.weights.shape[3] % 4 == 0

    def patch_buffer(self) -> Buffer | None:
        if self.direct:
            return None
        if self.plan.blocking.pairs:  # in words, the pixels' pairs lie side by side and are loaded two at a time
            pairs = (self.plan.depth // 2, self.p, 2)
            shape = pairs if self.words else (self.p, self.plan.depth)
            return room("patch", DType.I16, shape)
        return room("patch", DType.I8, (self.p, self.plan.depth))

    def packed(self) -> Buffer:
        """The weights in the order in which the kernel reads them.

        In pairs, two channels share 16 bits as 256 * upper + lower: a product with it is 256 times one plus the other.
        """
        w = np.zeros((self.plan.groups * self.c, self.plan.depth), np.int64)
        w[: self.channels, : self.spec.weights[0].size] = self.spec.weights.reshape(self.channels, -1)
        grouped = w[:, self.order()].reshape(self.plan.groups, self.c, self.plan.depth)
        name = f"{self.name}_weights"
        if not self.plan.blocking.pairs:
            return table(name, grouped.transpose(0, 2, 1).astype(np.int8))
        both = grouped[:, 1::2] * 256 + grouped[:, 0::2]
        lanes = both.reshape(self.plan.groups, self.c // 2, self.plan.depth // 2, 2)
        return table(name, lanes.transpose(0, 2, 1, 3).astype(np.int16), align=4)

    # ---- loops

    def program(self) -> Program:
        """With one iteration of the kernel written out."""
        pixel = Var("p" if self.flat else "ox")
        blocks = -(-self.pixels_of_row // self.p)
        body = (*self.gather(pixel), parallel("g", self.plan.groups, *self.group(pixel)))
        first: Expr = Var("block")
        if self.pixels_of_row % self.p:  # the last block reaches back, and computes some pixels a second time
            first = minimum(first, self.pixels_of_row - self.p)
        body = (Let(pixel.name, first), *body)
        over_pixels = For("block", Const(0), Const(blocks * self.p), body, self.p, parallel=True)
        block: Block = (over_pixels,)
        if not self.flat:
            s = self.spec
            block = (parallel("n", s.batch, parallel("oy", s.rows.out, *block)),)
        zeros: Block = ()
        if self.patch is not None and self.plan.depth > self.spec.weights[0].size:
            zeros = self.filling()
        tables = tuple(b for b in (self.x, self.bias, *self.scaling.tables, self.weights) if b.space == "const")
        inputs = (self.x,) if self.x.space == "input" else ()
        return Program(self.name, (*inputs, self.y, *tables), _inside(block, zeros), self.spec)

    def printable(self) -> bool:
        """Whether the kernel's values fit into the registers there are."""
        form = (self.p, self.c, self.plan.blocking.pairs, self.words, self.direct)
        if form not in _PRINTABLE:
            sums = Buffer("sums", DType.I32, (self.p * self.c,), "register")
            (loop,) = self.kernel(Var("p"), sums)
            assert isinstance(loop, For)
            _PRINTABLE[form] = printable(loop)
        return _PRINTABLE[form]

    def filling(self) -> Block:
        """Zeros where the last step of the kernel reads beyond the window: their weights are zero too."""
        assert self.patch is not None
        terms = self.spec.weights[0].size
        return tuple(
            self.put(q, Const(k), Const(0, self.patch.element))
            for q in range(self.p)
            for k in range(terms, self.plan.depth)
        )

    def at(self, q: Expr, k: Expr) -> tuple[Expr, ...]:
        """The index of the window's position k of pixel q in the patch, where positions keep their order."""
        if self.plan.blocking.pairs and self.words:
            return (Binary("shr", k, Const(1)), q, Binary("and", k, Const(1)))
        return (q, k)

    def put(self, q: int, k: Expr, value: Expr) -> Stmt:
        assert self.patch is not None
        return Store(self.patch, self.at(Const(q), k), value)

    def gather(self, pixel: Var) -> Block:
        """Fills the patch with the windows of the block's pixels."""
        if self.patch is None:
            return ()
        result: list[Stmt] = [Alloc(self.patch)]
        for q in range(self.p):
            at = pixel + q
            if self.flat:
                result += self.copy_run(q, Const(0), self.plan.spec.weights.shape[3], lambda i, at=at: (at, i))
            else:
                result += self.window(q, at)
        return tuple(result)

    def window(self, q: int, at: Expr) -> Block:
        s = self.spec
        depth = s.weights.shape[3]
        ky, kx = Var(f"ky_{q}"), Var(f"kx_{q}")
        n, oy = Var("n"), Var("oy")
        iy = Let(f"iy_{q}", oy * s.rows.stride + ky * s.rows.dilation - s.rows.pad_before)
        ix = Let(f"ix_{q}", at * s.columns.stride + kx * s.columns.dilation - s.columns.pad_before)
        position = (ky * s.weights.shape[2] + kx) * depth
        copy = self.copy_run(q, position, depth, lambda i: (n, iy.var, ix.var, i))
        zero_point = self.fill_run(q, position, depth)
        inside = both(within(iy.var, s.rows), within(ix.var, s.columns))
        tap: Block = (ix, *((If(inside, copy, zero_point),) if inside is not None else copy))
        across: Block = (serial(kx.name, 0, s.weights.shape[2], *tap),)
        if depth == 1 and s.weights.shape[2] <= 8:
            across = unroll(across, kx.name)
        loops: Block = (serial(ky.name, 0, s.weights.shape[1], iy, *across),)
        if self.words or s.weights[0].size > WRITTEN_OUT or not (s.rows.inner and s.columns.inner):
            return loops
        return self.written_out(q, at, loops)

    def written_out(self, q: int, at: Expr, loops: Block) -> Block:
        """A short window of odd depth, value by value where it lies inside the input, by `loops` at the border."""
        s = self.spec
        _, height, width, depth = s.weights.shape
        top = Let(f"top_{q}", Var("oy") * s.rows.stride - s.rows.pad_before)
        left = Let(f"left_{q}", at * s.columns.stride - s.columns.pad_before)
        copies: list[Stmt] = []
        for k, (y, x, i) in enumerate(np.ndindex(height, width, depth)):
            place = (Var("n"), top.var + y * s.rows.dilation, left.var + x * s.columns.dilation, Const(i))
            assert self.patch is not None
            copies.append(self.put(q, Const(k), cast(Load(self.x, place), self.patch.element)))
        inside = both(all_within(top.var, s.rows), all_within(left.var, s.columns))
        return (top, left, *((If(inside, tuple(copies), loops),) if inside is not None else copies))

    def copy_run(self, q: int, position: Expr, length: int, index) -> Block:  # type: ignore[no-untyped-def]
        """Copies `length` values of the input to `position` and on."""
        assert self.patch is not None
        i = Var(f"i_{q}")
        if self.words:
            word = Let(f"word_{q}", Load(self.x, index(i * 4), I8X4))
            if not self.plan.blocking.pairs:
                moved: Block = (Store(self.patch, (Const(q), position + i * 4), word.var),)
            else:
                row = (simplify(Binary("shr", position, Const(1))) + i * 2, Const(q), Const(0))
                next_row = (row[0] + 1, Const(q), Const(0))
                moved = (
                    Store(self.patch, row, Call(SXTB16, (word.var,))),
                    Store(self.patch, next_row, Call(SXTB16_ROR8, (word.var,))),
                )
            return (serial(i.name, 0, length // 4, word, *moved),)
        value = cast(Load(self.x, index(i)), self.patch.element)
        return (serial(i.name, 0, length, self.put(q, position + i, value)),)

    def fill_run(self, q: int, position: Expr, length: int) -> Block:
        assert self.patch is not None
        i = Var(f"i_{q}")
        value = Const(self.arithmetic.input_zero_point, self.patch.element)
        return (serial(i.name, 0, length, self.put(q, position + i, value)),)

    def sum_of(self, q: int, c: int) -> tuple[Const]:
        """Where the sum of pixel q and channel c of a block stands."""
        return (Const(q * self.c + c),)

    def group(self, pixel: Var) -> Block:
        g = Var("g")
        sums = Buffer("sums", DType.I32, (self.p * self.c,), "register")
        starts = [Let(f"start_{c}", load(self.bias, g * self.c + c)) for c in range(self.c)]
        result: list[Stmt] = [Alloc(sums), *starts]
        result += [Store(sums, self.sum_of(q, c), start.var) for q in range(self.p) for c, start in enumerate(starts)]
        result += self.kernel(pixel, sums)
        for c in range(self.c):
            result += self.finish(pixel, c, sums)
        return tuple(result)

    def kernel(self, pixel: Var, sums: Buffer) -> Block:
        k = Var("k")
        if self.plan.blocking.narrow:
            body = self.wordsteps(pixel, k, sums)
        elif self.plan.blocking.pairs:
            body = self.pairsteps(k, sums)
        else:
            body = self.scalarsteps(pixel, k, sums)
        return (For(k.name, Const(0), Const(self.plan.depth // self.plan.taken), body, kernel=1),)

    def pairsteps(self, k: Var, sums: Buffer) -> Block:
        assert self.patch is not None
        xs = []
        for q in range(self.p):
            at = (k, Const(q), Const(0)) if self.words else (Const(q), k * 2)
            xs.append(Let(f"x_{q}", Load(self.patch, at, I16X2)))
        return (*xs, *self.products(xs, k, sums))

    def wordsteps(self, pixel: Var, k: Var, sums: Buffer) -> Block:
        """Four terms: each pixel's word, its bytes 0 and 2, then 1 and 3."""
        words = [Let(f"word_{q}", Load(self.x, (pixel + q, k * 4), I8X4)) for q in range(self.p)]
        body: list[Stmt] = list(words)
        for half, widen in enumerate((SXTB16, SXTB16_ROR8)):
            xs = [Let(f"x_{q}_{half}", Call(widen, (word.var,))) for q, word in enumerate(words)]
            body += [*xs, *self.products(xs, k * 2 + half, sums, f"_{half}")]
        return tuple(body)

    def products(self, xs: Sequence[Let], k: Expr, sums: Buffer, suffix: str = "") -> Block:
        """Every pixel's pair times pair `k` of every channel."""
        places = [(Var("g"), k, Const(i), Const(0)) for i in range(self.c // 2)]
        words = [Let(f"w_{i}{suffix}", Load(self.weights, at, I16X2)) for i, at in enumerate(places)]
        body: list[Stmt] = []
        at_once = 2  # two words by one load
        for pair, word in enumerate(words):
            if pair % at_once == 0:
                body += words[pair : pair + at_once]
            lower = Let(f"low_{pair}{suffix}", Call(LOW_BYTES, (word.var,)))
            body += self.multiplied(xs, word, sums, 2 * pair + 1)
            body += [lower, *self.multiplied(xs, lower, sums, 2 * pair)]
        return tuple(body)

    def multiplied(self, xs: Sequence[Let], factor: Let, sums: Buffer, c: int) -> Block:
        """Every pixel's pair times that of channel c."""
        places = [self.sum_of(q, c) for q in range(self.p)]
        return tuple(
            Store(sums, at, Call(SMLAD, (x.var, factor.var, Load(sums, at)))) for x, at in zip(xs, places, strict=True)
        )

    def scalarsteps(self, pixel: Var, k: Var, sums: Buffer) -> Block:
        g = Var("g")
        ws = [Let(f"w_{c}", cast(load(self.weights, g, k, c), DType.I32)) for c in range(self.c)]
        xs = []
        for q in range(self.p):
            value: Expr = load(self.x, pixel + q, k) if self.patch is None else load(self.patch, q, k)
            xs.append(Let(f"x_{q}", cast(value, DType.I32)))
        # What there is less of stays in registers, the rest is loaded one by one.
        kept, passing = (ws, xs) if self.c <= self.p else (xs, ws)
        body: list[Stmt] = list(kept)
        for j, one in enumerate(passing):
            body.append(one)
            for i, other in enumerate(kept):
                q, c = (j, i) if passing is xs else (i, j)
                at = self.sum_of(q, c)
                body.append(Store(sums, at, Load(sums, at) + one.var * other.var))
        return tuple(body)

    def finish(self, pixel: Var, c: int, sums: Buffer) -> Block:
        """Scales, clamps and stores channel c of every pixel of the block."""
        channel = Var("g") * self.c + c
        kind = c % 2 if self.plan.blocking.pairs else 0
        lets = self.scaling.lets(channel, f"_{c}", kind)
        statements: list[Stmt] = list(lets)
        for q in range(self.p):
            total: Expr = Load(sums, self.sum_of(q, c))
            if kind:
                total = Call(DIFFERENCE, (total, Load(sums, self.sum_of(q, c - 1))))
            named, value = self.scaling.output(f"sum_{q}_{c}", total, lets, kind)
            at = pixel + q
            index = (at, channel) if self.flat else (Var("n"), Var("oy"), at, channel)
            statements += [*named, store(self.y, *index, value=value)]
        if self.channels % self.c and c >= self.channels % self.c:
            return (If(channel < self.channels, tuple(statements)),)
        return tuple(statements)


def with_steps(program: Program, iterations: int) -> Program:
    """`program` with so many iterations of its kernel written out."""

    def one(s: Stmt) -> Stmt:
        if not isinstance(s, For):
            return s
        if s.kernel:
            return replace(s, kernel=iterations)
        body = tuple(map(one, s.body))
        return s if all(map(operator.is_, body, s.body)) else replace(s, body=body)

    return replace(program, body=tuple(map(one, program.body)))


def _inside(block: Block, zeros: Block) -> Block:
    """`zeros` right behind the patch's declaration."""
    if not zeros:
        return block
    result: list[Stmt] = []
    for s in block:
        if isinstance(s, Alloc) and s.buffer.name == "patch":
            result += [s, *zeros]
        else:
            result.append(replace(s, body=_inside(s.body, zeros)) if isinstance(s, For) else s)
    return tuple(result)
