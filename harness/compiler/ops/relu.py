"""RELU, RELU6 and RELU_N1_TO_1: x clamped, as operators of their own. int8: requantised, then clamped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Expr
from harness.compiler.lowering.affine import Formula
from harness.compiler.lowering.building import clamped
from harness.compiler.lowering.quantise import activation_range, clamp_float, float_activation_range
from harness.compiler.ops import checks, unary
from harness.compiler.ops.base import Case, Operator, no_options
from harness.dtypes import DType
from harness.errors import ModelError


@dataclass(frozen=True)
class Relu:
    activation: str  # "RELU", "RELU6" or "RELU_N1_TO_1"


def _quantised(graph: Graph, op: Op, elements: np.ndarray) -> np.ndarray:
    x, y = unary.quants(graph, op)
    return np.clip(unary.rescaled(x, y, elements) + y.zero_point, *activation_range(op.attrs.activation, y, DType.I8))


def _require(graph: Graph, op: Op) -> None:
    _, y = unary.quants(graph, op)
    try:
        activation_range(op.attrs.activation, y, DType.I8)
    except ModelError as error:
        checks.refuse(graph, op, str(error), tensor=checks.output(graph, op), hint="Requantise the model.")


def _formula(graph: Graph, op: Op, outputs: np.ndarray) -> Formula:
    x, y = unary.quants(graph, op)
    return unary.straight(x, y, outputs, DType.I8, *activation_range(op.attrs.activation, y, DType.I8))


def _written(attrs: Relu, x: Expr) -> Expr:
    return clamped(x, *map(float, float_activation_range(attrs.activation)))


def _parse(table: tflite.Operator, activation: str) -> Relu:
    no_options(table)
    return Relu(activation)


CASES = (
    Case("same_scale", ((1, 4, 5, 60),), {"quant": (0.03, 7)}, quants=((0.03, 7),)),
    Case("other_scale", ((1, 4, 5, 60),), {"quant": (0.017, -128)}),
    Case("coarser", ((1, 700),), {"quant": (0.2, 20)}),
    Case("much_finer", ((1, 700),), {"quant": (0.0003, -100)}),
    Case("few_elements", ((1, 5),), {"quant": (0.05, -128)}),
    Case("one_dimension", ((600,),)),
    Case("float", ((1, 4, 5, 6),), dtype="float32"),
)


def _operator(kind: str, c_name: str) -> Operator:
    def real(attrs: Relu, x: np.ndarray) -> np.ndarray:
        return clamp_float(x, attrs.activation)

    parse = partial(_parse, activation=kind)
    return unary.operator(kind, c_name, parse, _quantised, real, _written, CASES, _require, _formula)


RELU = _operator("RELU", "relu")
RELU6 = _operator("RELU6", "relu6")
RELU_N1_TO_1 = _operator("RELU_N1_TO_1", "relu_n1_to_1")
