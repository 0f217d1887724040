"""Rules that several operators share. Each raises ModelError with the operator and the tensor in the message."""

from __future__ import annotations

import math
from typing import NoReturn

import numpy as np

from harness.compiler.graph import Graph, Op, Quant, Tensor
from harness.compiler.lowering.quantise import I32_MAX, I32_MIN, ConvParams, requantise
from harness.compiler.ops.base import Shape
from harness.dtypes import DType
from harness.errors import ModelError

_NAME_LIMIT = 80  # characters of a tensor's name in a message: names are the model's, of any length
_CONVERT = "Convert the model with full integer quantisation."


def refuse(graph: Graph, op: Op, what: str, *, tensor: Tensor | None = None, hint: str = "") -> NoReturn:
    """Raises ModelError placed at the operator and, where given, the tensor; the frontend adds the file."""
    where = f"operator {', '.join(map(str, op.sources))} ({op.kind})"
    if tensor is not None:
        where += f", tensor {ascii(tensor.name)[:_NAME_LIMIT]}"
    raise ModelError(what, where=where, hint=hint)


def arity(graph: Graph, op: Op, least: int, most: int, results: int = 1) -> None:
    """Between `least` and `most` operands of which the first `least` are present; so many results; no tensor empty."""
    present = sum(graph.operand(op, position) is not None for position in range(least))
    if present < least or len(op.inputs) > most:
        expected = str(least) if least == most else f"{least} to {most}"
        refuse(graph, op, f"{len(op.inputs)} operands, of which {present} are present, where {expected} belong")
    if len(op.outputs) != results:
        refuse(graph, op, f"{len(op.outputs)} results where {results} belong" + "s" * (results == 1))
    for tensor in (*operands(graph, op), *map(graph.tensor, op.outputs)):
        if any(extent < 1 for extent in tensor.shape):
            refuse(graph, op, f"shape {list(tensor.shape)} has no elements", tensor=tensor)


def operands(graph: Graph, op: Op) -> list[Tensor]:
    """The operands that are present."""
    found = (graph.operand(op, position) for position in range(len(op.inputs)))
    return [tensor for tensor in found if tensor is not None]


def operand(graph: Graph, op: Op, position: int) -> Tensor:
    """An operand that `arity` has found present."""
    tensor = graph.operand(op, position)
    if tensor is None:
        refuse(graph, op, f"operand {position} is missing")
    return tensor


def output(graph: Graph, op: Op) -> Tensor:
    return graph.tensor(op.outputs[0])


def computes_in(graph: Graph, op: Op, *supported: DType) -> DType:
    """The type of the first operand and the result, which must be the same and supported."""
    x, y = operand(graph, op, 0), output(graph, op)
    names = " and ".join(dtype.value for dtype in supported)
    for tensor in (x, y):
        if tensor.dtype not in supported:
            refuse(graph, op, f"type {tensor.dtype.value}; supported are {names}", tensor=tensor)
    if x.dtype is not y.dtype:
        refuse(graph, op, f"{x.dtype.value} in but {y.dtype.value} out", tensor=y)
    return x.dtype


def one_of(graph: Graph, op: Op, tensor: Tensor, *dtypes: DType) -> None:
    if tensor.dtype not in dtypes:
        names = ", ".join(dtype.value for dtype in dtypes)
        refuse(graph, op, f"type {tensor.dtype.value} where one of {names} belongs", tensor=tensor)


def has_dtype(graph: Graph, op: Op, tensor: Tensor, dtype: DType, hint: str = "") -> None:
    if tensor.dtype is not dtype:
        refuse(graph, op, f"type {tensor.dtype.value} where {dtype.value} belongs", tensor=tensor, hint=hint)


def has_shape(graph: Graph, op: Op, tensor: Tensor, shape: Shape) -> None:
    if tensor.shape != shape:
        refuse(graph, op, f"shape {list(tensor.shape)} where {list(shape)} belongs", tensor=tensor)


def has_rank(graph: Graph, op: Op, tensor: Tensor, rank: int) -> None:
    if len(tensor.shape) != rank:
        refuse(graph, op, f"{len(tensor.shape)} dimensions {list(tensor.shape)} where {rank} belong", tensor=tensor)


def is_constant(graph: Graph, op: Op, tensor: Tensor) -> np.ndarray:
    if tensor.data is None:
        refuse(graph, op, "is computed at run time; only constants are supported here", tensor=tensor)
    return tensor.data


def positive(graph: Graph, op: Op, **pairs: tuple[int, int]) -> None:
    """Strides, dilations and windows: both members of each (height, width) pair at least 1."""
    for name, pair in pairs.items():
        if min(pair) < 1:
            refuse(graph, op, f"{name} {pair[0]} x {pair[1]}; both must be at least 1")


def quantised(graph: Graph, op: Op, tensor: Tensor) -> Quant:
    """The per-tensor quantisation of an activation: scale finite and above 0, zero point within the type."""
    quant = tensor.quant
    if quant is None:
        refuse(graph, op, "has no quantisation", tensor=tensor, hint=_CONVERT)
    if len(quant.scales) != 1 or len(quant.zero_points) != 1:
        refuse(graph, op, f"{len(quant.scales)} scales where one belongs", tensor=tensor)
    if not (math.isfinite(quant.scale) and quant.scale > 0):
        refuse(graph, op, f"scale {quant.scale}; it must be above 0 and finite", tensor=tensor)
    if not tensor.dtype.min <= quant.zero_point <= tensor.dtype.max:
        refuse(graph, op, f"zero point {quant.zero_point} outside {tensor.dtype.value}", tensor=tensor)
    return quant


def quantised_weights(graph: Graph, op: Op, tensor: Tensor, axis: int) -> Quant:
    """The quantisation of weights: one scale, or one for each output channel along `axis`; all zero points 0."""
    quant = tensor.quant
    channels = tensor.shape[axis]
    if quant is None:
        refuse(graph, op, "has no quantisation", tensor=tensor, hint=_CONVERT)
    if len(quant.scales) not in (1, channels):
        refuse(graph, op, f"{len(quant.scales)} scales for {channels} output channels", tensor=tensor)
    if len(quant.scales) > 1 and quant.axis != axis:
        refuse(graph, op, f"scales along dimension {quant.axis} where {axis} belongs", tensor=tensor)
    if not all(math.isfinite(scale) and scale >= 0 for scale in quant.scales):
        refuse(graph, op, "scales must be finite and not negative", tensor=tensor)
    if any(quant.zero_points):
        hint = "Quantise the weights symmetrically."
        refuse(graph, op, "has a zero point other than 0", tensor=tensor, hint=hint)
    return quant


def weights_and_bias(graph: Graph, op: Op, dtype: DType, channels: int) -> None:
    """Operands 1 and 2 of a convolution of any kind: constant, of the types that go with `dtype`, bias (channels,)."""
    weights, bias = operand(graph, op, 1), graph.operand(op, 2)
    if dtype is DType.F32 and weights.dtype is DType.I8:
        hint = "Quantise the activations as well, or leave the weights in float32."
        refuse(graph, op, "int8 weights with float32 activations (hybrid) are not supported", tensor=weights, hint=hint)
    has_dtype(graph, op, weights, dtype)
    is_constant(graph, op, weights)
    if bias is not None:
        has_dtype(graph, op, bias, DType.I32 if dtype is DType.I8 else dtype)
        has_shape(graph, op, bias, (channels,))
        is_constant(graph, op, bias)


def sums_fit(graph: Graph, op: Op, params: ConvParams, axis: int) -> None:
    """No int8 input can take an accumulator, or its requantised value, out of 32 bits, where TFLite is undefined."""
    weights, bias = operand(graph, op, 1), graph.operand(op, 2)
    w = np.moveaxis(is_constant(graph, op, weights), axis, 0).reshape(weights.shape[axis], -1).astype(np.int64)
    below, above = DType.I8.min - params.input_zero_point, DType.I8.max - params.input_zero_point
    offset = 0 if bias is None or bias.data is None else bias.data.astype(np.int64)
    largest = np.maximum(w * above, w * below).sum(axis=1) + offset
    smallest = np.minimum(w * above, w * below).sum(axis=1) + offset
    for bound in (largest, smallest):
        widened = bound * (1 << np.maximum(params.shifts, 0).astype(np.int64))
        fits = (widened >= I32_MIN) & (widened <= I32_MAX) & (params.shifts <= 30)
        scaled = requantise(bound, params.multipliers, params.shifts) + params.output_zero_point
        fits &= (scaled >= I32_MIN) & (scaled <= I32_MAX)
        if not fits.all():
            channel = int(np.argmin(fits))
            what = f"the sum of output channel {channel} can reach {int(bound[channel])}, which 32 bits do not hold"
            refuse(graph, op, f"{what} after scaling", tensor=weights, hint="Requantise the model.")
