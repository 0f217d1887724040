"""CONV_2D: x (n, h, w, ic), weights (oc, kh, kw, ic), bias (oc,) or none → y (n, h', w', oc)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Program
from harness.compiler.lowering.contraction import arithmetic_of, convolution
from harness.compiler.lowering.quantise import (
    ConvParams,
    accumulate_and_requantise,
    clamp_float,
    conv_params,
    effective_scales,
)
from harness.compiler.lowering.window import Padding, Pair, Window, pad_2d, tap_view, windows_2d
from harness.compiler.ops import checks
from harness.compiler.ops.base import Case, Operator, activation_name, padding_name, required_options
from harness.compiler.ops.products import Product
from harness.dtypes import DType


@dataclass(frozen=True)
class Conv2D:
    padding: Padding
    stride: Pair  # (height, width), as all pairs
    dilation: Pair
    activation: str  # "NONE", "RELU", "RELU6" or "RELU_N1_TO_1"


def parse(table: tflite.Operator) -> Conv2D:
    options = required_options(table, "Conv2DOptions")
    return Conv2D(
        padding=padding_name(options.Padding()),
        stride=(options.StrideH(), options.StrideW()),
        dilation=(options.DilationHFactor(), options.DilationWFactor()),
        activation=activation_name(options.FusedActivationFunction()),
    )


def windows(graph: Graph, op: Op) -> tuple[Window, Window]:
    """The windows along height and width, of a depthwise convolution as well."""
    x, weights = checks.operand(graph, op, 0), checks.operand(graph, op, 1)
    attrs = op.attrs
    return windows_2d(attrs.padding, x.shape[1:3], weights.shape[1:3], attrs.stride, attrs.dilation)


def quantisation(graph: Graph, op: Op, axis: int = 0) -> ConvParams:
    """Integer parameters of an int8 convolution; multipliers and shifts have one entry per output channel.

    `axis` is the dimension of the weights that the output channels run along.
    """
    x, weights, y = checks.operand(graph, op, 0), checks.operand(graph, op, 1), checks.output(graph, op)
    x_quant, y_quant = checks.quantised(graph, op, x), checks.quantised(graph, op, y)
    weight_quant = checks.quantised_weights(graph, op, weights, axis=axis)
    scales = effective_scales(x_quant, weight_quant, y_quant, weights.shape[axis])
    return conv_params(x_quant, y_quant, scales, op.attrs.activation)


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 2, 3)
    dtype = checks.computes_in(graph, op, DType.I8, DType.F32)
    x, weights, y = checks.operand(graph, op, 0), checks.operand(graph, op, 1), checks.output(graph, op)
    for tensor in (x, weights, y):
        checks.has_rank(graph, op, tensor, 4)
    channels, depth = weights.shape[0], weights.shape[3]
    if depth != x.shape[3]:
        if x.shape[3] % depth == 0:
            what = f"{x.shape[3] // depth} groups; grouped convolution is not supported"
            checks.refuse(graph, op, what, tensor=weights, hint="Split it into one CONV_2D per group.")
        checks.refuse(graph, op, f"filter depth {depth} for {x.shape[3]} input channels", tensor=weights)
    checks.weights_and_bias(graph, op, dtype, channels)
    checks.positive(graph, op, stride=op.attrs.stride, dilation=op.attrs.dilation)
    h, w = windows(graph, op)
    checks.has_shape(graph, op, y, (x.shape[0], h.out, w.out, channels))
    if dtype is DType.I8:
        checks.sums_fit(graph, op, quantisation(graph, op), axis=0)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, weights, *rest = inputs
    assert x is not None
    assert weights is not None
    bias = rest[0] if rest else None
    if x.dtype == np.float32:
        return [_float(graph, op, x, weights, bias)]
    h, w = windows(graph, op)
    params = quantisation(graph, op)
    # float64 holds every sum of fewer than 2^37 int8 products exactly, and its matrix product is the fast one
    padded = pad_2d(x, h, w, params.input_zero_point).astype(np.float64) - params.input_zero_point
    taps = [(ky, kx) for ky in range(h.kernel) for kx in range(w.kernel)]
    patches = np.stack([tap_view(padded, h, w, tap) for tap in taps], axis=3)
    flat = patches.reshape(*patches.shape[:3], -1)
    acc = flat @ weights.reshape(weights.shape[0], -1).T.astype(np.float64)
    return [accumulate_and_requantise(acc, bias, params)]


def _float(graph: Graph, op: Op, x: np.ndarray, weights: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """float32 sums in the reference's order: height, width, depth of the kernel, the bias last; finite weights."""
    h, w = windows(graph, op)
    padded = pad_2d(x, h, w, 0.0)
    acc = np.zeros((x.shape[0], h.out, w.out, weights.shape[0]), np.float32)
    product = np.empty_like(acc)
    for ky in range(h.kernel):
        for kx in range(w.kernel):
            view = tap_view(padded, h, w, (ky, kx))
            for depth in range(x.shape[3]):
                np.multiply(view[..., depth, None], weights[:, ky, kx, depth], out=product)
                acc += product
    if bias is not None:
        acc += bias
    return clamp_float(acc, op.attrs.activation)


def channels(graph: Graph, op: Op) -> Product | None:
    """How the channels of an int8 convolution act on one another."""
    x = checks.operand(graph, op, 0)
    if x.dtype is not DType.I8:
        return None
    return Product(graph, op, quantisation(graph, op), windows(graph, op), x.shape[3])


def macs(graph: Graph, op: Op) -> int:
    weights = checks.operand(graph, op, 1)
    return checks.output(graph, op).elements * (weights.elements // weights.shape[0])


def lower(graph: Graph, op: Op, name: str) -> Program:
    x, weights = checks.operand(graph, op, 0), checks.operand(graph, op, 1)
    params = quantisation(graph, op) if x.dtype is DType.I8 else None
    h, w = windows(graph, op)
    data = checks.is_constant(graph, op, weights)
    return convolution(name, arithmetic_of(graph, op, weights.shape[0], params), x.shape[0], h, w, data)


CASES = (
    Case("pointwise", ((1, 4, 5, 8),), {"kernel": (1, 1), "out_channels": 6}),
    Case("same_3x3", ((1, 7, 6, 3),), {"kernel": (3, 3), "out_channels": 5}),
    Case("valid_3x3", ((1, 7, 6, 3),), {"kernel": (3, 3), "out_channels": 4, "padding": "VALID"}),
    Case("stride_2_even", ((1, 8, 10, 3),), {"kernel": (3, 3), "out_channels": 4, "stride": (2, 2)}),
    Case("stride_2_odd_relu", ((1, 9, 7, 2),), {"kernel": (3, 3), "stride": (2, 2), "activation": "RELU"}),
    Case("pointwise_stride_2", ((1, 8, 8, 4),), {"kernel": (1, 1), "out_channels": 8, "stride": (2, 2)}),
    Case("tall_kernel", ((1, 12, 6, 1),), {"kernel": (10, 4), "out_channels": 8, "stride": (2, 2)}),
    Case("even_kernel", ((1, 6, 5, 2),), {"kernel": (2, 4), "out_channels": 3}),
    Case("kernel_larger_than_input", ((1, 2, 3, 2),), {"kernel": (5, 5), "out_channels": 3}),
    Case("no_whole_window", ((1, 2, 5, 3),), {"kernel": (3, 3), "out_channels": 3}),
    Case("dilated", ((1, 9, 8, 2),), {"kernel": (3, 3), "out_channels": 3, "dilation": (2, 3)}),
    Case("dilated_valid", ((1, 9, 8, 2),), {"kernel": (3, 2), "dilation": (3, 2), "padding": "VALID"}),
    Case("stride_over_kernel", ((1, 11, 9, 2),), {"kernel": (2, 2), "stride": (4, 3)}),
    Case("relu6", ((1, 5, 5, 3),), {"activation": "RELU6"}),
    Case("relu_n1_to_1", ((1, 5, 5, 3),), {"activation": "RELU_N1_TO_1"}),
    Case("one_channel", ((1, 4, 4, 1),), {"kernel": (1, 1), "out_channels": 1}),
    Case("odd_channels", ((1, 3, 5, 7),), {"kernel": (3, 1), "out_channels": 13}),
    Case("per_tensor_weights", ((1, 5, 5, 4),), {"per_channel": False}),
    Case("batch_of_3", ((3, 4, 4, 2),), {"kernel": (2, 2), "stride": (2, 2)}),
    Case("input_zero_point_lowest", ((1, 5, 5, 4),), {}, quants=((0.05, -128),)),
    Case("input_zero_point_highest", ((1, 5, 5, 4),), {}, quants=((0.05, 127),)),
    Case("saturates", ((1, 4, 4, 4),), {"quant": (0.002, 100)}),
    Case("multiplier_above_1", ((1, 4, 4, 2),), {"kernel": (1, 1), "quant": (2e-5, 3)}),
    Case("multiplier_tiny", ((1, 4, 4, 2),), {"kernel": (1, 1), "quant": (5000.0, -7)}),
    Case("multiplier_flushed_to_zero", ((1, 4, 4, 2),), {"kernel": (1, 1), "quant": (1e9, 21)}),
    Case("float_same", ((1, 7, 6, 3),), {"out_channels": 5}, dtype="float32"),
    Case("float_stride_relu6", ((2, 8, 7, 4),), {"stride": (2, 1), "activation": "RELU6"}, dtype="float32"),
    Case("float_dilated_valid", ((1, 9, 8, 2),), {"dilation": (2, 2), "padding": "VALID"}, dtype="float32"),
    Case("float_n1_to_1", ((1, 4, 4, 3),), {"kernel": (1, 1), "activation": "RELU_N1_TO_1"}, dtype="float32"),
)

OPERATOR = Operator("CONV_2D", "conv2d", parse, check, reference, macs, CASES, lower, schedules.CONTRACTION, channels)
