"""RESHAPE: the same elements in the same order under another shape. Quantisation plays no part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.moves import Move, whole
from harness.compiler.ops import checks, moving
from harness.compiler.ops.base import Case, options_table
from harness.compiler.ops.channels import Tied, reshaped
from harness.dtypes import DType


@dataclass(frozen=True)
class Reshape:
    """The target shape is that of the output tensor."""


def parse(table: tflite.Operator) -> Reshape:
    options_table(table, "ReshapeOptions")  # the new shape it may hold is a copy of the output's
    return Reshape()


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 1, 2)
    checks.computes_in(graph, op, *DType)
    x, y, target = checks.operand(graph, op, 0), checks.output(graph, op), graph.operand(op, 1)
    if x.elements != y.elements:
        checks.refuse(graph, op, f"{x.elements} elements {list(x.shape)} cannot become {list(y.shape)}", tensor=y)
    if target is None:
        return
    checks.has_dtype(graph, op, target, DType.I32)
    if target.data is None:  # computed, of the shape of something as a rule: then it is a constant before it is needed
        checks.has_shape(graph, op, target, (len(y.shape),))
        return
    wanted = target.data.ravel().tolist()
    if len(wanted) != len(y.shape) or any(w not in (-1, extent) for w, extent in zip(wanted, y.shape, strict=True)):
        checks.refuse(graph, op, f"asks for {wanted} but the output is {list(y.shape)}", tensor=target)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[0]
    assert x is not None
    return [x.reshape(checks.output(graph, op).shape)]


def moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    target = graph.operand(op, 1)
    if target is not None:
        checks.is_constant(graph, op, target)
    return (whole(0, checks.output(graph, op).elements),)


def channels(graph: Graph, op: Op) -> Tied | None:
    """The channels of the input, over and over where several pixels become one row."""
    return reshaped(checks.operand(graph, op, 0), checks.output(graph, op), op.attrs)


CASES = (
    Case("flattens", ((1, 3, 4, 2),), {"shape": (1, 24)}),
    Case("unflattens", ((1, 24),), {"shape": (1, 4, 3, 2)}),
    Case("same_shape", ((1, 7),), {"shape": (1, 7)}),
    Case("to_one_dimension", ((2, 5),), {"shape": (10,)}),
    Case("float", ((1, 2, 6),), {"shape": (3, 4)}, dtype="float32"),
)

OPERATOR = moving.moving("RESHAPE", "reshape", parse, check, reference, moves, CASES, channels)
