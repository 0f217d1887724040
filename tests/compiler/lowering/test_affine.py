"""Formulas with one multiplication a term: equal to the reference for every input, in 32 bits at every step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.compiler.lowering import affine as module
from harness.compiler.lowering.affine import Affine, Formula, affine
from harness.compiler.lowering.quantise import quantize_multiplier, requantise

VALUES = np.arange(-128, 128, dtype=np.int64)
PAIRS = tuple(x.ravel() for x in np.meshgrid(VALUES, VALUES, indexing="ij"))
SCALES = st.floats(-8, 0).map(lambda exponent: float(np.float32(2.0**exponent)))
ROUND_SCALES = st.integers(-6, 0).map(lambda exponent: 2.0**exponent)  # with these, ties abound
ZERO_POINTS = st.one_of(st.sampled_from([-128, 0, 127]), st.integers(-128, 127))
BOUNDS = st.sampled_from(["all", "from the zero point", "narrow"])

drawn = settings(max_examples=40, deadline=None, derandomize=True)


def bounds(kind: str, zero_point: int) -> tuple[int, int]:
    if kind == "all":
        return -128, 127
    return (zero_point, 127) if kind == "from the zero point" else (-20, 35)


def sums(scales: tuple[float, float], y_scale: float, zero_points: tuple[int, int, int], kind: str) -> Formula:
    """An addition as TFLite has it, every pair of its operands."""
    unit = 2 * max(scales)
    total = np.zeros(len(PAIRS[0]), np.int64)
    for x, scale, zero_point in zip(PAIRS, scales, zero_points, strict=False):
        total += requantise((x - zero_point) << 20, *quantize_multiplier(scale / unit))
    low, high = bounds(kind, zero_points[2])
    y = np.clip(requantise(total, *quantize_multiplier(unit / (2.0**20 * y_scale))) + zero_points[2], low, high)
    weights = (scales[0] / y_scale, scales[1] / y_scale)
    return Formula(PAIRS, y, weights, zero_points[:2], zero_points[2], low, high)


def fits(found: Affine, formula: Formula) -> None:
    """What is computed on the way, in the order in which the schedule writes it, leaves 32 bits nowhere."""
    if found.finer:
        moved = formula.terms[0] << found.finer
        assert max(np.abs(moved).max(), abs(found.multipliers[0])) < 1 << 31
        parts = [moved * found.multipliers[0] >> 32]
    else:
        parts = [x * m for x, m in zip(formula.terms, found.multipliers, strict=True)]
    steps = list(parts)
    total = parts[0] + (found.centre if found.below else found.centre + found.addend)
    steps.append(total)
    for part in parts[1:]:
        total = total + part
        steps.append(total)
    if found.below:
        total = (total >> 31) * found.below + total
        steps += [total, total + found.addend]
    assert max(np.abs(step).max() for step in steps) < 1 << 31


@drawn
@given(st.tuples(SCALES, SCALES), st.floats(0.3, 1.5), st.tuples(ZERO_POINTS, ZERO_POINTS, ZERO_POINTS), BOUNDS)
def test_sums_of_any_scales_have_a_short_form(
    scales: tuple[float, float], coarser: float, zero_points: tuple[int, int, int], kind: str
) -> None:
    scales = (scales[0], scales[1] * 0.93172)  # round numbers, which hypothesis likes, make ties and near ties
    coarser *= 0.97131
    formula = sums(scales, float(np.float32(coarser * sum(scales))), zero_points, kind)
    found = affine(formula)
    if len(np.unique(formula.outputs)) > 1:
        assert found is not None
        assert np.array_equal(found.outputs(formula.terms), formula.outputs)
        fits(found, formula)


@drawn
@given(st.tuples(ROUND_SCALES, ROUND_SCALES), ROUND_SCALES, st.tuples(ZERO_POINTS, ZERO_POINTS, ZERO_POINTS), BOUNDS)
def test_a_form_that_is_found_is_equal_where_ties_abound(
    scales: tuple[float, float], y_scale: float, zero_points: tuple[int, int, int], kind: str
) -> None:
    formula = sums(scales, y_scale, zero_points, kind)
    found = affine(formula)
    if found is not None:
        assert np.array_equal(found.outputs(formula.terms), formula.outputs)
        fits(found, formula)


def test_ties_are_rounded_away_from_zero_on_both_sides() -> None:
    formula = sums((0.125, 0.125), 0.25, (7, -5, 3), "all")
    found = affine(formula)
    assert found is not None
    halves = (PAIRS[0] - 7 + PAIRS[1] + 5) / 2
    want = np.clip(np.sign(halves) * np.floor(np.abs(halves) + 0.5) + 3, -128, 127)
    assert np.array_equal(found.outputs(PAIRS), want)


def test_negative_sums_take_less_where_roundings_are_unlike() -> None:
    products = np.arange(-255 * 255, 255 * 255 + 1)
    y = np.clip(requantise(products, *quantize_multiplier(0.003)) + 4, -128, 127)
    formula = Formula((products,), y, (0.003,), (0,), 4, -128, 127)
    found = affine(formula)
    assert found is not None
    assert found.below > 0
    assert np.array_equal(found.outputs((products,)), y)
    fits(found, formula)


@drawn
@given(st.floats(20, 400), ZERO_POINTS, BOUNDS)
def test_products_of_any_scale_have_a_short_form(coarser: float, zero_point: int, kind: str) -> None:
    products = np.unique(np.outer(VALUES - 3, VALUES + 7))
    weight = 1.00273 / coarser
    low, high = bounds(kind, zero_point)
    y = np.clip(requantise(products, *quantize_multiplier(weight)) + zero_point, low, high)
    formula = Formula((products,), y, (weight,), (0,), zero_point, low, high)
    found = affine(formula)
    if len(np.unique(y)) > 1:
        assert found is not None
        assert np.array_equal(found.outputs((products,)), y)
        fits(found, formula)


def test_bounds_that_nothing_reaches_are_those_of_the_type() -> None:
    formula = sums((0.05, 0.041), 0.1, (-128, -128, -128), "all")
    clamped = replace(formula, low=-128, high=int(formula.outputs.max()))
    found = affine(clamped)
    assert found is not None
    assert (found.low, found.high) == (-128, 127)
    narrow = sums((0.05, 0.041), 0.1, (-128, -128, -128), "narrow")
    found = affine(narrow)
    assert found is not None
    assert (found.low, found.high) == (-20, 35)


def test_what_no_line_computes_has_no_form() -> None:
    formula = sums((0.05, 0.04), 0.08, (3, -7, 1), "all")
    for position in (0, 30000, 65535):
        outputs = formula.outputs.copy()
        outputs[position] += 3 if outputs[position] < 0 else -3
        broken = Formula(formula.terms, outputs, formula.weights, formula.zero_points, 1, -128, 127)
        assert affine(broken) is None


def test_what_is_found_is_compared_with_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too few inputs to choose integers by, wrong ones are among them, and none of these comes out."""
    monkeypatch.setattr(module, "MOST_DECIDING", 1)
    none = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a, b = rng.uniform(0.01, 0.1, 2)
        formula = sums((a, b), 0.7 * (a + b), (3, -7, 1), "all")
        found = affine(formula)
        none += found is None
        assert found is None or np.array_equal(found.outputs(formula.terms), formula.outputs)
    assert none


@drawn
@given(SCALES, SCALES, ZERO_POINTS, ZERO_POINTS)
def test_one_term(scale: float, y_scale: float, zero_point: int, y_zero_point: int) -> None:
    weight = scale / y_scale
    y = np.clip(requantise(VALUES - zero_point, *quantize_multiplier(weight)) + y_zero_point, -128, 127)
    formula = Formula((VALUES,), y, (weight,), (zero_point,), y_zero_point, -128, 127)
    found = affine(formula)
    if found is not None:
        assert np.array_equal(found.outputs(formula.terms), y)
        fits(found, formula)


@pytest.mark.parametrize("weight", [1e-7, 1e7])
def test_extreme_weights_are_equal_or_have_no_form(weight: float) -> None:
    y = np.clip(requantise(VALUES - 5, *quantize_multiplier(weight)) + 1, -128, 127)
    formula = Formula((VALUES,), y, (weight,), (5,), 1, -128, 127)
    found = affine(formula)
    assert found is None or np.array_equal(found.outputs((VALUES,)), y)
