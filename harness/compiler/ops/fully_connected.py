"""FULLY_CONNECTED: x of any shape read as (rows, depth), weights (units, depth), bias (units,) or none → (rows, units).

With keep_num_dims the result keeps all dimensions of x but the last: (..., units).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op, Quant
from harness.compiler.loops import Program
from harness.compiler.lowering.contraction import arithmetic_of, matmul
from harness.compiler.lowering.quantise import (
    ConvParams,
    accumulate_and_requantise,
    clamp_float,
    conv_params,
    effective_scales,
)
from harness.compiler.lowering.window import Window
from harness.compiler.ops import checks
from harness.compiler.ops.base import Case, Operator, activation_name, options_table
from harness.compiler.ops.products import Product
from harness.dtypes import DType
from harness.errors import ModelError

_BIAS_SCALE_TOLERANCE = 0.02  # of an output step, per unit of bias: TFLite's GetQuantizedConvolutionMultipler


@dataclass(frozen=True)
class FullyConnected:
    activation: str = "NONE"  # "NONE", "RELU", "RELU6" or "RELU_N1_TO_1"
    keep_num_dims: bool = False


def parse(table: tflite.Operator) -> FullyConnected:
    options = options_table(table, "FullyConnectedOptions")
    if options is None:
        return FullyConnected()
    if options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise ModelError(f"has weights in format {options.WeightsFormat()}; only the default one is supported")
    return FullyConnected(activation_name(options.FusedActivationFunction()), bool(options.KeepNumDims()))


def rows(graph: Graph, op: Op) -> int:
    """How many vectors of the weights' depth the input holds."""
    return checks.operand(graph, op, 0).elements // checks.operand(graph, op, 1).shape[1]


def quantisation(graph: Graph, op: Op) -> ConvParams:
    """Integer parameters; multipliers and shifts have one entry per unit, all the same for per-tensor weights."""
    x, weights, y = checks.operand(graph, op, 0), checks.operand(graph, op, 1), checks.output(graph, op)
    x_quant, y_quant = checks.quantised(graph, op, x), checks.quantised(graph, op, y)
    scales = _scales(x_quant, checks.quantised_weights(graph, op, weights, axis=0), y_quant, weights.shape[0])
    return conv_params(x_quant, y_quant, scales, op.attrs.activation)


def _scales(x: Quant, weights: Quant, y: Quant, units: int) -> np.ndarray:
    """Effective scales float64[units]. For per-tensor weights TFLite multiplies the two scales in float32."""
    if weights.axis is not None:
        return effective_scales(x, weights, y, units)
    product = np.float32(x.scale) * np.float32(weights.scale)
    return np.full(units, np.float64(product) / np.float64(y.scale))


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 2, 3)
    dtype = checks.computes_in(graph, op, DType.I8, DType.F32)
    x, weights, y = checks.operand(graph, op, 0), checks.operand(graph, op, 1), checks.output(graph, op)
    checks.has_rank(graph, op, weights, 2)
    units, depth = weights.shape
    checks.weights_and_bias(graph, op, dtype, units)
    if x.elements % depth or (op.attrs.keep_num_dims and x.shape[-1:] != (depth,)):
        checks.refuse(graph, op, f"shape {list(x.shape)} for weights {list(weights.shape)}", tensor=x)
    expected = (*x.shape[:-1], units) if op.attrs.keep_num_dims else (rows(graph, op), units)
    checks.has_shape(graph, op, y, expected)
    if dtype is DType.I8:
        checks.sums_fit(graph, op, quantisation(graph, op), axis=0)
        _check_bias_scale(graph, op)


def _check_bias_scale(graph: Graph, op: Op) -> None:
    """TFLite refuses per-tensor weights whose bias was quantised with another scale than the products."""
    x, weights, bias = checks.operand(graph, op, 0), checks.operand(graph, op, 1), graph.operand(op, 2)
    if bias is None or bias.quant is None or weights.quant is None or weights.quant.axis is not None:
        return
    products = checks.quantised(graph, op, x).scale * weights.quant.scale
    step = checks.quantised(graph, op, checks.output(graph, op)).scale
    if abs(products - bias.quant.scales[0]) / step > _BIAS_SCALE_TOLERANCE:
        what = f"scale {bias.quant.scales[0]:g} where input scale * weight scale = {products:g} belongs"
        checks.refuse(graph, op, what, tensor=bias)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, weights, *rest = inputs
    assert x is not None
    assert weights is not None
    bias = rest[0] if rest else None
    shape = checks.output(graph, op).shape
    x = x.reshape(-1, weights.shape[1])
    if x.dtype == np.float32:
        return [_float(x, weights, bias, op.attrs.activation).reshape(shape)]
    params = quantisation(graph, op)
    # float64 holds every sum of fewer than 2^37 int8 products exactly, and its matrix product is the fast one
    acc = (x.astype(np.float64) - params.input_zero_point) @ weights.T.astype(np.float64)
    return [accumulate_and_requantise(acc, bias, params).reshape(shape)]


def _float(x: np.ndarray, weights: np.ndarray, bias: np.ndarray | None, activation: str) -> np.ndarray:
    """float32 sums in the reference's order: along the depth, the bias last."""
    acc = np.zeros((x.shape[0], weights.shape[0]), np.float32)
    for depth in range(x.shape[1]):
        acc += x[:, depth, None] * weights[:, depth]
    return clamp_float(acc if bias is None else acc + bias, activation)


def channels(graph: Graph, op: Op) -> Product | None:
    """How the channels of an int8 product act on one another; its input may be flattened from pixels."""
    x, depth = checks.operand(graph, op, 0), checks.operand(graph, op, 1).shape[1]
    if x.dtype is not DType.I8 or not x.shape or depth % x.shape[-1]:
        return None
    one = Window.of("VALID", 1, 1, 1)
    return Product(graph, op, quantisation(graph, op), (one, one), x.shape[-1])


def macs(graph: Graph, op: Op) -> int:
    return rows(graph, op) * checks.operand(graph, op, 1).elements


def lower(graph: Graph, op: Op, name: str) -> Program:
    x, weights = checks.operand(graph, op, 0), checks.operand(graph, op, 1)
    params = quantisation(graph, op) if x.dtype is DType.I8 else None
    data = checks.is_constant(graph, op, weights)
    return matmul(name, arithmetic_of(graph, op, weights.shape[0], params), rows(graph, op), data)


CASES = (
    Case("one_row", ((1, 16),), {"units": 8}),
    Case("odd", ((1, 13),), {"units": 7, "activation": "RELU"}),
    Case("one_in_one_out", ((1, 1),), {"units": 1}),
    Case("one_unit", ((1, 33),), {"units": 1}),
    Case("rows", ((5, 9),), {"units": 4}),
    Case("flattens", ((1, 3, 2, 4),), {"units": 5}),
    Case("keeps_dimensions", ((2, 3, 8),), {"units": 4, "keep_num_dims": True}),
    Case("no_bias", ((1, 12),), {"units": 3, "bias": False}),
    Case("per_channel", ((2, 10),), {"units": 6, "per_channel": True}),
    Case("relu6", ((1, 20),), {"units": 10, "activation": "RELU6"}),
    Case("relu_n1_to_1", ((1, 20),), {"units": 10, "activation": "RELU_N1_TO_1"}),
    Case("input_zero_point_lowest", ((1, 24),), {"units": 6}, quants=((0.05, -128),)),
    Case("input_zero_point_highest", ((1, 24),), {"units": 6}, quants=((0.05, 127),)),
    Case("deep", ((1, 640),), {"units": 16}),
    Case("multiplier_above_1", ((1, 3),), {"units": 4, "quant": (2e-5, 3)}),
    Case("multiplier_tiny", ((1, 8),), {"units": 4, "quant": (5000.0, -7)}),
    Case("float_one_row", ((1, 16),), {"units": 8}, dtype="float32"),
    Case("float_rows_relu", ((4, 11),), {"units": 5, "activation": "RELU"}, dtype="float32"),
    Case("float_no_bias_relu6", ((1, 11),), {"units": 5, "activation": "RELU6", "bias": False}, dtype="float32"),
)

OPERATOR = Operator(
    "FULLY_CONNECTED", "fully_connected", parse, check, reference, macs, CASES, lower, schedules.CONTRACTION, channels
)
