"""SQUEEZE and EXPAND_DIMS: dimensions of size 1 go, or one comes. The elements stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.moves import Move, whole
from harness.compiler.ops import checks, moving
from harness.compiler.ops.base import Case, options_table


@dataclass(frozen=True)
class Squeeze:
    dimensions: tuple[int, ...] = ()  # that go, may count from the end; none: all of size 1


@dataclass(frozen=True)
class ExpandDims:
    """The axis is operand 1."""


def _parse_squeeze(table: tflite.Operator) -> Squeeze:
    options = options_table(table, "SqueezeOptions")
    return Squeeze() if options is None else Squeeze(tuple(int(d) for d in _listed(options.SqueezeDimsAsNumpy())))


def _listed(vector: object) -> Sequence[int]:
    """A vector of a flatbuffer; an absent one reads as 0."""
    return vector.tolist() if isinstance(vector, np.ndarray) else ()


def _parse_expand(table: tflite.Operator) -> ExpandDims:
    options_table(table, "ExpandDimsOptions")
    return ExpandDims()


def _check_squeeze(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 1, 1)
    moving.check_types(graph, op, (0,))
    x = checks.operand(graph, op, 0)
    gone = {moving.axis(graph, op, d, len(x.shape)) for d in op.attrs.dimensions}
    if any(x.shape[d] != 1 for d in gone):
        checks.refuse(graph, op, f"dimensions {sorted(gone)} of {list(x.shape)} are not all of size 1", tensor=x)
    if not gone:
        gone = {d for d, extent in enumerate(x.shape) if extent == 1}
    checks.has_shape(graph, op, checks.output(graph, op), tuple(n for d, n in enumerate(x.shape) if d not in gone))


def _check_expand(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 2, 2)
    moving.check_types(graph, op, (0,))
    x, given = checks.operand(graph, op, 0), moving.numbers(graph, op, 1)
    if len(given) != 1:
        checks.refuse(graph, op, f"{len(given)} axes where one belongs", tensor=checks.operand(graph, op, 1))
    axis = moving.axis(graph, op, given[0], len(x.shape) + 1)
    checks.has_shape(graph, op, checks.output(graph, op), (*x.shape[:axis], 1, *x.shape[axis:]))


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[0]
    assert x is not None
    return [x.reshape(checks.output(graph, op).shape)]


def moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    return (whole(0, checks.output(graph, op).elements),)


SQUEEZE_CASES = (
    Case("named", ((1, 3, 1, 4),), {"dimensions": (2,)}),
    Case("from_the_end", ((1, 3, 4, 1),), {"dimensions": (-1, 0)}),
    Case("all", ((1, 3, 1, 4),), {"dimensions": ()}),
    Case("float", ((1, 1, 5),), {"dimensions": (0, 1)}, dtype="float32"),
    Case("int32", ((5, 1),), {"dimensions": (1,)}, dtype="int32"),
)
EXPAND_CASES = (
    Case("first", ((3, 4),), {"axis": 0}),
    Case("middle", ((3, 4),), {"axis": 1}),
    Case("last", ((3, 4),), {"axis": -1}),
    Case("float", ((2, 5),), {"axis": 2}, dtype="float32"),
    Case("int32", ((5,),), {"axis": 0}, dtype="int32"),
)

SQUEEZE = moving.moving("SQUEEZE", "squeeze", _parse_squeeze, _check_squeeze, reference, moves, SQUEEZE_CASES)
EXPAND_DIMS = moving.moving("EXPAND_DIMS", "expand_dims", _parse_expand, _check_expand, reference, moves, EXPAND_CASES)
