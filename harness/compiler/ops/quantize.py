"""QUANTIZE: to 8 bits, from 8 bits of another scale or from float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.intrinsics.floating import ROUND
from harness.compiler.loops import Const, Expr, Program, binary, call, cast
from harness.compiler.lowering.building import clamped, offset
from harness.compiler.lowering.quantise import quantize_multiplier, requantise
from harness.compiler.ops import checks, unary
from harness.compiler.ops.base import Case, Operator, no_macs, options_table
from harness.dtypes import DType

BYTES = (DType.I8, DType.U8)


@dataclass(frozen=True)
class Quantize:
    """Nothing to say: scales and types are those of the tensors."""


def parse(table: tflite.Operator) -> Quantize:
    options_table(table, "QuantizeOptions")
    return Quantize()


def check(graph: Graph, op: Op) -> None:
    unary.check_shape(graph, op)
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    checks.one_of(graph, op, x, *BYTES, DType.F32)
    checks.one_of(graph, op, y, *BYTES)
    checks.quantised(graph, op, y)
    if x.dtype is not DType.F32:
        x_quant, y_quant = unary.quants(graph, op)
        if not x_quant.scale / y_quant.scale * 255 < 1 << 30:
            what = f"output scale {y_quant.scale:g} is too fine for input scale {x_quant.scale:g}"
            checks.refuse(graph, op, what, tensor=y, hint="Requantise the model.")


def _entries(graph: Graph, op: Op) -> np.ndarray:
    """The table from 8 bits to 8 bits; here TFLite divides the scales in double (`quantize.cc`)."""
    x_quant, y_quant = unary.quants(graph, op)
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    scale = quantize_multiplier(x_quant.scale / y_quant.scale)
    found = requantise(unary.values_of(x.dtype) - x_quant.zero_point, *scale) + y_quant.zero_point
    return np.asarray(np.clip(found, y.dtype.min, y.dtype.max).astype(y.dtype.np))


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = inputs
    assert x is not None
    if x.dtype != np.float32:
        return [_entries(graph, op)[x.astype(np.int64) - DType.of(x.dtype).min]]
    y = checks.output(graph, op)
    quant = checks.quantised(graph, op, y)
    with np.errstate(over="ignore"):
        scaled = x / np.float32(quant.scale)
    rounded = np.copysign(np.floor(np.abs(scaled.astype(np.float64)) + 0.5), scaled)
    return [np.clip(rounded + quant.zero_point, y.dtype.min, y.dtype.max).astype(y.dtype.np)]


def lower(graph: Graph, op: Op, name: str) -> Program:
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    quant = checks.quantised(graph, op, y)
    low, high = y.dtype.min, y.dtype.max
    if x.dtype is not DType.F32:
        outputs = _entries(graph, op)
        formula = unary.straight(unary.quants(graph, op)[0], quant, outputs, x.dtype, low, high)
        return unary.lower_table(graph, op, name, outputs, formula)

    def function(element: Expr) -> Expr:
        rounded = call(ROUND, binary("div", element, Const(quant.scale, DType.F32)))
        # Clamped as a float: what is too large for an integer may not be made one.
        bounded = clamped(rounded, float(low - quant.zero_point), float(high - quant.zero_point))
        return cast(offset(cast(bounded, DType.I32), quant.zero_point), y.dtype)

    return unary.lower_float(graph, op, name, function)


CASES = (
    Case("finer", ((1, 4, 5, 60),), {"quant": (0.017, 5)}),
    Case("coarser", ((1, 700),), {"quant": (0.2, 20)}),
    Case("same", ((1, 700),), {"quant": (0.03, 5)}, quants=((0.03, 5),)),
    Case("half", ((1, 700),), {"quant": (0.25, 5)}, quants=((0.125, 4),)),
    Case("few_elements", ((1, 5),), {"quant": (0.05, -128)}),
    Case("to_uint8", ((1, 700),), {"quant": (0.04, 131), "to": "uint8"}, quants=((0.04, 3),)),
    Case("to_uint8_of_another_scale", ((1, 700),), {"quant": (0.03, 100), "to": "uint8"}),
    Case("from_uint8", ((1, 700),), {"quant": (0.03, 3), "to": "int8"}, quants=((0.04, 131),), dtype="uint8"),
    Case("float", ((1, 4, 5, 60),), {"quant": (0.03, -7), "to": "int8"}, dtype="float32"),
    Case("float_to_uint8", ((1, 4, 5, 60),), {"quant": (0.03, 120), "to": "uint8"}, dtype="float32"),
)

OPERATOR = Operator(
    "QUANTIZE", "quantize", parse, check, reference, no_macs, CASES, lower, schedules.ELEMENTWISE, by_element=True
)
