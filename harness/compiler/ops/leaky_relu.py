"""LEAKY_RELU: x where it is not negative, elsewhere alpha * x."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Const, Expr, Select
from harness.compiler.ops import checks, unary
from harness.compiler.ops.base import Case, required_options
from harness.dtypes import DType


@dataclass(frozen=True)
class LeakyRelu:
    alpha: float  # float32 value held exactly


def parse(table: tflite.Operator) -> LeakyRelu:
    return LeakyRelu(float(required_options(table, "LeakyReluOptions").Alpha()))


def _quantised(graph: Graph, op: Op, elements: np.ndarray) -> np.ndarray:
    x, y = unary.quants(graph, op)
    positive = unary.rescaled(x, y, elements)
    negative = unary.rescaled(x, y, elements, op.attrs.alpha)
    return np.where(elements >= x.zero_point, positive, negative) + y.zero_point


def _require(graph: Graph, op: Op) -> None:
    if not (math.isfinite(op.attrs.alpha) and op.attrs.alpha >= 0):
        checks.refuse(graph, op, f"alpha {op.attrs.alpha}; int8 takes it from 0 on")


def _real(attrs: LeakyRelu, x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, x * np.float32(attrs.alpha))


def _written(attrs: LeakyRelu, x: Expr) -> Expr:
    return Select(x > 0.0, x, x * Const(attrs.alpha, DType.F32))


CASES = (
    Case("tenth", ((1, 4, 5, 60),), {"alpha": 0.1}),
    Case("third", ((1, 700),), {"alpha": 0.3, "quant": (0.02, -30)}),
    Case("zero", ((1, 700),), {"alpha": 0.0}),
    Case("above_one", ((1, 700),), {"alpha": 1.75}),
    Case("coarser", ((1, 700),), {"alpha": 0.2, "quant": (0.2, 20)}),
    Case("float", ((1, 4, 5, 6),), {"alpha": 0.1}, dtype="float32"),
)

OPERATOR = unary.operator("LEAKY_RELU", "leaky_relu", parse, _quantised, _real, _written, CASES, _require)
