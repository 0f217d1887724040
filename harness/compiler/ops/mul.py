"""MUL: a * b, broadcast as numpy does, with a fused activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Block, Expr, Program
from harness.compiler.lowering.affine import Formula
from harness.compiler.lowering.building import Builder, to_int8, wide
from harness.compiler.lowering.elementwise import Combination
from harness.compiler.lowering.quantise import activation_range, clamp_float, quantize_multiplier, requantise
from harness.compiler.ops import binary, checks
from harness.compiler.ops.base import Case, Operator, no_macs
from harness.dtypes import DType

LARGEST = 255 * 255  # of a product of two elements without their zero points


@dataclass(frozen=True)
class MulParams:
    """y = clamp(requantise((a - zero_points[0]) * (b - zero_points[1]), multiplier, shift) + output_zero_point)."""

    zero_points: tuple[int, int]
    multiplier: int
    shift: int  # positive to the left
    output_zero_point: int
    act_min: int
    act_max: int
    weight: float  # of a product in units of the output: a real number, for the search

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a.astype(np.int64) - self.zero_points[0]) * (b.astype(np.int64) - self.zero_points[1])

    def output(self, products: np.ndarray) -> np.ndarray:
        """int8 of int64 products."""
        y = requantise(products, self.multiplier, self.shift) + self.output_zero_point
        return np.clip(y, self.act_min, self.act_max).astype(np.int8)


def quantisation(graph: Graph, op: Op) -> MulParams:
    """Integer parameters of an int8 product. Raises ModelError where one may leave 32 bits."""
    a, b, y = binary.quants(graph, op)
    # TFLite multiplies and divides the scales in float32 (`mul.cc`, Prepare).
    real = float(np.float32(a.scale) * np.float32(b.scale) / np.float32(y.scale))
    if not real * LARGEST < 1 << 30:
        what = f"output scale {y.scale:g} is too fine for input scales {a.scale:g} and {b.scale:g}"
        checks.refuse(graph, op, what, tensor=checks.output(graph, op), hint="Requantise the model.")
    bounds = activation_range(op.attrs.activation, y, DType.I8)
    multiplier, shift = quantize_multiplier(real)
    return MulParams((a.zero_point, b.zero_point), multiplier, shift, y.zero_point, *bounds, real)


def check(graph: Graph, op: Op) -> None:
    if binary.check(graph, op) is DType.I8:
        quantisation(graph, op)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    a, b = inputs
    assert a is not None
    assert b is not None
    if a.dtype == np.float32:
        return [clamp_float(a * b, op.attrs.activation)]
    params = quantisation(graph, op)
    return [params.output(params.product(a, b))]


def lower(graph: Graph, op: Op, name: str) -> Program:
    if checks.output(graph, op).dtype is DType.F32:
        return binary.lower_float(graph, op, name, lambda a, b: a * b)
    p = quantisation(graph, op)

    def element(build: Builder, operands: Sequence[Expr]) -> tuple[Block, Expr]:
        a, b = (wide(x, zero_point) for x, zero_point in zip(operands, p.zero_points, strict=True))
        one = np.ones(1, np.int64)
        scaled = build.requantised(a * b, one * p.multiplier, one * p.shift, 0, LARGEST)
        return (), to_int8(scaled, p.output_zero_point, p.act_min, p.act_max)

    products = np.unique(p.product(*binary.pairs(graph, op)))
    bounds = (p.output_zero_point, p.act_min, p.act_max)
    formula = Formula((products,), p.output(products).astype(np.int64), (p.weight,), (0,), *bounds)
    return binary.lower(graph, op, name, element, Combination(p.zero_points, formula))


CASES = (
    Case("same_shape", ((1, 4, 5, 3), (1, 4, 5, 3))),
    Case("relu", ((1, 4, 4, 8), (1, 4, 4, 8)), {"activation": "RELU"}),
    Case("relu6", ((1, 33), (1, 33)), {"activation": "RELU6"}),
    Case("relu_n1_to_1", ((2, 9), (2, 9)), {"activation": "RELU_N1_TO_1"}),
    Case("zero_points_at_the_ends", ((1, 64), (1, 64)), quants=((0.05, -128), (0.04, 127))),
    Case("no_zero_points", ((1, 640), (1, 640)), {"quant": (0.03, 0)}, quants=((0.05, 0), (0.04, 0))),
    Case("ties", ((1, 640), (1, 640)), {"quant": (0.25, 3)}, quants=((0.125, 7), (0.125, -5))),
    Case("finer_than_inputs", ((1, 64), (1, 64)), {"quant": (0.001, 3)}, quants=((1.5, 7), (1.25, -5))),
    Case("coarse_output", ((1, 64), (1, 64)), {"quant": (700.0, 11)}),
    Case("channels_scaled", ((1, 4, 4, 6), (6,))),
    Case("first_broadcast", ((1, 1, 1, 6), (1, 4, 4, 6))),
    Case("pixels_scaled", ((1, 5, 4, 3), (1, 5, 4, 1))),
    Case("float", ((1, 4, 5, 3), (1, 4, 5, 3)), dtype="float32"),
    Case("float_broadcast_relu", ((1, 4, 5, 3), (3,)), {"activation": "RELU"}, dtype="float32"),
)

OPERATOR = Operator(
    "MUL",
    "mul",
    binary.parser("MulOptions"),
    check,
    reference,
    no_macs,
    CASES,
    lower,
    schedules.ELEMENTWISE,
    channels=partial(binary.channels, reference=reference),
    by_element=True,
)
