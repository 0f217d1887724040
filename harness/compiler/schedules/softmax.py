"""Softmax of int8 rows with as few instructions an element as its table of exponentials allows.

The reference rounds twice what an element is multiplied by, the loops as lowered round for any sign. Here nothing is
negative, and half of it has one value a row. With e = exps[d] and s = 35 - zeros, the reference's shift:

    (e + 2^11) >> 12 is what an element adds to the sum: one instruction that shifts and one that adds the carry
    q = (((recip * e + 2^30) >> 31) + 2^(s - 1)) >> s, both divisions round down,
      = (recip * e + 2^30 + 2^(s + 30)) >> (s + 31), so they are one,
      = (2^(s - 2) + ((recip * e + 2^30) >> 32)) >> (s - 1)

q is 0 … 256, so that q - (q >> 8) is what saturates it. Where zeros < 4 the reference has 0: a shift of 31 with 2^30
gives that too, since the product's high word is below 2^30.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from harness.board import Target
from harness.compiler.intrinsics.fixed_point import HIGH_MUL, SHIFT_ADD
from harness.compiler.intrinsics.softmax import HIGH_ADD_QUARTER
from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Const,
    Expr,
    Let,
    Program,
    Store,
    Var,
    accumulate,
    call,
    cast,
    load,
    minimum,
    store,
)
from harness.compiler.lowering.building import parallel, serial
from harness.compiler.lowering.quantise import divide_by_pot
from harness.compiler.lowering.softmax import (
    ACCUMULATION_BITS,
    FORTY_EIGHT_OVER_17,
    MINUS_32_OVER_17,
    NEWTON_STEPS,
    ONE_Q2,
    OUTPUT_ZERO_POINT,
    Exponentials,
    row_maximum,
    significand,
)
from harness.compiler.schedule import unroll
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.common import finished, tidy
from harness.dtypes import DType

I8, I32 = DType.I8, DType.I32


@dataclass(frozen=True)
class SoftmaxRows:
    """Row by row, in three loops: the maximum, the sum, the elements."""

    terms: str
    at_once: int
    name: ClassVar[str] = "softmax_rows"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("terms", ("shifted", "table"), "of the sum: exponentials shifted, or a second table, of 1 KB"),
        Knob("at_once", (1, 2, 4), "elements an iteration"),
    )

    def draft(self, program: Program, target: Target) -> Program | None:
        of = program.origin
        if not isinstance(of, Exponentials) or self.at_once > of.source.shape[1]:
            return None
        if of.source not in program.buffers:  # rows that are constants, under other buffers
            return None
        buffers = program.buffers
        terms: Buffer | None = None
        if self.terms == "table":
            if of.source.elements < of.exps.elements:  # each entry would serve less than one element
                return None
            terms = _terms(of.exps)
            buffers = (*buffers, terms)
        *sums, writing = _row(of, terms)
        row = unroll(tuple(sums), "c", self.at_once)
        # Where a product is made of halves of 16 bits, one element wants all the registers there are.
        row += unroll((writing,), "c", self.at_once if "thumb2" in target.instructions else 1)
        return tidy(replace(program, buffers=buffers, body=(parallel("r", of.source.shape[0], *row),)))

    def finish(self, draft: Program) -> Program:
        return finished(draft)


def _terms(exps: Buffer) -> Buffer:
    """What each exponential adds to the sum, Q12.19."""
    assert exps.data is not None
    data = divide_by_pot(exps.data.astype("int64"), ACCUMULATION_BITS).astype("int32")
    return Buffer("terms", I32, exps.shape, "const", data)


def _row(of: Exponentials, terms: Buffer | None) -> Block:
    depth = of.source.shape[1]
    r, c = Var("r"), Var("c")
    top, total, root = (Buffer(name, I32, (), "register") for name in ("top", "total", "root"))
    difference = load(top) - cast(load(of.source, r, c), I32)
    exp = load(of.exps, difference)
    zeros, half = significand(total)
    shift, rounding, quotient = quotient_of(Var("reciprocal"), exp, zeros.var)
    q = Let("q", quotient)
    y = cast(q.var - (q.var >> 8) + OUTPUT_ZERO_POINT, I8)
    return (
        *row_maximum(of.source, top, I32),
        Alloc(total),
        store(total, value=0),
        serial("c", 0, depth, _added(total, exp, None if terms is None else load(terms, difference))),
        zeros,
        half,
        *reciprocal_of(half.var, root),
        shift,
        rounding,
        parallel("c", depth, q, store(of.result, r, c, value=y)),
    )


def quotient_of(reciprocal: Expr, exp: Expr, zeros: Expr) -> tuple[Let, Let, Expr]:
    """q, 0 … 256, and what it takes of the row before: `shift` and `rounding`."""
    shift = Let("shift", minimum(34 - zeros, 31))
    rounding = Let("rounding", Const(1) << (shift.var - 1))
    return shift, rounding, call(HIGH_ADD_QUARTER, reciprocal, exp, rounding.var) >> shift.var


def _added(total: Buffer, exp: Expr, term: Expr | None) -> Store:
    if term is not None:
        return accumulate(total, term)
    return store(total, value=call(SHIFT_ADD, exp, ACCUMULATION_BITS, load(total)))


def reciprocal_of(half: Expr, root: Buffer) -> Block:
    """`reciprocal` of the row, in the reference's steps; nothing there saturates but the last shift.

    The first estimate of 1 / half is off by at most 1/17 of it, so a correction is below 2^27 with its two bits more.
    """
    correction = call(HIGH_MUL, load(root), ONE_Q2 - call(HIGH_MUL, half, load(root)))
    newton = store(root, value=load(root) + correction * 4)
    # 2^30 and no more is 1.0, which Q0.31 has not: 2^31 - 1.
    doubled = minimum(load(root), (1 << 30) - 1) * 2 + (load(root) >> 30)
    return (
        Alloc(root),
        store(root, value=FORTY_EIGHT_OVER_17 + call(HIGH_MUL, half, MINUS_32_OVER_17)),
        *(newton,) * NEWTON_STEPS,
        Let("reciprocal", doubled),
    )
