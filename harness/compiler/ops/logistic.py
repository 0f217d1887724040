"""LOGISTIC: 1 / (1 + e^-x)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.intrinsics.floating import EXP
from harness.compiler.loops import Const, Expr, Select, binary, call
from harness.compiler.ops import unary
from harness.compiler.ops.base import Case, no_options
from harness.dtypes import DType

F32 = DType.F32
ONE = Const(1.0, F32)
# From here on TFLite's reference kernel (`reference/logistic.h`) has 1, and below the other one e^x.
_ALL_ONE, _ALL_EXP = 16.619047164916992188, -9.0


@dataclass(frozen=True)
class Logistic:
    """Nothing to say."""


def parse(table: tflite.Operator) -> Logistic:
    no_options(table)
    return Logistic()


def _quantised(graph: Graph, op: Op, elements: np.ndarray) -> np.ndarray:
    return unary.through_float(graph, op, elements, lambda x: np.float32(1) / (np.float32(1) + unary.exp(-x)))


def _real(attrs: Logistic, x: np.ndarray) -> np.ndarray:
    curve = np.float32(1) / (np.float32(1) + unary.exp(-x))
    return np.where(x > np.float32(_ALL_ONE), np.float32(1), np.where(x < np.float32(_ALL_EXP), unary.exp(x), curve))


def _written(attrs: Logistic, x: Expr) -> Expr:
    curve = binary("div", ONE, ONE + call(EXP, Const(0.0, F32) - x))
    return Select(x > _ALL_ONE, ONE, Select(x < _ALL_EXP, call(EXP, x), curve))


CASES = (
    Case("usual_output", ((1, 4, 5, 60),), {"quant": (1 / 256, -128)}),
    Case("coarse_input", ((1, 700),), {"quant": (1 / 256, -128)}, quants=((0.7, 3),)),
    Case("fine_input", ((1, 700),), {"quant": (1 / 256, -128)}, quants=((0.002, 120),)),
    Case("few_elements", ((1, 3),), {"quant": (1 / 256, -128)}),
    Case("float", ((1, 4, 5, 6),), dtype="float32"),
)

OPERATOR = unary.operator("LOGISTIC", "logistic", parse, _quantised, _real, _written, CASES)
