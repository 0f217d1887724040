"""TANH: the hyperbolic tangent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.intrinsics.floating import TANH
from harness.compiler.loops import Expr, call
from harness.compiler.ops import unary
from harness.compiler.ops.base import Case, no_options


@dataclass(frozen=True)
class Tanh:
    """Nothing to say."""


def parse(table: tflite.Operator) -> Tanh:
    no_options(table)
    return Tanh()


def _quantised(graph: Graph, op: Op, elements: np.ndarray) -> np.ndarray:
    return unary.through_float(graph, op, elements, unary.tanh)


def _real(attrs: Tanh, x: np.ndarray) -> np.ndarray:
    return unary.tanh(x)


def _written(attrs: Tanh, x: Expr) -> Expr:
    return call(TANH, x)


CASES = (
    Case("usual_output", ((1, 4, 5, 60),), {"quant": (1 / 128, 0)}),
    Case("coarse_input", ((1, 700),), {"quant": (1 / 128, 0)}, quants=((0.7, 3),)),
    Case("fine_input", ((1, 700),), {"quant": (1 / 128, 0)}, quants=((0.002, 120),)),
    Case("few_elements", ((1, 3),), {"quant": (1 / 128, 0)}),
    Case("float", ((1, 4, 5, 6),), dtype="float32"),
)

OPERATOR = unary.operator("TANH", "tanh", parse, _quantised, _real, _written, CASES)
