"""Scaling a sum to an output: against the definition in exact integers, around every tie."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.compiler.interpret import run
from harness.compiler.intrinsics.base import Intrinsic
from harness.compiler.intrinsics.fixed_point import HIGH_MUL_SHORT, RESCALE, RESCALE_UP, SHIFT_ADD
from harness.compiler.loops import Buffer, Call, Const, For, Program, Var, load, store
from harness.dtypes import DType
from harness.errors import CompilerBug

I32 = DType.I32
MULTIPLIERS = st.integers(1 << 30, (1 << 31) - 1)
SUMS = st.integers(-(1 << 30) + 1, (1 << 30) - 1)


def nearest(value: Fraction, *, ties_up: bool) -> int:
    """The nearest integer; ties up, or away from zero."""
    floor = value.numerator // value.denominator
    rest = value - floor
    if rest != Fraction(1, 2):
        return floor + (rest > Fraction(1, 2))
    return floor + 1 if ties_up or value > 0 else floor


def defined(acc: int, multiplier: int, shift: int, zero_point: int) -> int:
    high = nearest(Fraction(acc * multiplier, 1 << 31), ties_up=True)
    return nearest(Fraction(high, 1 << shift), ties_up=False) + zero_point


def meaning(intrinsic: Intrinsic, *args: int) -> int:
    return int(intrinsic.meaning(*map(np.asarray, args)))


@given(SUMS, MULTIPLIERS, st.integers(1, 31), st.integers(-128, 127))
@example(-(1 << 29), 1 << 30, 28, 0)  # a tie below zero
@example(1 << 29, 1 << 30, 28, 0)
def test_rescale_is_as_defined(acc: int, multiplier: int, shift: int, zero_point: int) -> None:
    assert meaning(RESCALE, acc, multiplier, shift, zero_point) == defined(acc, multiplier, shift, zero_point)


@given(SUMS, MULTIPLIERS, st.integers(1, 31), st.integers(-128, 127))
@example(-(1 << 29), 1 << 30, 28, 0)
def test_ties_up_change_nothing_above_the_zero_point(acc: int, multiplier: int, shift: int, zero_point: int) -> None:
    want = max(zero_point, defined(acc, multiplier, shift, zero_point))
    assert max(zero_point, meaning(RESCALE_UP, acc, multiplier, shift, zero_point)) == want


def test_all_ties_of_small_numbers() -> None:
    for shift in range(1, 5):
        for acc in range(-200, 201):
            for multiplier in (1 << 30, 3 << 29, (1 << 31) - 1):
                assert meaning(RESCALE, acc, multiplier, shift, 0) == defined(acc, multiplier, shift, 0)


@given(SUMS, MULTIPLIERS)
def test_the_short_multiplication(a: int, b: int) -> None:
    assert meaning(HIGH_MUL_SHORT, a, b) == nearest(Fraction(a * b, 1 << 31), ties_up=True)


@given(st.integers(-(1 << 30), 1 << 30), st.integers(1, 31), st.integers(-128, 127))
def test_the_shift_rounds_ties_up(value: int, shift: int, addend: int) -> None:
    assert meaning(SHIFT_ADD, value, shift, addend) == nearest(Fraction(value, 1 << shift), ties_up=True) + addend


@pytest.mark.parametrize("acc", [1 << 30, -(1 << 30)])
def test_a_sum_that_cannot_be_doubled_is_refused(acc: int) -> None:
    x, y, i = Buffer("input", I32, (1,), "input"), Buffer("output", I32, (1,), "output"), Var("i")
    scaled = Call(RESCALE, (load(x, i), Const(1 << 30), Const(31), Const(0)))
    program = Program("p", (x, y), (For("i", Const(0), Const(1), (store(y, i, value=scaled),), parallel=True),))
    with pytest.raises(CompilerBug, match="overflow"):
        run(program, {"input": np.array([acc], np.int32)})
