"""SPLIT and SPLIT_V: x in pieces along an axis, of one size, or of sizes that operand 1 lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.moves import Move, box
from harness.compiler.ops import checks, moving
from harness.compiler.ops.base import Case, required_options


@dataclass(frozen=True)
class Split:
    pieces: int


def _parse_split(table: tflite.Operator) -> Split:
    return Split(required_options(table, "SplitOptions").NumSplits())


def _parse_split_v(table: tflite.Operator) -> Split:
    return Split(required_options(table, "SplitVOptions").NumSplits())


def _source(op: Op) -> int:
    """The position of x: SPLIT has the axis first, SPLIT_V the sizes and then the axis behind x."""
    return 1 if op.kind == "SPLIT" else 0


def along(graph: Graph, op: Op) -> int:
    """The axis that is split."""
    given = moving.numbers(graph, op, 0 if op.kind == "SPLIT" else 2)
    if len(given) != 1:
        checks.refuse(graph, op, f"{len(given)} axes where one belongs")
    return moving.axis(graph, op, given[0], len(checks.operand(graph, op, _source(op)).shape))


def sizes(graph: Graph, op: Op) -> list[int]:
    """Of every piece its extent along the axis."""
    extent = checks.operand(graph, op, _source(op)).shape[along(graph, op)]
    if op.kind == "SPLIT":
        if extent % op.attrs.pieces:
            checks.refuse(graph, op, f"{extent} elements do not split into {op.attrs.pieces} equal pieces")
        return [extent // op.attrs.pieces] * op.attrs.pieces
    given = moving.numbers(graph, op, 1)
    if len(given) != op.attrs.pieces or given.count(-1) > 1 or any(size < -1 or size == 0 for size in given):
        checks.refuse(graph, op, f"{op.attrs.pieces} pieces of sizes {given}; at most one may be left open as -1")
    rest = extent - sum(size for size in given if size >= 0)
    found = [rest if size == -1 else size for size in given]
    if sum(found) != extent or min(found) < 1:
        checks.refuse(graph, op, f"sizes {given} of {extent} elements")
    return found


def check(graph: Graph, op: Op) -> None:
    if op.attrs.pieces < 1:
        checks.refuse(graph, op, f"{op.attrs.pieces} pieces; there must be at least one")
    count = 2 if op.kind == "SPLIT" else 3
    checks.arity(graph, op, count, count, op.attrs.pieces)
    moving.check_types(graph, op, (_source(op),))
    x, axis = checks.operand(graph, op, _source(op)), along(graph, op)
    for size, piece in zip(sizes(graph, op), map(graph.tensor, op.outputs), strict=True):
        checks.has_shape(graph, op, piece, (*x.shape[:axis], size, *x.shape[axis + 1 :]))


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[_source(op)]
    assert x is not None
    ends = np.cumsum(sizes(graph, op))[:-1]
    return [np.ascontiguousarray(piece) for piece in np.split(x, ends, axis=along(graph, op))]


def moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    x, axis = checks.operand(graph, op, _source(op)), along(graph, op)
    made = []
    start = 0
    for number, piece in enumerate(map(graph.tensor, op.outputs)):
        begin = [0] * len(x.shape)
        begin[axis] = start
        made.append(box(_source(op), x.shape, piece.shape, piece.shape, output=number, begin=begin))
        start += piece.shape[axis]
    return tuple(made)


CASES = (
    Case("channels", ((1, 4, 5, 6),), {"axis": 3, "pieces": 2}),
    Case("rows", ((1, 6, 5, 3),), {"axis": 1, "pieces": 3}),
    Case("from_the_end", ((2, 12),), {"axis": -1, "pieces": 4}),
    Case("batch", ((2, 5, 7),), {"axis": 0, "pieces": 2}),
    Case("one_piece", ((1, 4, 3),), {"axis": 1, "pieces": 1}),
    Case("float", ((1, 2, 3, 4),), {"axis": 3, "pieces": 2}, dtype="float32"),
    Case("int32", ((4, 3),), {"axis": 0, "pieces": 2}, dtype="int32"),
)
V_CASES = (
    Case("channels", ((1, 4, 5, 9),), {"axis": 3, "sizes": (2, 3, 4)}),
    Case("one_left_open", ((1, 4, 5, 9),), {"axis": 3, "sizes": (2, -1, 3)}),
    Case("rows", ((1, 6, 5, 3),), {"axis": 1, "sizes": (1, 5)}),
    Case("float", ((1, 2, 3, 4),), {"axis": -1, "sizes": (1, 3)}, dtype="float32"),
    Case("int32", ((4, 3),), {"axis": 0, "sizes": (3, 1)}, dtype="int32"),
)

SPLIT = moving.moving("SPLIT", "split", _parse_split, check, reference, moves, CASES)
SPLIT_V = moving.moving("SPLIT_V", "split_v", _parse_split_v, check, reference, moves, V_CASES)
