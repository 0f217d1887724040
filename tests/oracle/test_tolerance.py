from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.oracle.tolerance import NOTHING, Difference, Tolerance

EXACT = Tolerance(ulps=0, of_peak=0.0)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_integers_have_to_be_equal() -> None:
    expected = np.array([-128, 0, 127, 5], np.int8)
    actual = np.array([127, 0, 127, 4], np.int8)
    assert Tolerance().difference(expected, actual) == Difference(4, 2, 255, None)


def test_the_extremes_of_64_bits_do_not_wrap_below_32() -> None:
    expected, actual = np.array([-(2**31)], np.int32), np.array([2**31 - 1], np.int32)
    assert Tolerance().difference(expected, actual).max_abs_diff == 2**32 - 1


@given(FLOATS, st.integers(0, 40))
def test_ulps_are_steps_of_nextafter(value: float, steps: int) -> None:
    other = np.float32(value)
    for _ in range(steps):
        other = np.nextafter(other, np.float32(np.inf))
    if np.isinf(other):
        return
    difference = EXACT.difference(floats(value), floats(other))
    assert difference.max_ulp == steps
    assert difference.mismatches == (1 if steps else 0)


def test_one_step_across_zero() -> None:
    tiny = np.nextafter(np.float32(0), np.float32(1))
    assert EXACT.difference(floats(-0.0), floats(0.0)) == Difference(1, 0, 0.0, 0)
    assert EXACT.difference(floats(-tiny), floats(tiny)).max_ulp == 2


def test_a_small_error_beside_a_large_peak_is_tolerated() -> None:
    expected, actual = floats(1e-6, 1000.0), floats(2e-6, 1000.0)
    assert Tolerance().equal(expected, actual)
    assert not Tolerance().equal(expected[:1], actual[:1])


@pytest.mark.parametrize("value", [1.0, math.inf, -math.inf])
def test_nan_is_equal_to_nan_only(value: float) -> None:
    assert Tolerance().equal(floats(math.nan), floats(math.nan))
    for pair in (floats(value), floats(math.nan)), (floats(math.nan), floats(value)):
        difference = Tolerance().difference(*pair)
        assert difference.mismatches == 1
        assert math.isinf(difference.max_abs_diff)


def test_infinity_is_not_close_to_the_largest_number() -> None:
    largest = np.finfo(np.float32).max
    assert Tolerance().difference(floats(largest), floats(math.inf)).mismatches == 1
    assert Tolerance().difference(floats(math.inf), floats(math.inf)).mismatches == 0


def test_different_shapes_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="against"):
        Tolerance().difference(np.zeros((2, 1), np.int8), np.zeros((1, 2), np.int8))


def test_sum_of_differences() -> None:
    assert Difference(4, 1, 3, None) + Difference(2, 2, 1, None) == Difference(6, 3, 3, None)
    assert NOTHING + Difference(2, 0, 0.5, 7) == Difference(2, 0, 0.5, 7)
