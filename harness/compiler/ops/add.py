"""ADD: a + b, broadcast as numpy does, with a fused activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op, Tensor
from harness.compiler.loops import Block, Buffer, Const, Expr, Let, Program, Var, load, store
from harness.compiler.lowering.building import Builder, clamped, parallel, to_int8, wide
from harness.compiler.lowering.quantise import (
    activation_range,
    clamp_float,
    float_activation_range,
    quantize_multiplier,
    requantise,
)
from harness.compiler.ops import checks
from harness.compiler.ops.base import Case, Operator, activation_name, no_macs, options_table
from harness.compiler.ops.channels import Tied, at_ends, straight
from harness.dtypes import DType

LEFT_SHIFT = 20  # bits of headroom TFLite gives both int8 operands before it rescales them


@dataclass(frozen=True)
class Add:
    activation: str = "NONE"  # "NONE", "RELU", "RELU6" or "RELU_N1_TO_1"


@dataclass(frozen=True)
class AddParams:
    """Integer parameters; pairs hold one entry per operand, shifts are positive to the left (here never above 0).

    t[i] = requantise((x[i] - zero_points[i]) << LEFT_SHIFT, multipliers[i], shifts[i])
    y = clamp(requantise(t[0] + t[1], output_multiplier, output_shift) + output_zero_point)
    """

    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    output_zero_point: int
    output_multiplier: int
    output_shift: int
    act_min: int
    act_max: int


def parse(table: tflite.Operator) -> Add:
    options = options_table(table, "AddOptions")
    return Add() if options is None else Add(activation_name(options.FusedActivationFunction()))


def quantisation(graph: Graph, op: Op) -> AddParams:
    """Integer parameters of an int8 addition. Raises ModelError where the output is too fine for its inputs."""
    y = checks.output(graph, op)
    a, b = (checks.quantised(graph, op, checks.operand(graph, op, position)) for position in (0, 1))
    y_quant = checks.quantised(graph, op, y)
    unit = 2 * max(a.scale, b.scale)  # exact: scales are float32 values
    real_output = unit / (2.0**LEFT_SHIFT * y_quant.scale)
    if real_output >= 1:
        what = f"output scale {y_quant.scale:g} is too fine for input scales {a.scale:g} and {b.scale:g}"
        checks.refuse(graph, op, what, tensor=y, hint="Requantise the model.")
    a_multiplier, a_shift = quantize_multiplier(a.scale / unit)
    b_multiplier, b_shift = quantize_multiplier(b.scale / unit)
    return AddParams(
        (a.zero_point, b.zero_point),
        (a_multiplier, b_multiplier),
        (a_shift, b_shift),
        y_quant.zero_point,
        *quantize_multiplier(real_output),
        *activation_range(op.attrs.activation, y_quant, y.dtype),
    )


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 2, 2)
    dtype = checks.computes_in(graph, op, DType.I8, DType.F32)
    a, b, y = checks.operand(graph, op, 0), checks.operand(graph, op, 1), checks.output(graph, op)
    checks.has_dtype(graph, op, b, dtype)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        checks.refuse(graph, op, f"shapes {list(a.shape)} and {list(b.shape)} do not broadcast", tensor=b)
    checks.has_shape(graph, op, y, shape)
    if dtype is DType.I8:
        quantisation(graph, op)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    a, b = inputs
    assert a is not None
    assert b is not None
    if a.dtype == np.float32:
        return [clamp_float(a + b, op.attrs.activation)]
    p = quantisation(graph, op)
    scaled = [
        requantise((x.astype(np.int64) - zero_point) << LEFT_SHIFT, multiplier, shift)
        for x, zero_point, multiplier, shift in zip((a, b), p.zero_points, p.multipliers, p.shifts, strict=True)
    ]
    y = requantise(scaled[0] + scaled[1], p.output_multiplier, p.output_shift) + p.output_zero_point
    return [np.clip(y, p.act_min, p.act_max).astype(np.int8)]


def channels(graph: Graph, op: Op) -> Tied | None:
    """Channel by channel, but for an operand with a single one that all of the output's read; sums grow with both."""
    y = checks.output(graph, op)
    if y.dtype is not DType.I8 or not y.shape:
        return None
    wide = [p for p in (0, 1) if checks.operand(graph, op, p).shape[-1:] == y.shape[-1:]]
    return Tied(op.attrs, [straight(p, y.shape[-1]) for p in wide], at_ends(graph, op, reference))


def lower(graph: Graph, op: Op, name: str) -> Program:
    """One flat loop where all shapes are equal, otherwise a loop per dimension of the output."""
    operands = (checks.operand(graph, op, 0), checks.operand(graph, op, 1))
    y = checks.output(graph, op)
    flat = all(x.shape == y.shape for x in operands)
    shape = (y.elements,) if flat else y.shape
    build = Builder(name)
    index = tuple(Var(f"i{axis}" if len(shape) > 1 else "i") for axis in range(len(shape)))
    elements: list[Expr] = []
    for position, x in enumerate(operands):
        own = shape if flat else (1,) * (len(shape) - len(x.shape)) + x.shape
        source = _source(build, op, position, x, own)
        elements.append(load(source, *(Const(0) if n == 1 else i for i, n in zip(index, own, strict=True))))
    result = build.output(y.dtype, *shape)
    if y.dtype is DType.F32:
        total = clamped(elements[0] + elements[1], *map(float, float_activation_range(op.attrs.activation)))
        body: Block = (store(result, *index, value=total),)
    else:
        body = _sum_int8(build, quantisation(graph, op), elements, result, index)
    for i, count in reversed(list(zip(index, shape, strict=True))):
        body = (parallel(i.name, count, *body),)
    return build.program(*body)


def _source(build: Builder, op: Op, position: int, x: Tensor, shape: tuple[int, ...]) -> Buffer:
    """The buffer of an operand: a parameter, the same one for a tensor added to itself, or a constant."""
    if x.data is not None:
        return build.table(f"constant_{position}", x.data.reshape(shape))
    if position == 1 and op.inputs[0] == op.inputs[1]:
        return build.buffers[0]
    both = all(b.space != "input" for b in build.buffers)
    return build.input("input" if both else "input_1", x.dtype, *shape)


def _sum_int8(
    build: Builder, params: AddParams, elements: list[Expr], result: Buffer, index: tuple[Expr, ...]
) -> Block:
    one = np.ones(1, np.int64)
    largest = 255 << LEFT_SHIFT
    scaled = []
    for i, element in enumerate(elements):
        moved = wide(element, params.zero_points[i]) * (1 << LEFT_SHIFT)
        rescaled = build.requantised(moved, one * params.multipliers[i], one * params.shifts[i], 0, largest)
        scaled.append(Let("ab"[i], rescaled))
    total = scaled[0].var + scaled[1].var
    shifted = build.requantised(total, one * params.output_multiplier, one * params.output_shift, 0, 2 * largest)
    clamped_sum = to_int8(shifted, params.output_zero_point, params.act_min, params.act_max)
    return (*scaled, store(result, *index, value=clamped_sum))


CASES = (
    Case("same_shape", ((1, 4, 5, 3), (1, 4, 5, 3))),
    Case("one_element", ((1, 1), (1, 1))),
    Case("relu", ((1, 4, 4, 8), (1, 4, 4, 8)), {"activation": "RELU"}),
    Case("relu6", ((1, 33), (1, 33)), {"activation": "RELU6"}),
    Case("relu_n1_to_1", ((2, 9), (2, 9)), {"activation": "RELU_N1_TO_1"}),
    Case("unlike_scales", ((1, 64), (1, 64)), quants=((0.9, -128), (0.0007, 127))),
    Case("first_finer", ((1, 64), (1, 64)), quants=((0.0011, 5), (0.4, -100))),
    Case("equal_scales", ((1, 64), (1, 64)), quants=((0.1, 0), (0.1, 0))),
    Case("saturates", ((1, 64), (1, 64)), {"quant": (0.003, 0)}),
    Case("coarse_output", ((1, 64), (1, 64)), {"quant": (7.0, 11)}),
    Case("bias_of_channels", ((1, 4, 4, 6), (6,))),
    Case("scalar_like", ((1, 4, 4, 6), (1, 1, 1, 1))),
    Case("first_broadcast", ((1, 1, 1, 6), (1, 4, 4, 6))),
    Case("both_broadcast", ((1, 5, 1, 3), (1, 1, 4, 3))),
    Case("float", ((1, 4, 5, 3), (1, 4, 5, 3)), dtype="float32"),
    Case("float_broadcast_relu", ((1, 4, 5, 3), (3,)), {"activation": "RELU"}, dtype="float32"),
)

OPERATOR = Operator("ADD", "add", parse, check, reference, no_macs, CASES, lower, schedules.ELEMENTWISE, channels)
