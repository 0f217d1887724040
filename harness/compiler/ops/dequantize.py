"""DEQUANTIZE: scale * (x - zero point), from 8 bits to float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Const, Expr, Program, cast
from harness.compiler.lowering.building import wide
from harness.compiler.ops import checks, unary
from harness.compiler.ops.base import Case, Operator, no_macs, options_table
from harness.dtypes import DType


@dataclass(frozen=True)
class Dequantize:
    """Nothing to say: scale and type are those of the operand."""


def parse(table: tflite.Operator) -> Dequantize:
    options_table(table, "DequantizeOptions")
    return Dequantize()


def check(graph: Graph, op: Op) -> None:
    unary.check_shape(graph, op)
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    checks.one_of(graph, op, x, DType.I8, DType.U8)
    checks.has_dtype(graph, op, y, DType.F32)
    checks.quantised(graph, op, x)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = inputs
    assert x is not None
    quant = checks.quantised(graph, op, checks.operand(graph, op, 0))
    return [(x.astype(np.int32) - quant.zero_point).astype(np.float32) * np.float32(quant.scale)]


def lower(graph: Graph, op: Op, name: str) -> Program:
    quant = checks.quantised(graph, op, checks.operand(graph, op, 0))

    def function(element: Expr) -> Expr:
        return cast(wide(element, quant.zero_point), DType.F32) * Const(quant.scale, DType.F32)

    return unary.lower_float(graph, op, name, function)


CASES = (
    Case("usual", ((1, 4, 5, 60),)),
    Case("zero_point_at_an_end", ((1, 700),), quants=((0.0123, -128),)),
    Case("one_dimension", ((5,),)),
    Case("uint8", ((1, 700),), quants=((0.04, 131),), dtype="uint8"),
)

OPERATOR = Operator("DEQUANTIZE", "dequantize", parse, check, reference, no_macs, CASES, lower, schedules.ELEMENTWISE)
