"""SOFTMAX along the last dimension: x (..., depth) → y (..., depth).

The int8 kernel is gemmlowp's fixed-point arithmetic. Qm.n below is an int32 with m integer and n fraction bits.
exp(x - max) depends on nothing but the difference, an integer 0 .. 255, so the whole exponential is a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.intrinsics.floating import EXP
from harness.compiler.loops import Alloc, Block, Buffer, Const, Program, Var, accumulate, binary, call, load, store
from harness.compiler.lowering.building import Builder, parallel, serial
from harness.compiler.lowering.quantise import I32_MAX, divide_by_pot, high_mul, quantize_multiplier
from harness.compiler.lowering.softmax import (
    ACCUMULATION_BITS,
    FORTY_EIGHT_OVER_17,
    MINUS_32_OVER_17,
    NEWTON_STEPS,
    ONE_Q2,
    OUTPUT_ZERO_POINT,
    Exponentials,
    int8_row,
    row_maximum,
)
from harness.compiler.ops import checks
from harness.compiler.ops.base import Case, Operator, no_macs, required_options
from harness.dtypes import DType

_DIFFERENCE_BITS = 5  # integer bits of the scaled difference, Q5.26
MAX_DEPTH = (1 << ACCUMULATION_BITS) - 1  # that many ones still fit the sum
OUTPUT_SCALE = 1 / 256  # what TFLite demands of an int8 output, with OUTPUT_ZERO_POINT

_EXP_MINUS_EIGHTH = 1895147668  # Q0.31
_ONE_THIRD = 715827883  # Q0.31
_EXP_MINUS_POWER = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)  # Q0.31: exp(-2^-2 .. -2^4)


@dataclass(frozen=True)
class Softmax:
    beta: float  # the input is multiplied by it; float32 value held exactly


@dataclass(frozen=True)
class SoftmaxParams:
    """Integer parameters of the exponential; `softmax_exp_table` has them worked in."""

    multiplier: int  # input difference to Q5.26: high_mul(difference << left_shift, multiplier)
    left_shift: int
    diff_min: int  # differences below it count as exp = 0


def parse(table: tflite.Operator) -> Softmax:
    return Softmax(float(required_options(table, "SoftmaxOptions").Beta()))


def softmax_params(beta: float, scale: float) -> SoftmaxParams:
    """PreprocessSoftmaxScaling and CalculateInputRadius for an int8 input of `scale`; beta * scale > 2^-26."""
    fraction_bits = 31 - _DIFFERENCE_BITS
    multiplier, left_shift = quantize_multiplier(min(beta * scale * 2.0**fraction_bits, 2.0**31 - 1))
    radius = math.floor(((1 << _DIFFERENCE_BITS) - 1) * 2.0**fraction_bits / 2.0**left_shift)
    return SoftmaxParams(multiplier, left_shift, -radius)


def quantisation(graph: Graph, op: Op) -> SoftmaxParams:
    """Integer parameters of an int8 softmax."""
    return softmax_params(op.attrs.beta, checks.quantised(graph, op, checks.operand(graph, op, 0)).scale)


def softmax_exp_table(beta: float, scale: float) -> np.ndarray:
    """int32[256]: exp(-d * beta * scale) in Q0.31 at index d = max - x, and 0 where TFLite skips the element.

    What remains per row of `depth` elements, exactly:

        d[c]    = max(x) - x[c]                                         0 .. 255
        sum     = Σ divide_by_pot(table[d[c]], 12)                      Q12.19, 2^19 .. 2^31 - 1: ones are 2^19
        zeros   = leading zero bits of sum as uint32                    1 .. 12
        f       = (uint32(sum) << zeros) - 2^31                         Q0.31: sum = (1 + f) 2^(31 - zeros)
        recip   = reciprocal(f)                                         Q0.31: 1 / (1 + f), see below
        y[c]    = clamp(divide_by_pot(high_mul(recip, table[d[c]]), 35 - zeros) - 128, -128, 127)

    12 - zeros is gemmlowp's num_bits_over_unit, recip its shifted_scale, and 35 - zeros = num_bits_over_unit + 31 - 8.
    Rows of up to 511 elements keep it at 31 or below; in longer ones that are nearly flat it can reach 34, where TFLite
    is undefined and the value meant is 0, as high_mul's result is below 2^31.
    divide_by_pot rounds to nearest with ties away from zero, high_mul with ties up. A zero entry adds nothing to the
    sum and gives -128, as skipping the element does. With the division of a whole row by one reciprocal:

        half    = (f + 2^31) >> 1                                       Q0.31, (1 + f) / 2
        r       = 1515870810 + high_mul(half, -1010580540)              Q2.29
        3 times: r += saturating_shift_left(high_mul(r, 2^29 - high_mul(half, r)), 2)
        recip   = saturating_shift_left(r, 1)                           Q0.31

    The left shifts saturate to int32. f + 2^31 needs 33 bits, half does not.
    """
    params = softmax_params(beta, scale)
    differences = np.arange(256, dtype=np.int64)
    kept = -differences >= params.diff_min
    scaled = high_mul(np.where(kept, -differences, 0) << params.left_shift, params.multiplier)
    return np.where(kept, _exp_on_negative_values(scaled), 0).astype(np.int32)


def _exp_on_negative_values(a: np.ndarray) -> np.ndarray:
    """exp(a) in Q0.31 for a <= 0 in Q5.26: gemmlowp's function of that name."""
    quarter = 1 << 24
    offset = (a & (quarter - 1)) - quarter  # a modulo 1/4, in [-1/4, 0)
    result = _exp_of_quarter(_shift_left(offset, _DIFFERENCE_BITS))
    remainder = offset - a  # a multiple of 1/4: one factor for each of its bits
    for bit, factor in enumerate(_EXP_MINUS_POWER, start=24):
        result = np.where(remainder & (1 << bit), high_mul(result, factor), result)
    return np.where(a == 0, I32_MAX, result)


def _exp_of_quarter(a: np.ndarray) -> np.ndarray:
    """exp(a) for a in [-1/4, 0), Q0.31: Taylor's series of the fourth degree around -1/8."""
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    tail = divide_by_pot(high_mul(divide_by_pot(x4, 2) + x3, _ONE_THIRD) + x2, 1)
    return _EXP_MINUS_EIGHTH + high_mul(_EXP_MINUS_EIGHTH, x + tail)


def reciprocal(f: np.ndarray) -> np.ndarray:
    """1 / (1 + f) in Q0.31 for f in [0, 1) in Q0.31: gemmlowp's one_over_one_plus_x_for_x_in_0_1. int64."""
    half = (np.asarray(f, np.int64) + I32_MAX + 1) >> 1
    r = FORTY_EIGHT_OVER_17 + high_mul(half, MINUS_32_OVER_17)
    for _ in range(NEWTON_STEPS):
        r = r + _shift_left(high_mul(r, ONE_Q2 - high_mul(half, r)), 2)
    return _shift_left(r, 1)


def _shift_left(x: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(x << bits, DType.I32.min, I32_MAX)


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 1, 1)
    dtype = checks.computes_in(graph, op, DType.I8, DType.F32)
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    if not x.shape:
        checks.refuse(graph, op, "a scalar has no dimension to run along", tensor=x)
    checks.has_shape(graph, op, y, x.shape)
    beta = op.attrs.beta
    if not (math.isfinite(beta) and beta > 0):
        checks.refuse(graph, op, f"beta {beta}; it must be above 0 and finite")
    if dtype is not DType.I8:
        return
    if x.shape[-1] > MAX_DEPTH:
        checks.refuse(graph, op, f"{x.shape[-1]} elements a row; int8 softmax sums at most {MAX_DEPTH}", tensor=x)
    scale = checks.quantised(graph, op, x).scale
    if beta * scale * 2.0 ** (31 - _DIFFERENCE_BITS) <= 1:
        checks.refuse(graph, op, f"beta * input scale = {beta * scale:g} is below 2^-26", tensor=x)
    y_quant = checks.quantised(graph, op, y)
    if abs(y_quant.scale - OUTPUT_SCALE) > OUTPUT_SCALE / 1000 or y_quant.zero_point != OUTPUT_ZERO_POINT:
        what = f"scale {y_quant.scale:g} and zero point {y_quant.zero_point} where 1/256 and -128 belong"
        checks.refuse(graph, op, what, tensor=y)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = inputs
    assert x is not None
    if x.dtype == np.float32:
        return [_float(x, op.attrs.beta)]
    table = softmax_exp_table(op.attrs.beta, checks.quantised(graph, op, checks.operand(graph, op, 0)).scale)
    exps = table[x.max(axis=-1, keepdims=True).astype(np.int64) - x].astype(np.int64)
    total = divide_by_pot(exps, ACCUMULATION_BITS).sum(axis=-1, keepdims=True)
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)  # exact: a double holds the sum
    recip = reciprocal((total << zeros) - (1 << 31))
    y = divide_by_pot(high_mul(recip, exps), 35 - zeros) + OUTPUT_ZERO_POINT
    return [np.clip(y, DType.I8.min, DType.I8.max).astype(np.int8)]


def _float(x: np.ndarray, beta: float) -> np.ndarray:
    """float32, summed from left to right; exp is rounded from double, where a C library's expf may be 1 ULP off."""
    scaled = (x - x.max(axis=-1, keepdims=True)) * np.float32(beta)
    exps = np.exp(scaled.astype(np.float64)).astype(np.float32)
    total = np.add.accumulate(exps, axis=-1, dtype=np.float32)[..., -1:]
    return exps / total


def lower(graph: Graph, op: Op, name: str) -> Program:
    x = checks.operand(graph, op, 0)
    depth = x.shape[-1]
    rows = x.elements // depth
    build = Builder(name)
    source, result = build.input("input", x.dtype, rows, depth), build.output(x.dtype, rows, depth)
    if x.dtype is DType.F32:
        return build.program(parallel("r", rows, *_lower_float(source, result, op.attrs.beta)))
    scale = checks.quantised(graph, op, x).scale
    origin = Exponentials(source, result, build.table("exps", softmax_exp_table(op.attrs.beta, scale)))
    return replace(build.program(parallel("r", rows, *int8_row(origin))), origin=origin)


def _lower_float(source: Buffer, result: Buffer, beta: float) -> Block:
    depth = source.shape[1]
    r, c = Var("r"), Var("c")
    top, total = (Buffer(name, DType.F32, (), "register") for name in ("top", "total"))
    exp = call(EXP, (load(source, r, c) - load(top)) * beta)
    return (
        *row_maximum(source, top, DType.F32),
        Alloc(total),
        store(total, value=Const(0.0, DType.F32)),
        serial("c", 0, depth, accumulate(total, exp)),
        parallel("c", depth, store(result, r, c, value=binary("div", exp, load(total)))),
    )


CASES = (
    Case("two", ((1, 2),)),
    Case("twelve", ((1, 12),)),
    Case("one_element", ((1, 1),)),
    Case("rows", ((5, 10),)),
    Case("four_dimensions", ((1, 3, 2, 7),)),
    Case("one_dimension", ((9,),)),
    Case("deep", ((2, 1000),)),
    Case("deepest_without_overflow", ((2, 511),), quants=((0.00001, 0),)),
    Case("fine_scale", ((3, 16),), quants=((0.0005, 3),)),
    Case("finest_scale", ((2, 16),), quants=((1.7e-8, 0),)),
    Case("coarse_scale", ((3, 16),), quants=((1.3, -20),)),
    Case("coarsest_scale", ((3, 16),), quants=((40.0, 0),)),
    Case("typical_scale", ((4, 20),), quants=((0.1, 13),)),
    Case("beta_below_1", ((3, 16),), {"beta": 0.25}),
    Case("beta_above_1", ((3, 16),), {"beta": 3.5}),
    Case("float", ((3, 12),), dtype="float32"),
    Case("float_beta", ((2, 5, 6),), {"beta": 0.7}, dtype="float32"),
)

OPERATOR = Operator("SOFTMAX", "softmax", parse, check, reference, no_macs, CASES, lower, schedules.SOFTMAX)
