"""TRANSPOSE: dimension k of the result is dimension permutation[k] of x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.moves import Move, strides_of
from harness.compiler.ops import checks, moving
from harness.compiler.ops.base import Case, options_table


@dataclass(frozen=True)
class Transpose:
    """The permutation is operand 1."""


def parse(table: tflite.Operator) -> Transpose:
    options_table(table, "TransposeOptions")
    return Transpose()


def permutation(graph: Graph, op: Op) -> tuple[int, ...]:
    """For each dimension of the result the one of x that it is."""
    given = moving.numbers(graph, op, 1)
    return tuple(moving.axis(graph, op, p, len(given)) for p in given)


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 2, 2)
    moving.check_types(graph, op, (0,))
    x, given, y = checks.operand(graph, op, 0), checks.operand(graph, op, 1), checks.output(graph, op)
    checks.is_constant(graph, op, given)
    checks.has_shape(graph, op, given, (len(x.shape),))
    order = permutation(graph, op)
    if sorted(order) != list(range(len(x.shape))):
        checks.refuse(graph, op, f"permutation {list(order)} does not name every dimension once", tensor=given)
    checks.has_shape(graph, op, y, tuple(x.shape[p] for p in order))


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[0]
    assert x is not None
    return [np.ascontiguousarray(x.transpose(permutation(graph, op)))]


def moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    strides = strides_of(x.shape)
    return (Move(0, 0, y.shape, 0, tuple(strides[p] for p in permutation(graph, op)), 0, strides_of(y.shape)),)


CASES = (
    Case("matrix", ((5, 7),), {"permutation": (1, 0)}),
    Case("channels_first", ((1, 4, 5, 3),), {"permutation": (0, 3, 1, 2)}),
    Case("channels_last", ((1, 3, 4, 5),), {"permutation": (0, 2, 3, 1)}),
    Case("rows_and_columns", ((1, 4, 5, 8),), {"permutation": (0, 2, 1, 3)}),
    Case("reversed", ((2, 3, 4, 5),), {"permutation": (3, 2, 1, 0)}),
    Case("wide_rows", ((3, 2, 40),), {"permutation": (1, 0, 2)}),
    Case("identity", ((2, 3, 4),), {"permutation": (0, 1, 2)}),
    Case("only_ones_move", ((1, 6, 1, 4),), {"permutation": (1, 0, 3, 2)}),
    Case("float", ((2, 3, 4),), {"permutation": (2, 0, 1)}, dtype="float32"),
    Case("int32", ((4, 6),), {"permutation": (1, 0)}, dtype="int32"),
)

OPERATOR = moving.moving("TRANSPOSE", "transpose", parse, check, reference, moves, CASES)
