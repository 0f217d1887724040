"""SHAPE: the extents of x, known when the model is compiled. Where it is not folded away it has no C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.ops import checks
from harness.compiler.ops.base import Case, Operator, no_macs, options_table
from harness.dtypes import DType


@dataclass(frozen=True)
class ShapeOf:
    """The type of the extents is that of the output tensor."""


def parse(table: tflite.Operator) -> ShapeOf:
    options_table(table, "ShapeOptions")
    return ShapeOf()


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 1, 1)
    y = checks.output(graph, op)
    if y.dtype is not DType.I64:
        checks.has_dtype(graph, op, y, DType.I32)
    checks.has_shape(graph, op, y, (len(checks.operand(graph, op, 0).shape),))


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [np.array(checks.operand(graph, op, 0).shape, checks.output(graph, op).dtype.np)]


CASES = (
    Case("of_an_image", ((1, 4, 5, 3),)),
    Case("of_a_row", ((7,),)),
    Case("float", ((2, 3),), dtype="float32"),
)

OPERATOR = Operator("SHAPE", "shape_of", parse, check, reference, no_macs, CASES, of_shapes=True)
