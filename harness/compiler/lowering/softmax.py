"""Loop programs of softmax: rows of `depth` elements, each of which needs its row's maximum and sum first.

`ops.softmax.softmax_exp_table` has the arithmetic of int8 rows in formulas, and their names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.compiler.intrinsics.fixed_point import CLZ, DIVIDE_BY_POT, HIGH_MUL, SATURATING_SHL
from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Const,
    Expr,
    Let,
    Select,
    Var,
    accumulate,
    call,
    cast,
    load,
    maximum,
    minimum,
    store,
)
from harness.compiler.lowering.building import parallel, serial, to_int8
from harness.dtypes import DType

ACCUMULATION_BITS = 12  # integer bits of the sum of exponentials, Q12.19
OUTPUT_ZERO_POINT = -128  # what TFLite demands of an int8 output
FORTY_EIGHT_OVER_17, MINUS_32_OVER_17 = 1515870810, -1010580540  # Q2.29
ONE_Q2 = 1 << 29
NEWTON_STEPS = 3


@dataclass(frozen=True, eq=False)
class Exponentials:
    """Origin of the program of int8 rows: what a schedule needs to write it anew."""

    source: Buffer  # int8 (rows, depth)
    result: Buffer  # int8 (rows, depth)
    exps: Buffer  # int32 (256,): the exponential of a difference to the row's maximum, 0 … 2^31 - 1


def row_maximum(source: Buffer, top: Buffer, kind: DType) -> Block:
    """`top` becomes the largest element of row r."""
    lowest = DType.I8.min if kind is DType.I32 else float(np.finfo(np.float32).min)
    each = cast(load(source, Var("r"), Var("c")), kind)
    return (
        Alloc(top),
        store(top, value=Const(lowest, kind)),
        serial("c", 0, source.shape[1], store(top, value=maximum(load(top), each))),
    )


def int8_row(of: Exponentials) -> Block:
    """Row r by the reference's own steps, with its f and half rearranged so that nothing leaves int32."""
    depth = of.source.shape[1]
    r, c = Var("r"), Var("c")
    top, total = (Buffer(name, DType.I32, (), "register") for name in ("top", "total"))
    root = Buffer("root", DType.I32, (), "register")
    exp = load(of.exps, load(top) - cast(load(of.source, r, c), DType.I32))
    zeros, half = significand(total)
    correction = call(HIGH_MUL, load(root), ONE_Q2 - call(HIGH_MUL, half.var, load(root)))
    newton = store(root, value=load(root) + call(SATURATING_SHL, correction, 2))
    scaled: Expr = call(DIVIDE_BY_POT, call(HIGH_MUL, Var("reciprocal"), exp), minimum(35 - zeros.var, 31))
    if depth >= 1 << (28 - 19):  # a sum this large can ask for a shift past 31, which leaves nothing
        scaled = Select(zeros.var < 4, Const(0), scaled)
    y = to_int8(scaled, OUTPUT_ZERO_POINT, DType.I8.min, DType.I8.max)
    return (
        *row_maximum(of.source, top, DType.I32),
        Alloc(total),
        store(total, value=0),
        serial("c", 0, depth, accumulate(total, call(DIVIDE_BY_POT, exp, ACCUMULATION_BITS))),
        zeros,
        half,
        Alloc(root),
        store(root, value=FORTY_EIGHT_OVER_17 + call(HIGH_MUL, half.var, MINUS_32_OVER_17)),
        *(newton,) * NEWTON_STEPS,
        Let("reciprocal", call(SATURATING_SHL, load(root), 1)),
        parallel("c", depth, store(of.result, r, c, value=y)),
    )


def significand(total: Buffer) -> tuple[Let, Let]:
    """`zeros`, the leading zero bits of the sum, and `half`, what is left of it without them: Q0.31, in [1/2, 1)."""
    zeros = Let("zeros", call(CLZ, load(total)))
    leading = Const(1) << (31 - zeros.var)
    return zeros, Let("half", (((load(total) - leading) << zeros.var) >> 1) + (1 << 30))
