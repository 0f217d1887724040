"""AVERAGE_POOL_2D and MAX_POOL_2D: x (n, h, w, c) → y (n, h', w', c); padding takes no part in either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Const,
    Expr,
    Let,
    Program,
    Select,
    Var,
    accumulate,
    binary,
    cast,
    load,
    maximum,
    store,
)
from harness.compiler.lowering.building import Builder, clamped, parallel, tap_count, taps
from harness.compiler.lowering.quantise import activation_range, clamp_float, float_activation_range
from harness.compiler.lowering.window import Pair, Window, pad_2d, tap_view, windows_2d
from harness.compiler.ops import checks
from harness.compiler.ops.base import Case, Operator, activation_name, no_macs, padding_name, required_options
from harness.compiler.ops.channels import Ranges, Tied, straight
from harness.dtypes import DType

_SCALE_TOLERANCE = 1e-6  # TFLite's, between the scales of input and output


@dataclass(frozen=True)
class Pool2D:
    padding: str  # "SAME" or "VALID"
    stride: Pair  # (height, width), as all pairs
    filter: Pair
    activation: str  # "NONE", "RELU", "RELU6" or "RELU_N1_TO_1"


@dataclass(frozen=True)
class PoolParams:
    """int8: an average is sum / count of the taps inside the input, rounded half away from zero; then the clamp."""

    act_min: int
    act_max: int


def parse(table: tflite.Operator) -> Pool2D:
    options = required_options(table, "Pool2DOptions")
    return Pool2D(
        padding=padding_name(options.Padding()),
        stride=(options.StrideH(), options.StrideW()),
        filter=(options.FilterHeight(), options.FilterWidth()),
        activation=activation_name(options.FusedActivationFunction()),
    )


def windows(graph: Graph, op: Op) -> tuple[Window, Window]:
    """The windows along height and width."""
    attrs: Pool2D = op.attrs
    return windows_2d(attrs.padding, checks.operand(graph, op, 0).shape[1:3], attrs.filter, attrs.stride)


def quantisation(graph: Graph, op: Op) -> PoolParams:
    """The clamp of an int8 pool."""
    y = checks.output(graph, op)
    return PoolParams(*activation_range(op.attrs.activation, checks.quantised(graph, op, y), y.dtype))


def tap_counts(h: Window, w: Window) -> np.ndarray:
    """int64 (h.out, w.out): how many taps of each output lie inside the input."""
    rows = [len(h.taps(out)) for out in range(h.out)]
    columns = [len(w.taps(out)) for out in range(w.out)]
    return np.outer(rows, columns).astype(np.int64)


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 1, 1)
    dtype = checks.computes_in(graph, op, DType.I8, DType.F32)
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    for tensor in (x, y):
        checks.has_rank(graph, op, tensor, 4)
    checks.positive(graph, op, stride=op.attrs.stride, filter=op.attrs.filter)
    h, w = windows(graph, op)
    checks.has_shape(graph, op, y, (x.shape[0], h.out, w.out, x.shape[3]))
    if dtype is DType.I8:
        x_quant, y_quant = checks.quantised(graph, op, x), checks.quantised(graph, op, y)
        if abs(x_quant.scale - y_quant.scale) > _SCALE_TOLERANCE or x_quant.zero_point != y_quant.zero_point:
            checks.refuse(graph, op, "input and output are quantised differently", tensor=y)
        quantisation(graph, op)


def average_reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = inputs
    assert x is not None
    h, w = windows(graph, op)
    counts = tap_counts(h, w)[None, :, :, None]
    padded = pad_2d(x if x.dtype == np.float32 else x.astype(np.int64), h, w, 0)
    total = np.zeros((x.shape[0], h.out, w.out, x.shape[3]), padded.dtype)
    for ky in range(h.kernel):
        for kx in range(w.kernel):
            total += tap_view(padded, h, w, (ky, kx))
    if x.dtype == np.float32:
        return [clamp_float(total / counts.astype(np.float32), op.attrs.activation)]
    average = np.sign(total) * ((np.abs(total) + counts // 2) // counts)
    return [_clamp(graph, op, average)]


def max_reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = inputs
    assert x is not None
    h, w = windows(graph, op)
    lowest = float(np.finfo(np.float32).min) if x.dtype == np.float32 else DType.I8.min
    padded = pad_2d(x, h, w, lowest)
    largest = np.full((x.shape[0], h.out, w.out, x.shape[3]), lowest, x.dtype)
    for ky in range(h.kernel):
        for kx in range(w.kernel):
            largest = np.maximum(largest, tap_view(padded, h, w, (ky, kx)))
    return [clamp_float(largest, op.attrs.activation) if x.dtype == np.float32 else _clamp(graph, op, largest)]


def _clamp(graph: Graph, op: Op, y: np.ndarray) -> np.ndarray:
    params = quantisation(graph, op)
    return np.clip(y, params.act_min, params.act_max).astype(np.int8)


def channels(graph: Graph, op: Op) -> Tied | None:
    """Channel by channel; neither the largest nor the average of several values is outside of them."""
    x = checks.operand(graph, op, 0)
    if x.dtype is not DType.I8:
        return None
    params = quantisation(graph, op)

    def bounds(given: Sequence[Ranges | None]) -> Ranges:
        assert given[0] is not None
        return np.clip(given[0], params.act_min, params.act_max)

    return Tied(op.attrs, [straight(0, x.shape[3])], bounds)


def _lower(graph: Graph, op: Op, name: str, average: bool) -> Program:
    x = checks.operand(graph, op, 0)
    h, w = windows(graph, op)
    batch, depth = x.shape[0], x.shape[3]
    build = Builder(name)
    source = build.input("input", x.dtype, *x.shape)
    result = build.output(x.dtype, batch, h.out, w.out, depth)
    n, oy, ox, c = Var("n"), Var("oy"), Var("ox"), Var("c")
    integer = x.dtype.is_integer
    kind = DType.I32 if integer else DType.F32
    low, high = (0, 0)
    if integer:
        params = quantisation(graph, op)
        low, high = params.act_min, params.act_max
    bounds = (low, high) if integer else tuple(map(float, float_activation_range(op.attrs.activation)))
    acc = Buffer("total" if average else "largest", kind, (), "register")
    first = 0 if average else (DType.I8.min if integer else float(np.finfo(np.float32).min))

    def tap(iy: Expr, ix: Expr) -> Block:
        value = cast(load(source, n, iy, ix, c), kind)
        return (accumulate(acc, value) if average else store(acc, value=maximum(load(acc), value)),)

    sums = taps(h, oy, "ky", lambda iy: taps(w, ox, "kx", lambda ix: tap(iy, ix)))
    total: Expr = load(acc)
    counted: Block = ()
    if average:
        count = Let("count", tap_count(h, oy) * tap_count(w, ox))
        counted = (count,)
        total = _rounded_average(total, count.var) if integer else binary("div", total, cast(count.var, kind))
    if not integer or bounds != (x.dtype.min, x.dtype.max):  # neither pool leaves its input's range
        total = clamped(total, *bounds)
    body: Block = (
        Alloc(acc),
        store(acc, value=Const(first, kind)),
        *sums,
        *counted,
        store(result, n, oy, ox, c, value=cast(total, x.dtype)),
    )
    pixel = parallel("ox", w.out, parallel("c", depth, *body))
    return build.program(parallel("n", batch, parallel("oy", h.out, pixel)))


def _rounded_average(total: Expr, count: Expr) -> Expr:
    """total / count, half away from zero."""
    half = binary("shr", count, 1)
    up, down = binary("div", total + half, count), binary("div", total - half, count)
    return Select(total > 0, up, down)


def lower_average(graph: Graph, op: Op, name: str) -> Program:
    return _lower(graph, op, name, average=True)


def lower_max(graph: Graph, op: Op, name: str) -> Program:
    return _lower(graph, op, name, average=False)


CASES = (
    Case("halves", ((1, 6, 8, 4),), {"window": (2, 2)}),
    Case("global", ((1, 5, 5, 8),), {"window": (5, 5)}),
    Case("global_oblong", ((1, 25, 5, 4),), {"window": (25, 5)}),
    Case("same_3x3", ((1, 5, 7, 3),), {"window": (3, 3), "stride": (1, 1), "padding": "SAME"}),
    Case("same_stride_2", ((1, 6, 7, 3),), {"window": (3, 3), "stride": (2, 2), "padding": "SAME"}),
    Case("same_even_window", ((1, 5, 4, 2),), {"window": (4, 2), "stride": (1, 1), "padding": "SAME"}),
    Case("window_larger_than_input", ((1, 2, 3, 2),), {"window": (5, 5), "stride": (1, 1), "padding": "SAME"}),
    Case("valid_overlapping", ((1, 7, 6, 2),), {"window": (3, 2), "stride": (1, 2)}),
    Case("stride_over_window", ((1, 9, 8, 2),), {"window": (2, 2), "stride": (3, 4)}),
    Case("window_of_one", ((1, 3, 4, 5),), {"window": (1, 1), "activation": "RELU"}),
    Case("relu6", ((1, 4, 4, 3),), {"window": (2, 2), "activation": "RELU6"}),
    Case("relu_n1_to_1", ((1, 4, 4, 3),), {"window": (2, 2), "activation": "RELU_N1_TO_1"}),
    Case("zero_point_lowest", ((1, 4, 4, 3),), {"activation": "RELU6"}, quants=((0.04, -128),)),
    Case("batch_of_2", ((2, 4, 4, 3),), {"window": (2, 2)}),
    Case("float_same", ((1, 5, 7, 3),), {"window": (3, 3), "stride": (2, 1), "padding": "SAME"}, dtype="float32"),
    Case("float_relu", ((1, 6, 6, 3),), {"window": (3, 3), "activation": "RELU"}, dtype="float32"),
)

AVERAGE = Operator(
    "AVERAGE_POOL_2D",
    "average_pool",
    parse,
    check,
    average_reference,
    no_macs,
    CASES,
    lower_average,
    schedules.POOL,
    channels,
)
MAX = Operator(
    "MAX_POOL_2D", "max_pool", parse, check, max_reference, no_macs, CASES, lower_max, schedules.POOL, channels
)
