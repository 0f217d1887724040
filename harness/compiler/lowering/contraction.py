"""Loop programs of the operators that multiply and add: matrix product, convolution, depthwise convolution.

Each is the plain definition: one accumulator per output element, the zero point taken off every input element, taps
outside the input left out. How it is made fast is the schedules' business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from harness.compiler.graph import Graph, Op
from harness.compiler.loops import (
    Alloc,
    Binary,
    Block,
    Buffer,
    Const,
    Expr,
    Operand,
    Program,
    Store,
    Var,
    accumulate,
    load,
    store,
)
from harness.compiler.lowering.building import Builder, clamped, parallel, serial, taps, to_int8, wide
from harness.compiler.lowering.quantise import ConvParams, float_activation_range, requantise
from harness.compiler.lowering.window import Window
from harness.dtypes import DType


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """Types and quantisation of a contraction.

    For int8: `bias` int32 (channels,), `multipliers` and `shifts` int32 of one entry or one per channel, shifts with
    TFLite's sign. For float32 only `bias` and the activation's bounds count.
    """

    dtype: DType
    bias: np.ndarray
    low: int | float  # the activation's bounds, in the output's own units
    high: int | float
    input_zero_point: int = 0
    output_zero_point: int = 0
    multipliers: np.ndarray | None = None
    shifts: np.ndarray | None = None

    @property
    def accumulator(self) -> DType:
        return DType.I32 if self.dtype is DType.I8 else DType.F32

    def start(self, build: Builder, acc: Buffer, channel: Operand) -> Block:
        """acc = bias[channel] for int8; float sums start at zero and add the bias last, as the reference does."""
        if self.dtype is DType.F32:
            return (Alloc(acc), store(acc, value=Const(0.0, DType.F32)))
        return (Alloc(acc), store(acc, value=load(build.table("bias", self.bias), channel)))

    def step(self, acc: Buffer, x: Expr, w: Expr) -> Store:
        if self.dtype is DType.F32:
            return accumulate(acc, x * w)
        return accumulate(acc, wide(x, self.input_zero_point) * wide(w))

    def finish(self, build: Builder, acc: Buffer, channel: Operand, weights: np.ndarray) -> Expr:
        """The output element; `weights` (channels, ...) bound how large the sum can be."""
        if self.dtype is DType.F32:
            total = load(acc) + load(build.table("bias", self.bias), channel)
            return clamped(total, self.low, self.high)
        assert self.multipliers is not None
        assert self.shifts is not None
        heaviest = np.abs(weights.astype(np.int64)).reshape(weights.shape[0], -1).sum(axis=1)
        largest = int((np.abs(self.bias.astype(np.int64)) + 255 * heaviest).max())
        scaled = build.requantised(load(acc), self.multipliers, self.shifts, channel, largest)
        return to_int8(scaled, self.output_zero_point, int(self.low), int(self.high))


def arithmetic_of(graph: Graph, op: Op, channels: int, params: ConvParams | None) -> Arithmetic:
    """The arithmetic of CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED; `params` for int8, None for float32."""
    given = graph.operand(op, 2)
    bias = np.zeros(channels, np.float32 if params is None else np.int32) if given is None else given.data
    assert bias is not None  # the operators' rules refuse a bias that is computed
    if params is None:
        low, high = float_activation_range(op.attrs.activation)
        return Arithmetic(DType.F32, bias, float(low), float(high))
    return Arithmetic(
        DType.I8,
        bias,
        params.act_min,
        params.act_max,
        params.input_zero_point,
        params.output_zero_point,
        params.multipliers,
        params.shifts,
    )


@dataclass(frozen=True, eq=False)
class Contraction:
    """A convolution or matrix product as its schedules see it: weights (channels, kernel height, width, depth)."""

    arithmetic: Arithmetic
    batch: int
    rows: Window
    columns: Window
    weights: np.ndarray

    @property
    def pointwise(self) -> bool:
        """Each output pixel reads one input pixel, in order: a matrix product."""
        return _pointwise(self.rows) and _pointwise(self.columns)


@dataclass(frozen=True, eq=False)
class Depthwise:
    """A depthwise convolution with one output channel per input channel; weights (kernel height, width, channels)."""

    arithmetic: Arithmetic
    batch: int
    rows: Window
    columns: Window
    weights: np.ndarray


def settled(arithmetic: Arithmetic, weights: np.ndarray) -> tuple[Arithmetic, np.ndarray]:
    """The same function with nothing to compute in channels whose output no input changes; weights (channels, taps).

    Where the sums for the least and for the greatest inputs become one and the same output, the weights are zeros and
    the bias is what a plain scaling by 1/4 turns into that output. Such channels come with scales far from all others.
    Padding counts as the zero point, which is one of the inputs: the border is inside these bounds.
    """
    a = arithmetic
    if a.dtype is not DType.I8 or a.multipliers is None or a.shifts is None:
        return arithmetic, weights
    w = weights.astype(np.int64)
    ends = np.stack([w * (-128 - a.input_zero_point), w * (127 - a.input_zero_point)])
    sums = np.stack([ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)]) + a.bias
    channels = len(w)
    multipliers = np.broadcast_to(a.multipliers, channels).astype(np.int64)
    shifts = np.broadcast_to(a.shifts, channels).astype(np.int64)
    scaled = requantise(sums, multipliers, shifts) + a.output_zero_point
    low, high = np.clip(scaled, int(a.low), int(a.high))
    same = low == high
    if not same.any():
        return arithmetic, weights
    changed = replace(
        a,
        bias=np.where(same, 4 * (low - a.output_zero_point), a.bias).astype(np.int32),
        multipliers=np.where(same, 1 << 30, multipliers).astype(np.int32),
        shifts=np.where(same, -1, shifts).astype(np.int32),
    )
    return changed, np.where(same[:, np.newaxis], 0, weights).astype(weights.dtype)


def matmul(name: str, arithmetic: Arithmetic, rows: int, weights: np.ndarray) -> Program:
    """output[p, oc] = sum over k of input[p, k] * weights[oc, k]; input (rows, depth), weights (channels, depth)."""
    build = Builder(name)
    channels, depth = weights.shape
    x = build.input("input", arithmetic.dtype, rows, depth)
    y = build.output(arithmetic.dtype, rows, channels)
    w = build.weights(weights)
    p, oc, k = Var("p"), Var("oc"), Var("k")
    acc = Buffer("acc", arithmetic.accumulator, (), "register")
    body = (
        *arithmetic.start(build, acc, oc),
        serial("k", 0, depth, arithmetic.step(acc, load(x, p, k), load(w, oc, k))),
        store(y, p, oc, value=arithmetic.finish(build, acc, oc, weights)),
    )
    program = build.program(parallel("p", rows, parallel("oc", channels, *body)))
    line = Window.of("VALID", rows, 1, 1)
    one = Window.of("VALID", 1, 1, 1)
    known, kernel = settled(arithmetic, weights)
    return replace(program, origin=Contraction(known, 1, line, one, kernel.reshape(channels, 1, 1, depth)))


def convolution(
    name: str, arithmetic: Arithmetic, batch: int, rows: Window, columns: Window, weights: np.ndarray
) -> Program:
    """NHWC convolution with weights (channels, kernel height, kernel width, input channels).

    Where the columns have no dilation, a window's row is one run of width x channels elements in memory, in the input
    as in the weights, and is one loop.
    """
    if batch == 1 and _pointwise(rows) and _pointwise(columns):
        return matmul(name, arithmetic, rows.size * columns.size, weights.reshape(weights.shape[0], -1))
    build = Builder(name)
    channels, height, width, depth = weights.shape
    oy, ox, oc, ky = Var("oy"), Var("ox"), Var("oc"), Var("ky")
    acc = Buffer("acc", arithmetic.accumulator, (), "register")
    y = build.output(arithmetic.dtype, batch, rows.out, columns.out, channels)
    n: Expr = Var("n")

    def row(contents: Callable[[Expr], Block]) -> Block:
        return taps(rows, oy, "ky", contents)

    if columns.dilation == 1:
        x = build.input("input", arithmetic.dtype, batch, rows.size, columns.size * depth)
        w = build.weights(weights.reshape(channels, height, width * depth))
        k = Var("k")
        sums = row(
            lambda iy: taps(
                columns, ox, "k", lambda at: (arithmetic.step(acc, load(x, n, iy, at), load(w, oc, ky, k)),), depth
            )
        )
    else:
        x = build.input("input", arithmetic.dtype, batch, rows.size, columns.size, depth)
        w = build.weights(weights)
        kx, ic = Var("kx"), Var("ic")
        step = _deep(arithmetic, acc, x, w, n, oc, ky, kx, ic, depth)
        sums = row(lambda iy: taps(columns, ox, "kx", lambda ix: step(iy, ix)))
    body = (
        *arithmetic.start(build, acc, oc),
        *sums,
        store(y, n, oy, ox, oc, value=arithmetic.finish(build, acc, oc, weights)),
    )
    pixel = parallel("ox", columns.out, parallel("oc", channels, *body))
    program = build.program(parallel("n", batch, parallel("oy", rows.out, pixel)))
    known, kernel = settled(arithmetic, weights.reshape(channels, -1))
    return replace(program, origin=Contraction(known, batch, rows, columns, kernel.reshape(weights.shape)))


def _deep(
    arithmetic: Arithmetic, acc: Buffer, x: Buffer, w: Buffer, n: Expr, oc: Var, ky: Var, kx: Var, ic: Var, depth: int
) -> Callable[[Expr, Expr], Block]:
    def step(iy: Expr, ix: Expr) -> Block:
        return (serial("ic", 0, depth, arithmetic.step(acc, load(x, n, iy, ix, ic), load(w, oc, ky, kx, ic))),)

    return step


def depthwise(
    name: str, arithmetic: Arithmetic, batch: int, rows: Window, columns: Window, weights: np.ndarray, depth: int
) -> Program:
    """NHWC depthwise convolution with weights (kernel height, kernel width, channels); channel c reads input channel
    c / (channels / depth). With one input channel it is an ordinary convolution and is lowered as that.
    """
    _height, _width, channels = weights.shape
    if depth == 1:
        return convolution(name, arithmetic, batch, rows, columns, weights.transpose(2, 0, 1)[..., np.newaxis])
    build = Builder(name)
    x = build.input("input", arithmetic.dtype, batch, rows.size, columns.size, depth)
    y = build.output(arithmetic.dtype, batch, rows.out, columns.out, channels)
    w = build.weights(weights)
    oy, ox, c, ky, kx = Var("oy"), Var("ox"), Var("c"), Var("ky"), Var("kx")
    n: Expr = Var("n")
    acc = Buffer("acc", arithmetic.accumulator, (), "register")
    each = channels // depth
    source: Expr = c
    channel: Expr = c
    if each > 1:
        channel = Binary("add", c * each, Var("m"))
    sums = taps(
        rows,
        oy,
        "ky",
        lambda iy: taps(
            columns,
            ox,
            "kx",
            lambda ix: (arithmetic.step(acc, load(x, n, iy, ix, source), load(w, ky, kx, channel)),),
        ),
    )
    body: Block = (
        *arithmetic.start(build, acc, channel),
        *sums,
        store(y, n, oy, ox, channel, value=arithmetic.finish(build, acc, channel, weights.transpose(2, 0, 1))),
    )
    if each > 1:
        body = (parallel("m", each, *body),)
    pixel = parallel("ox", columns.out, parallel("c", depth, *body))
    program = build.program(parallel("n", batch, parallel("oy", rows.out, pixel)))
    if each > 1:
        return program
    known, kernel = settled(arithmetic, weights.reshape(-1, channels).T)
    return replace(program, origin=Depthwise(known, batch, rows, columns, kernel.T.reshape(weights.shape)))


def _pointwise(window: Window) -> bool:
    return window.kernel == 1 and window.stride == 1 and window.pad_before == 0 and window.size == window.out
