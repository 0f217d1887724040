"""DEPTHWISE_CONV_2D: x (n, h, w, ic), weights (1, kh, kw, oc), bias (oc,) or none → y (n, h', w', oc).

oc = ic * depth_multiplier; output channel c reads input channel c // depth_multiplier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Program
from harness.compiler.lowering.contraction import arithmetic_of, depthwise
from harness.compiler.lowering.quantise import (
    ConvParams,
    accumulate_and_requantise,
    clamp_float,
)
from harness.compiler.lowering.window import Padding, Pair, Window, pad_2d, tap_view
from harness.compiler.ops import checks, conv2d
from harness.compiler.ops.base import Case, Operator, activation_name, padding_name, required_options
from harness.compiler.ops.conv2d import windows
from harness.compiler.ops.products import Separate
from harness.dtypes import DType


@dataclass(frozen=True)
class DepthwiseConv2D:
    padding: Padding
    stride: Pair  # (height, width), as all pairs
    dilation: Pair
    depth_multiplier: int  # output channels per input channel
    activation: str  # "NONE", "RELU", "RELU6" or "RELU_N1_TO_1"


def parse(table: tflite.Operator) -> DepthwiseConv2D:
    options = required_options(table, "DepthwiseConv2DOptions")
    return DepthwiseConv2D(
        padding=padding_name(options.Padding()),
        stride=(options.StrideH(), options.StrideW()),
        dilation=(options.DilationHFactor(), options.DilationWFactor()),
        depth_multiplier=options.DepthMultiplier(),
        activation=activation_name(options.FusedActivationFunction()),
    )


def quantisation(graph: Graph, op: Op) -> ConvParams:
    """Integer parameters of an int8 convolution; multipliers and shifts have one entry per output channel."""
    return conv2d.quantisation(graph, op, axis=3)


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 2, 3)
    dtype = checks.computes_in(graph, op, DType.I8, DType.F32)
    x, weights, y = checks.operand(graph, op, 0), checks.operand(graph, op, 1), checks.output(graph, op)
    for tensor in (x, weights, y):
        checks.has_rank(graph, op, tensor, 4)
    attrs: DepthwiseConv2D = op.attrs
    channels = x.shape[3] * attrs.depth_multiplier
    if weights.shape[0] != 1 or weights.shape[3] != channels:
        what = f"weights {list(weights.shape)} for {x.shape[3]} input channels and multiplier {attrs.depth_multiplier}"
        checks.refuse(graph, op, what, tensor=weights)
    checks.weights_and_bias(graph, op, dtype, channels)
    checks.positive(graph, op, stride=attrs.stride, dilation=attrs.dilation)
    h, w = windows(graph, op)
    checks.has_shape(graph, op, y, (x.shape[0], h.out, w.out, channels))
    if dtype is DType.I8:
        checks.sums_fit(graph, op, quantisation(graph, op), axis=3)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, weights, *rest = inputs
    assert x is not None
    assert weights is not None
    bias = rest[0] if rest else None
    h, w = windows(graph, op)
    if x.dtype == np.float32:
        # float32 sums in the reference's order: height, width of the kernel, the bias last; finite weights
        acc = _sums(pad_2d(x, h, w, 0.0), weights, op, h, w)
        return [clamp_float(acc if bias is None else acc + bias, op.attrs.activation)]
    params = quantisation(graph, op)
    padded = pad_2d(x, h, w, params.input_zero_point).astype(np.int64) - params.input_zero_point
    return [accumulate_and_requantise(_sums(padded, weights, op, h, w), bias, params)]


def _sums(padded: np.ndarray, weights: np.ndarray, op: Op, h: Window, w: Window) -> np.ndarray:
    """(n, h', w', oc) sums over the taps, in the dtype of `padded`."""
    widened = np.repeat(padded, op.attrs.depth_multiplier, axis=3)
    acc = np.zeros((padded.shape[0], h.out, w.out, weights.shape[3]), padded.dtype)
    for ky in range(h.kernel):
        for kx in range(w.kernel):
            acc += tap_view(widened, h, w, (ky, kx)) * weights[0, ky, kx]
    return acc


def channels(graph: Graph, op: Op) -> Separate | None:
    """How the channels of an int8 convolution act on one another: not at all."""
    if checks.operand(graph, op, 0).dtype is not DType.I8:
        return None
    return Separate(graph, op, quantisation(graph, op), windows(graph, op), op.attrs.depth_multiplier)


def macs(graph: Graph, op: Op) -> int:
    weights = checks.operand(graph, op, 1)
    return checks.output(graph, op).elements * weights.shape[1] * weights.shape[2]


def lower(graph: Graph, op: Op, name: str) -> Program:
    x, weights = checks.operand(graph, op, 0), checks.operand(graph, op, 1)
    params = quantisation(graph, op) if x.dtype is DType.I8 else None
    h, w = windows(graph, op)
    data = checks.is_constant(graph, op, weights)
    arithmetic = arithmetic_of(graph, op, weights.shape[3], params)
    return depthwise(name, arithmetic, x.shape[0], h, w, data[0], x.shape[3])


CASES = (
    Case("same_3x3", ((1, 7, 6, 4),), {"kernel": (3, 3)}),
    Case("valid_3x3", ((1, 7, 6, 4),), {"kernel": (3, 3), "padding": "VALID"}),
    Case("stride_2_even", ((1, 8, 10, 4),), {"kernel": (3, 3), "stride": (2, 2), "activation": "RELU"}),
    Case("stride_2_odd", ((1, 9, 7, 3),), {"kernel": (3, 3), "stride": (2, 2)}),
    Case("column_kernel", ((1, 12, 1, 8),), {"kernel": (5, 1), "padding": "VALID", "activation": "RELU6"}),
    Case("kernel_covers_input", ((1, 6, 5, 4),), {"kernel": (6, 5), "padding": "VALID"}),
    Case("kernel_larger_than_input", ((1, 2, 3, 2),), {"kernel": (5, 5)}),
    Case("multiplier_8_of_1", ((1, 12, 10, 1),), {"kernel": (10, 8), "multiplier": 8, "stride": (2, 2)}),
    Case("multiplier_3_of_2", ((1, 5, 6, 2),), {"kernel": (2, 3), "multiplier": 3}),
    Case("dilated", ((1, 9, 8, 3),), {"kernel": (3, 3), "dilation": (2, 3)}),
    Case("dilated_valid", ((1, 9, 8, 2),), {"kernel": (2, 3), "dilation": (4, 2), "padding": "VALID"}),
    Case("stride_over_kernel", ((1, 11, 9, 2),), {"kernel": (2, 2), "stride": (3, 3)}),
    Case("pointwise", ((1, 3, 3, 5),), {"kernel": (1, 1)}),
    Case("relu_n1_to_1", ((1, 5, 5, 3),), {"activation": "RELU_N1_TO_1"}),
    Case("per_tensor_weights", ((1, 5, 5, 4),), {"per_channel": False}),
    Case("no_bias", ((1, 5, 5, 4),), {"bias": False}),
    Case("batch_of_2", ((2, 4, 4, 3),), {"kernel": (2, 2)}),
    Case("input_zero_point_lowest", ((1, 5, 5, 4),), {}, quants=((0.05, -128),)),
    Case("input_zero_point_highest", ((1, 5, 5, 4),), {}, quants=((0.05, 127),)),
    Case("multiplier_above_1", ((1, 4, 4, 2),), {"kernel": (1, 1), "quant": (2e-5, 3)}),
    Case("multiplier_tiny", ((1, 4, 4, 2),), {"kernel": (1, 1), "quant": (5000.0, -7)}),
    Case("float_same", ((1, 7, 6, 3),), {}, dtype="float32"),
    Case("float_multiplier", ((2, 8, 7, 2),), {"multiplier": 2, "stride": (2, 2)}, dtype="float32"),
    Case("float_dilated", ((1, 9, 8, 2),), {"dilation": (2, 2), "padding": "VALID"}, dtype="float32"),
)

OPERATOR = Operator(
    "DEPTHWISE_CONV_2D", "depthwise_conv2d", parse, check, reference, macs, CASES, lower, schedules.DEPTHWISE, channels
)
