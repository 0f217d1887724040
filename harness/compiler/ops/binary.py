"""What operators of two operands share: both of one type, broadcast as numpy does, with a fused activation or without.

Not an operator itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op, Quant
from harness.compiler.loops import Block, Expr, Let, Program
from harness.compiler.lowering.affine import Formula
from harness.compiler.lowering.building import Builder, clamped, to_int8, wide
from harness.compiler.lowering.elementwise import Combination, elementwise, int8_values
from harness.compiler.lowering.quantise import (
    activation_range,
    clamp_float,
    float_activation_range,
    quantize_multiplier,
    requantise,
)
from harness.compiler.ops import checks
from harness.compiler.ops.base import activation_name, options_table
from harness.compiler.ops.channels import Ranges, Tied, straight
from harness.dtypes import DType

LEFT_SHIFT = 20  # bits of headroom TFLite gives both int8 operands of a sum before it rescales them


@dataclass(frozen=True)
class Binary:
    activation: str = "NONE"  # "NONE", "RELU", "RELU6" or "RELU_N1_TO_1"


def parser(options_name: str) -> Callable[[tflite.Operator], Binary]:
    """For options that hold a fused activation."""

    def parse(table: tflite.Operator) -> Binary:
        options = options_table(table, options_name)
        return Binary() if options is None else Binary(activation_name(options.FusedActivationFunction()))

    return parse


def check(graph: Graph, op: Op) -> DType:
    """Types and shapes, which are the same for all; the type of the elements."""
    checks.arity(graph, op, 2, 2)
    dtype = checks.computes_in(graph, op, DType.I8, DType.F32)
    a, b, y = checks.operand(graph, op, 0), checks.operand(graph, op, 1), checks.output(graph, op)
    checks.has_dtype(graph, op, b, dtype)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        checks.refuse(graph, op, f"shapes {list(a.shape)} and {list(b.shape)} do not broadcast", tensor=b)
    checks.has_shape(graph, op, y, shape)
    return dtype


def quants(graph: Graph, op: Op) -> tuple[Quant, Quant, Quant]:
    """Of both operands and the result."""
    a, b = (checks.quantised(graph, op, checks.operand(graph, op, position)) for position in (0, 1))
    return a, b, checks.quantised(graph, op, checks.output(graph, op))


def lower(
    graph: Graph,
    op: Op,
    name: str,
    element: Callable[[Builder, Sequence[Expr]], tuple[Block, Expr]],
    meaning: object | None = None,
) -> Program:
    operands = (checks.operand(graph, op, 0), checks.operand(graph, op, 1))
    same = op.inputs[0] == op.inputs[1]
    return elementwise(name, operands, checks.output(graph, op), element, meaning, same=same)


def lower_float(graph: Graph, op: Op, name: str, combine: Callable[[Expr, Expr], Expr]) -> Program:
    bounds = float_activation_range(op.attrs.activation)

    def element(build: Builder, operands: Sequence[Expr]) -> tuple[Block, Expr]:
        return (), clamped(combine(*operands), *map(float, bounds))

    return lower(graph, op, name, element)


Reference = Callable[[Graph, Op, Sequence[np.ndarray | None]], list[np.ndarray]]


def channels(graph: Graph, op: Op, reference: Reference) -> Tied | None:
    """Channel by channel, but for an operand with a single one that all of the output's read.

    For functions that, with one operand as it is, only grow or only fall with the other: their ends are at the ends.
    """
    y = checks.output(graph, op)
    if y.dtype is not DType.I8 or not y.shape:
        return None
    across = [p for p in (0, 1) if checks.operand(graph, op, p).shape[-1:] == y.shape[-1:]]

    def bounds(given: Sequence[Ranges | None]) -> Ranges:
        a, b = (None if x is None else x.astype(np.int8) for x in given)
        assert a is not None
        assert b is not None
        corners = np.stack([reference(graph, op, [x, z])[0] for x in a for z in b]).astype(np.int64)
        return np.stack([corners.min(axis=0), corners.max(axis=0)])

    return Tied(op.attrs, [straight(p, y.shape[-1]) for p in across], bounds)


# ---- sums and differences ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SumParams:
    """Integer parameters; pairs hold one entry per operand, shifts are positive to the left (here never above 0).

    t[i] = requantise((x[i] - zero_points[i]) << LEFT_SHIFT, multipliers[i], shifts[i])
    y = clamp(requantise(t[0] ± t[1], output_multiplier, output_shift) + output_zero_point)
    """

    sign: int  # of the second operand: 1 or -1
    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    output_zero_point: int
    output_multiplier: int
    output_shift: int
    act_min: int
    act_max: int
    weights: tuple[float, float]  # input scales over the output's, with the signs: real numbers, for the search

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """int8 of two arrays that broadcast, any integer dtype."""
        scaled = [
            requantise((x.astype(np.int64) - zero_point) << LEFT_SHIFT, multiplier, shift)
            for x, zero_point, multiplier, shift in zip(
                (a, b), self.zero_points, self.multipliers, self.shifts, strict=True
            )
        ]
        total = requantise(scaled[0] + self.sign * scaled[1], self.output_multiplier, self.output_shift)
        return np.clip(total + self.output_zero_point, self.act_min, self.act_max).astype(np.int8)


def sum_params(graph: Graph, op: Op, sign: int) -> SumParams:
    """Integer parameters of an int8 sum. Raises ModelError where the output is too fine for its inputs."""
    a, b, y = quants(graph, op)
    unit = 2 * max(a.scale, b.scale)  # exact: scales are float32 values
    real_output = unit / (2.0**LEFT_SHIFT * y.scale)
    if real_output >= 1:
        what = f"output scale {y.scale:g} is too fine for input scales {a.scale:g} and {b.scale:g}"
        checks.refuse(graph, op, what, tensor=checks.output(graph, op), hint="Requantise the model.")
    a_multiplier, a_shift = quantize_multiplier(a.scale / unit)
    b_multiplier, b_shift = quantize_multiplier(b.scale / unit)
    return SumParams(
        sign,
        (a.zero_point, b.zero_point),
        (a_multiplier, b_multiplier),
        (a_shift, b_shift),
        y.zero_point,
        *quantize_multiplier(real_output),
        *activation_range(op.attrs.activation, y, DType.I8),
        (a.scale / y.scale, sign * b.scale / y.scale),
    )


def check_sum(graph: Graph, op: Op, sign: int) -> None:
    if check(graph, op) is DType.I8:
        sum_params(graph, op, sign)


def reference_sum(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None], sign: int) -> list[np.ndarray]:
    a, b = inputs
    assert a is not None
    assert b is not None
    if a.dtype == np.float32:
        return [clamp_float(a + b if sign > 0 else a - b, op.attrs.activation)]
    return [sum_params(graph, op, sign).combine(a, b)]


def lower_sum(graph: Graph, op: Op, name: str, sign: int) -> Program:
    if checks.output(graph, op).dtype is DType.F32:
        return lower_float(graph, op, name, lambda a, b: a + b if sign > 0 else a - b)
    params = sum_params(graph, op, sign)

    def element(build: Builder, operands: Sequence[Expr]) -> tuple[Block, Expr]:
        one = np.ones(1, np.int64)
        largest = 255 << LEFT_SHIFT
        scaled = []
        for i, operand in enumerate(operands):
            moved = wide(operand, params.zero_points[i]) * (1 << LEFT_SHIFT)
            rescaled = build.requantised(moved, one * params.multipliers[i], one * params.shifts[i], 0, largest)
            scaled.append(Let("ab"[i], rescaled))
        total = scaled[0].var + scaled[1].var if sign > 0 else scaled[0].var - scaled[1].var
        shifted = build.requantised(total, one * params.output_multiplier, one * params.output_shift, 0, 2 * largest)
        return tuple(scaled), to_int8(shifted, params.output_zero_point, params.act_min, params.act_max)

    formula = _formula(graph, op, params)
    return lower(graph, op, name, element, Combination(params.zero_points, formula))


def _formula(graph: Graph, op: Op, p: SumParams) -> Formula:
    """Outputs for every pair that the operands can hold."""
    a, b = pairs(graph, op)
    bounds = (p.output_zero_point, p.act_min, p.act_max)
    return Formula((a, b), p.combine(a, b).astype(np.int64), p.weights, p.zero_points, *bounds)


def pairs(graph: Graph, op: Op) -> tuple[np.ndarray, np.ndarray]:
    """int64 (n,) each: all pairs of elements that the int8 operands can hold."""
    a, b = (int8_values(checks.operand(graph, op, position)) for position in (0, 1))
    if op.inputs[0] == op.inputs[1]:
        return a, a
    first, second = np.meshgrid(a, b, indexing="ij")
    return first.ravel(), second.ravel()
