"""What operators of one operand share that compute each element for itself. Not an operator itself.

An element of 8 bits has 256 values, so that the whole function is a table of 256 entries; the operators' files say how
its entries come about, in numpy, and what is computed for floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op, Quant
from harness.compiler.loops import Block, Expr, Program, load
from harness.compiler.lowering.affine import Formula
from harness.compiler.lowering.building import Builder, wide
from harness.compiler.lowering.elementwise import Lookup, elementwise
from harness.compiler.lowering.quantise import quantize_multiplier, requantise
from harness.compiler.ops import checks
from harness.compiler.ops.base import Case, Operator, no_macs
from harness.dtypes import DType

Parse = Callable[[Any], Any]
Quantised = Callable[[Graph, Op, np.ndarray], np.ndarray]  # int64 elements of the input → of the output


def quants(graph: Graph, op: Op) -> tuple[Quant, Quant]:
    """Of the operand and the result."""
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    return checks.quantised(graph, op, x), checks.quantised(graph, op, y)


def check_shape(graph: Graph, op: Op) -> None:
    """One operand, one result of the same shape."""
    checks.arity(graph, op, 1, 1)
    checks.has_shape(graph, op, checks.output(graph, op), checks.operand(graph, op, 0).shape)


def values_of(dtype: DType) -> np.ndarray:
    """int64 (256,): all values of a type of 8 bits, in order."""
    return np.arange(dtype.min, dtype.max + 1, dtype=np.int64)


def rescaled(x: Quant, y: Quant, elements: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """int64 elements of `x` times `factor` in the scale of `y`, without its zero point, as TFLite requantises them.

    The scales are divided in float32, and `factor` is one (`activations.cc`).
    """
    real = float(np.float32(x.scale) * np.float32(factor) / np.float32(y.scale))
    return requantise(elements - x.zero_point, *quantize_multiplier(real))


def lower_table(graph: Graph, op: Op, name: str, outputs: np.ndarray, formula: Formula | None = None) -> Program:
    """y[i] = table[x[i] & 255]: `outputs` has the result's dtype, one entry for each value of the input in order.

    The table stands in the order of the bytes, negative values last, so that a byte as it is loaded is an index.
    `formula` is what the table is near, for schedules that may do without it.
    """
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)

    def element(build: Builder, operands: Sequence[Expr]) -> tuple[Block, Expr]:
        table = build.table("table", np.roll(outputs, x.dtype.min))
        return (), load(table, wide(operands[0]) & 255)

    return elementwise(name, (x,), y, element, Lookup(outputs, formula))


def lower_float(graph: Graph, op: Op, name: str, function: Callable[[Expr], Expr]) -> Program:
    """y[i] = function(x[i])."""

    def element(build: Builder, operands: Sequence[Expr]) -> tuple[Block, Expr]:
        return (), function(operands[0])

    return elementwise(name, (checks.operand(graph, op, 0),), checks.output(graph, op), element)


def operator(
    kind: str,
    c_name: str,
    parse: Parse,
    quantised: Quantised,
    real: Callable[[Any, np.ndarray], np.ndarray],
    written: Callable[[Any, Expr], Expr],
    cases: tuple[Case, ...],
    require: Callable[[Graph, Op], None] | None = None,
    formula: Callable[[Graph, Op, np.ndarray], Formula] | None = None,
) -> Operator:
    """An operator in int8 and float32.

    `real` is the function of float32 in numpy, `written` the same as an expression; both get the attributes first.
    `require` raises ModelError for int8 where the quantisation does not suit. `formula` describes the int8 outputs.
    """

    def check(graph: Graph, op: Op) -> None:
        check_shape(graph, op)
        if checks.computes_in(graph, op, DType.I8, DType.F32) is DType.I8:
            quants(graph, op)
            if require is not None:
                require(graph, op)

    def entries(graph: Graph, op: Op) -> np.ndarray:
        found = np.clip(quantised(graph, op, values_of(DType.I8)), DType.I8.min, DType.I8.max)
        return np.asarray(found.astype(np.int8))

    def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        (x,) = inputs
        assert x is not None
        if x.dtype == np.float32:
            return [real(op.attrs, x)]
        return [entries(graph, op)[x.astype(np.int64) - DType.I8.min]]

    def lower(graph: Graph, op: Op, name: str) -> Program:
        if checks.output(graph, op).dtype is DType.F32:
            return lower_float(graph, op, name, lambda x: written(op.attrs, x))
        outputs = entries(graph, op)
        return lower_table(graph, op, name, outputs, formula and formula(graph, op, outputs))

    return Operator(
        kind, c_name, parse, check, reference, no_macs, cases, lower, schedules.ELEMENTWISE, by_element=True
    )


def straight(x: Quant, y: Quant, outputs: np.ndarray, dtype: DType, low: int, high: int) -> Formula:
    """The formula of a table that requantises and clamps to low … high."""
    bounds = (y.zero_point, low, high)
    return Formula((values_of(dtype),), outputs.astype(np.int64), (x.scale / y.scale,), (x.zero_point,), *bounds)


# ---- functions of real numbers -----------------------------------------------------------------------------------


def through_float(
    graph: Graph, op: Op, elements: np.ndarray, function: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """int64 outputs, not yet clamped, of a function of float32: dequantised, computed, rounded half away from zero.

    In float32 at every step, as TFLite fills such tables (`lut.h`, LUTPopulate).
    """
    x, y = quants(graph, op)
    real = np.float32(x.scale) * (elements - x.zero_point).astype(np.float32)
    scaled = function(real) * (np.float32(1) / np.float32(y.scale))
    rounded = np.copysign(np.floor(np.abs(scaled.astype(np.float64)) + 0.5), scaled)
    return np.asarray(np.clip(rounded, -(1 << 20), 1 << 20).astype(np.int64) + y.zero_point)


def exp(x: np.ndarray) -> np.ndarray:
    """e^x of float32, rounded from double: a C library's may be 1 ULP off."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(x.astype(np.float64)).astype(np.float32))


def tanh(x: np.ndarray) -> np.ndarray:
    """tanh of float32, rounded from double: a C library's may be 2 ULPs off."""
    return np.asarray(np.tanh(x.astype(np.float64)).astype(np.float32))
