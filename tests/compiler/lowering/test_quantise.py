"""The fixed-point arithmetic against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.compiler.graph import Quant
from harness.compiler.lowering.quantise import (
    activation_range,
    divide_by_pot,
    high_mul,
    quantize_multiplier,
    quantize_multipliers,
    requantise,
)
from harness.dtypes import DType
from harness.errors import ModelError

I32 = st.integers(-(2**31), 2**31 - 1)
MULTIPLIERS = st.one_of(st.just(0), st.integers(2**30, 2**31 - 1))


def half_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


def half_away(x: Fraction) -> int:
    return half_up(x) if x >= 0 else -half_up(-x)


@given(st.floats(2.0**-40, 2.0**40))
@example(0.5)
@example(1.0)
@example(1.0 - 2.0**-53)  # rounds up to 2^31 and carries
@example(math.nextafter(0.25, 0))
@example(2.0**-32)
@example(math.nextafter(2.0**-32, 0))
def test_multiplier_is_the_nearest_of_31_bits(real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    if multiplier == 0:
        assert shift == 0
        assert real < 2.0**-32
        return
    assert 2**30 <= multiplier < 2**31
    assert shift >= -31
    unit = Fraction(2) ** (shift - 31)
    error = abs(multiplier * unit - Fraction(real))
    assert error <= unit / 2


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (1.0, (1 << 30, 1)),
        (0.5, (1 << 30, 0)),
        (1.0 - 2.0**-53, (1 << 30, 1)),
        (2.0**-32, (1 << 30, -31)),
        (2.0**-33, (0, 0)),
        ((2**30 + 0.5) / 2**31, (2**30 + 1, 0)),  # a tie, away from zero
        (3.7, (1986422374, 2)),
    ],
)
def test_multipliers_by_hand(real: float, expected: tuple[int, int]) -> None:
    assert quantize_multiplier(real) == expected
    multipliers, shifts = quantize_multipliers(np.array([real, 1.0]))
    assert (int(multipliers[0]), int(shifts[0])) == expected
    assert multipliers.dtype == shifts.dtype == np.int32


@given(I32, I32)
@example(-(2**31), -(2**31))
@example(-1, 2**30)  # exactly -1/2
@example(1, 2**30)
def test_high_mul(a: int, b: int) -> None:
    expected = min(half_up(Fraction(a * b, 2**31)), 2**31 - 1)
    assert int(high_mul(np.array([a]), np.array([b]))[0]) == expected


@given(I32, st.integers(0, 31))
@example(-3, 1)
@example(3, 1)
@example(-(2**31), 31)
def test_divide_by_pot(x: int, exponent: int) -> None:
    assert int(divide_by_pot(np.array([x]), exponent)[0]) == half_away(Fraction(x, 2**exponent))


@given(st.integers(-(2**20), 2**20), MULTIPLIERS, st.integers(-31, 10))
def test_requantise_rounds_twice(acc: int, multiplier: int, shift: int) -> None:
    high = half_up(Fraction((acc << max(shift, 0)) * multiplier, 2**31))
    expected = half_away(Fraction(high, 2 ** max(-shift, 0)))
    assert int(requantise(np.array([acc], np.int32), multiplier, shift)[0]) == expected


def test_requantise_differs_from_a_single_rounding_and_from_half_up() -> None:
    acc = np.arange(-4000, 4000)
    multiplier, shift = quantize_multiplier(0.0123)
    exact = requantise(acc, multiplier, shift)
    single = (acc * np.int64(multiplier) + (np.int64(1) << (30 - shift))) >> (31 - shift)
    half_up_shift = (high_mul(acc, multiplier) + (1 << (-shift - 1))) >> -shift
    assert (exact != single).any()
    assert (exact != half_up_shift).any()


def test_requantise_takes_a_multiplier_for_each_channel() -> None:
    acc = np.array([[1000, 1000, 1000], [-7, -7, -7]], np.int32)
    multipliers, shifts = quantize_multipliers(np.array([0.5, 2.0, 1e-12]))
    np.testing.assert_array_equal(requantise(acc, multipliers, shifts), [[500, 2000, 0], [-3, -14, 0]])


@pytest.mark.parametrize(
    ("activation", "scale", "zero_point", "expected"),
    [
        ("NONE", 0.1, -5, (-128, 127)),
        ("RELU", 0.1, -5, (-5, 127)),
        ("RELU", 0.1, -128, (-128, 127)),
        ("RELU6", 0.1, -5, (-5, 55)),
        ("RELU6", 0.01, -5, (-5, 127)),
        ("RELU6", 4.0, 3, (3, 5)),  # 1.5 steps: half away from zero
        ("RELU_N1_TO_1", 0.4, 10, (7, 13)),  # 2.5 steps on either side
        ("RELU_N1_TO_1", 0.001, 0, (-128, 127)),
    ],
)
def test_activation_range(activation: str, scale: float, zero_point: int, expected: tuple[int, int]) -> None:
    quant = Quant((float(np.float32(scale)),), (zero_point,))
    assert activation_range(activation, quant, DType.I8) == expected


@pytest.mark.parametrize("scale", [1e-9, 1e-40])
def test_activation_bound_outside_32_bits_is_refused(scale: float) -> None:
    with pytest.raises(ModelError, match="leaves 32 bits"):
        activation_range("RELU6", Quant((float(np.float32(scale)),), (0,)), DType.I8)
