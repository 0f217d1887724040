"""CONCATENATION: the operands one after another along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.moves import Move, box
from harness.compiler.ops import checks, moving
from harness.compiler.ops.base import Case, activation_name, required_options

MOST = 4096  # operands


@dataclass(frozen=True)
class Concatenation:
    axis: int  # may count from the end
    activation: str = "NONE"


def parse(table: tflite.Operator) -> Concatenation:
    options = required_options(table, "ConcatenationOptions")
    return Concatenation(options.Axis(), activation_name(options.FusedActivationFunction()))


def check(graph: Graph, op: Op) -> None:
    count = max(len(op.inputs), 1)
    checks.arity(graph, op, count, MOST)
    moving.check_types(graph, op, range(count))
    if op.attrs.activation != "NONE":
        hint = "Make the activation an operator of its own."
        checks.refuse(graph, op, f"fuses {op.attrs.activation}, which TFLite's kernels refuse too", hint=hint)
    pieces, y = checks.operands(graph, op), checks.output(graph, op)
    along = moving.axis(graph, op, op.attrs.axis, len(y.shape))
    for piece in pieces:
        moving.same_quantisation(graph, op, piece, y)
        checks.has_rank(graph, op, piece, len(y.shape))
        checks.has_shape(graph, op, piece, (*y.shape[:along], piece.shape[along], *y.shape[along + 1 :]))
    total = sum(piece.shape[along] for piece in pieces)
    checks.has_shape(graph, op, y, (*y.shape[:along], total, *y.shape[along + 1 :]))


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [np.concatenate([x for x in inputs if x is not None], axis=op.attrs.axis)]


def moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    y = checks.output(graph, op)
    along = op.attrs.axis % len(y.shape)
    made = []
    start = 0
    for position, piece in enumerate(checks.operands(graph, op)):
        at = [0] * len(y.shape)
        at[along] = start
        made.append(box(position, piece.shape, y.shape, piece.shape, at=at))
        start += piece.shape[along]
    return tuple(made)


_SAME = (0.05, 3)
CASES = (
    Case("channels", ((1, 4, 5, 3), (1, 4, 5, 6)), {"axis": 3}, (_SAME,) * 2),
    Case("rows", ((1, 4, 5, 3), (1, 2, 5, 3)), {"axis": 1}, (_SAME,) * 2),
    Case("columns", ((2, 4, 5, 3), (2, 4, 1, 3)), {"axis": 2}, (_SAME,) * 2),
    Case("from_the_end", ((1, 7), (1, 9), (1, 1)), {"axis": -1}, (_SAME,) * 3),
    Case("batch", ((1, 33), (2, 33)), {"axis": 0}, (_SAME,) * 2),
    Case("one_operand", ((1, 4, 3),), {"axis": 1}, (_SAME,)),
    Case("wide_channels", ((1, 2, 2, 64), (1, 2, 2, 37)), {"axis": 3}, (_SAME,) * 2),
    Case("float", ((1, 2, 3, 4), (1, 2, 3, 2)), {"axis": 3}, dtype="float32"),
    Case("int32", ((2, 3), (2, 5)), {"axis": 1}, dtype="int32"),
)

OPERATOR = moving.moving("CONCATENATION", "concatenation", parse, check, reference, moves, CASES)
