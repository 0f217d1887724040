"""MEAN over some dimensions, constant ones: x (n, h, w, c) with axes 1 and 2 → y (n, c), or (n, 1, 1, c).

The int8 kernel (`reference/reduce.h`, QuantizedMeanOrSum) sums without the zero point and scales once: the division by
the number of elements is part of the multiplier, which loses its last bits there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Const,
    Expr,
    Program,
    Var,
    accumulate,
    binary,
    load,
    store,
)
from harness.compiler.lowering.building import Builder, parallel, serial, to_int8, wide
from harness.compiler.lowering.quantise import quantize_multiplier, requantise
from harness.compiler.ops import checks
from harness.compiler.ops.base import Case, Operator, no_macs, options_table
from harness.dtypes import DType


@dataclass(frozen=True)
class Mean:
    keep_dims: bool = False  # dimensions that were averaged over stay, with one element


@dataclass(frozen=True)
class MeanParams:
    """y = clamp(requantise(sum(x - input_zero_point), multiplier, shift) + output_zero_point)."""

    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int  # positive to the left


def parse(table: tflite.Operator) -> Mean:
    options = options_table(table, "ReducerOptions")
    return Mean() if options is None else Mean(bool(options.KeepDims()))


def axes(graph: Graph, op: Op) -> tuple[int, ...]:
    """The dimensions that are averaged over, in order, from 0."""
    x, given = checks.operand(graph, op, 0), checks.operand(graph, op, 1)
    found = checks.is_constant(graph, op, given).reshape(-1).tolist()
    rank = len(x.shape)
    if any(not -rank <= axis < rank for axis in found):
        checks.refuse(graph, op, f"axes {found} of a tensor of {rank} dimensions", tensor=given)
    return tuple(sorted({axis % rank for axis in found}))


def count(graph: Graph, op: Op) -> int:
    """Elements of the input for each one of the output."""
    return checks.operand(graph, op, 0).elements // checks.output(graph, op).elements


def quantisation(graph: Graph, op: Op) -> MeanParams:
    """Integer parameters of an int8 mean."""
    x = checks.quantised(graph, op, checks.operand(graph, op, 0))
    y = checks.quantised(graph, op, checks.output(graph, op))
    n = count(graph, op)
    multiplier, shift = quantize_multiplier(x.scale / y.scale)
    bits = min(n.bit_length() - 1, 32, 31 + shift)
    return MeanParams(x.zero_point, y.zero_point, (multiplier << bits) // n, shift - bits)


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 2, 2)
    dtype = checks.computes_in(graph, op, DType.I8, DType.F32)
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    checks.has_dtype(graph, op, checks.operand(graph, op, 1), DType.I32)
    averaged = axes(graph, op)
    kept = op.attrs.keep_dims
    checks.has_shape(
        graph, op, y, tuple(1 if i in averaged else n for i, n in enumerate(x.shape) if kept or i not in averaged)
    )
    if dtype is DType.I8:
        p = quantisation(graph, op)
        if p.shift > 22 or 255 * count(graph, op) << max(p.shift, 0) >= 1 << 31:
            what = f"{count(graph, op)} elements an average, or an output scale too fine for them"
            checks.refuse(graph, op, what, tensor=y, hint="Requantise the model.")


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[0]
    assert x is not None
    averaged, shape = axes(graph, op), checks.output(graph, op).shape
    rest = [i for i in range(x.ndim) if i not in averaged]
    rows = x.transpose(*rest, *averaged).reshape(*shape, -1)  # the elements of each average in the order of memory
    if x.dtype == np.float32:
        total = np.add.accumulate(rows, axis=-1, dtype=np.float32)[..., -1]
        return [np.asarray(total / np.float32(rows.shape[-1]))]
    p = quantisation(graph, op)
    total = (rows.astype(np.int64) - p.input_zero_point).sum(axis=-1)
    y = requantise(total, p.multiplier, p.shift) + p.output_zero_point
    return [np.clip(y, DType.I8.min, DType.I8.max).astype(np.int8)]


def lower(graph: Graph, op: Op, name: str) -> Program:
    """A loop for each dimension that stays, then one for each that is averaged over."""
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    averaged = axes(graph, op)
    build = Builder(name)
    source = build.input("input", x.dtype, *x.shape)
    stays = [i for i in range(len(x.shape)) if i not in averaged]
    # Like the channels of a pool: that is the loop of which a schedule takes several iterations at once.
    index = [Var("c" if stays and i == stays[-1] else f"i{i}") for i in range(len(x.shape))]
    result = build.output(y.dtype, *(x.shape[i] for i in stays))
    integer = y.dtype is DType.I8
    acc = Buffer("total", DType.I32 if integer else DType.F32, (), "register")
    zero_point = quantisation(graph, op).input_zero_point if integer else 0
    element = load(source, *index)
    start = -zero_point * count(graph, op) if integer else 0.0
    body: Block = (accumulate(acc, wide(element) if integer else element),)
    for i in reversed(averaged):
        body = (serial(index[i].name, 0, x.shape[i], *body),)
    value = _scaled(build, graph, op, acc) if integer else binary("div", load(acc), float(count(graph, op)))
    kept = [index[i] for i in stays]
    body = (Alloc(acc), store(acc, value=Const(start, acc.element)), *body, store(result, *kept, value=value))
    for i in reversed(stays):
        body = (parallel(index[i].name, x.shape[i], *body),)
    return build.program(*body)


def _scaled(build: Builder, graph: Graph, op: Op, acc: Buffer) -> Expr:
    p = quantisation(graph, op)
    one = np.ones(1, np.int64)
    largest = 255 * count(graph, op)
    scaled = build.requantised(load(acc), one * p.multiplier, one * p.shift, 0, largest)
    return to_int8(scaled, p.output_zero_point, DType.I8.min, DType.I8.max)


CASES = (
    Case("spatial", ((1, 5, 5, 8),)),
    Case("spatial_kept", ((1, 4, 7, 6),), {"keep_dims": True}),
    Case("same_scale", ((1, 8, 8, 5),), {"quant": (0.04, -3)}, quants=((0.04, -3),)),
    Case("coarser", ((1, 8, 8, 5),), {"quant": (0.3, -3)}),
    Case("finer", ((1, 25, 5, 3),), {"quant": (0.002, 11)}),
    Case("batch_of_2", ((2, 3, 4, 3),)),
    Case("last", ((3, 2, 9),), {"axes": (-1,)}),
    Case("first", ((3, 2, 9),), {"axes": (0,)}),
    Case("outer_and_last", ((3, 2, 9),), {"axes": (2, 0), "keep_dims": True}),
    Case("all", ((2, 3, 4),), {"axes": (0, 1, 2)}),
    Case("one_element_an_average", ((1, 1, 1, 9),)),
    Case("float", ((1, 5, 6, 3),), dtype="float32"),
    Case("float_last", ((3, 2, 9),), {"axes": (2,), "keep_dims": True}, dtype="float32"),
)

OPERATOR = Operator("MEAN", "mean", parse, check, reference, no_macs, CASES, lower, schedules.POOL)
