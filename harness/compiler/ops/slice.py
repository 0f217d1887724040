"""SLICE: a box of x, from `begin` (operand 1), of `size` (operand 2; -1: to the end)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.moves import Move, box
from harness.compiler.ops import checks, moving
from harness.compiler.ops.base import Case, options_table


@dataclass(frozen=True)
class Slice:
    """Begin and size are operands 1 and 2."""


def parse(table: tflite.Operator) -> Slice:
    options_table(table, "SliceOptions")
    return Slice()


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 3, 3)
    moving.check_types(graph, op, (0,))
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    begin, size = moving.numbers(graph, op, 1), moving.numbers(graph, op, 2)
    for position in (1, 2):
        checks.has_shape(graph, op, checks.operand(graph, op, position), (len(x.shape),))
    wanted = tuple(n - b if s == -1 else s for n, b, s in zip(x.shape, begin, size, strict=True))
    if any(b < 0 or s < 1 or b + s > n for n, b, s in zip(x.shape, begin, wanted, strict=True)):
        checks.refuse(graph, op, f"a box of {size} from {begin} is not inside {list(x.shape)}", tensor=x)
    checks.has_shape(graph, op, y, wanted)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[0]
    assert x is not None
    y = checks.output(graph, op)
    cut = tuple(slice(b, b + n) for b, n in zip(moving.numbers(graph, op, 1), y.shape, strict=True))
    return [np.ascontiguousarray(x[cut])]


def moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    return (box(0, x.shape, y.shape, y.shape, begin=moving.numbers(graph, op, 1)),)


CASES = (
    Case("channels", ((1, 4, 5, 6),), {"begin": (0, 0, 0, 2), "size": (1, 4, 5, 3)}),
    Case("rows", ((1, 6, 5, 3),), {"begin": (0, 2, 0, 0), "size": (1, 3, 5, 3)}),
    Case("to_the_end", ((2, 12),), {"begin": (1, 5), "size": (-1, -1)}),
    Case("inside", ((1, 6, 7, 3),), {"begin": (0, 1, 2, 1), "size": (1, 4, 3, 2)}),
    Case("everything", ((2, 3),), {"begin": (0, 0), "size": (2, 3)}),
    Case("float", ((1, 2, 3, 4),), {"begin": (0, 1, 1, 0), "size": (1, 1, 2, 4)}, dtype="float32"),
    Case("int32", ((4, 3),), {"begin": (1, 0), "size": (2, 3)}, dtype="int32"),
)

OPERATOR = moving.moving("SLICE", "slice", parse, check, reference, moves, CASES)
