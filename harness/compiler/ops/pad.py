"""PAD and PADV2: x with rows of one value before and after it along every dimension.

PAD fills with what stands for 0: the result's zero point. PADV2 has the value as an operand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.moves import Move, box, fill
from harness.compiler.ops import checks, moving
from harness.compiler.ops.base import Case, options_table
from harness.dtypes import DType


@dataclass(frozen=True)
class Pad:
    """The amounts are operand 1."""


def _parse_pad(table: tflite.Operator) -> Pad:
    options_table(table, "PadOptions")
    return Pad()


def _parse_padv2(table: tflite.Operator) -> Pad:
    options_table(table, "PadV2Options")
    return Pad()


def amounts(graph: Graph, op: Op) -> list[tuple[int, int]]:
    """Elements before and after along each dimension."""
    given = moving.numbers(graph, op, 1)
    return list(zip(given[::2], given[1::2], strict=True))


def value(graph: Graph, op: Op) -> int | float:
    """What is filled in, as an element of the result."""
    y = checks.output(graph, op)
    if op.kind == "PADV2":
        data = checks.is_constant(graph, op, checks.operand(graph, op, 2))
        element: int | float = data.reshape(-1)[0].item()
        return element
    return checks.quantised(graph, op, y).zero_point if y.dtype is DType.I8 else 0


def check(graph: Graph, op: Op) -> None:
    count = 3 if op.kind == "PADV2" else 2
    checks.arity(graph, op, count, count)
    moving.check_types(graph, op, (0, 2) if op.kind == "PADV2" else (0,))
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    moving.same_quantisation(graph, op, x, y)
    given = checks.operand(graph, op, 1)
    checks.has_shape(graph, op, given, (len(x.shape), 2))
    pads = amounts(graph, op)
    if any(amount < 0 for pair in pads for amount in pair):
        checks.refuse(graph, op, f"pads by {[list(pair) for pair in pads]}; no amount may be negative", tensor=given)
    checks.has_shape(graph, op, y, tuple(n + sum(pair) for n, pair in zip(x.shape, pads, strict=True)))
    if op.kind == "PADV2":
        filling = checks.operand(graph, op, 2)
        if filling.elements != 1:
            checks.refuse(graph, op, f"fills with {filling.elements} values where one belongs", tensor=filling)
        moving.same_quantisation(graph, op, filling, y)
        checks.is_constant(graph, op, filling)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[0]
    assert x is not None
    return [np.pad(x, amounts(graph, op), constant_values=value(graph, op))]


def moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    """In the order of the result: what comes before x, x, what comes after, one dimension inside the other."""
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    pads, filled = amounts(graph, op), value(graph, op)
    before = [pair[0] for pair in pads]
    made = [box(0, x.shape, y.shape, x.shape, at=before)]
    for dim, (front, back) in enumerate(pads):
        # Of the dimensions outside only what x covers: the rest is filled already.
        extents = [*x.shape[:dim], 0, *y.shape[dim + 1 :]]
        at = [*before[:dim], 0, *(0 for _ in pads[dim + 1 :])]
        for amount, start in ((front, 0), (back, front + x.shape[dim])):
            if amount:
                extents[dim], at[dim] = amount, start
                made.append(fill(filled, y.shape, extents, at))
    return tuple(made)


_IMAGE = ((0, 0), (1, 2), (2, 1), (0, 0))
CASES = (
    Case("image", ((1, 4, 5, 3),), {"paddings": _IMAGE}),
    Case("one_side", ((1, 4, 5, 3),), {"paddings": ((0, 0), (0, 1), (0, 1), (0, 0))}),
    Case("channels", ((1, 3, 2, 5),), {"paddings": ((0, 0), (0, 0), (0, 0), (1, 2))}),
    Case("batch", ((2, 3, 2, 2),), {"paddings": ((1, 0), (0, 0), (0, 0), (0, 0))}),
    Case("everywhere", ((2, 3, 4, 2),), {"paddings": ((1, 1), (2, 1), (1, 3), (2, 2))}),
    Case("nowhere", ((1, 3, 4, 2),), {"paddings": ((0, 0), (0, 0), (0, 0), (0, 0))}),
    Case("row", ((1, 40),), {"paddings": ((0, 0), (21, 3))}),
    Case("wide_rows", ((1, 3, 70),), {"paddings": ((0, 0), (1, 1), (5, 9))}),
    Case("zero_point_lowest", ((1, 4, 5, 3),), {"paddings": _IMAGE}, quants=((0.05, -128),)),
    Case("float", ((1, 4, 5, 3),), {"paddings": _IMAGE}, dtype="float32"),
    Case("int32", ((2, 5, 3),), {"paddings": ((0, 1), (1, 0), (2, 2))}, dtype="int32"),
)
V2_CASES = (
    Case("image", ((1, 4, 5, 3),), {"paddings": _IMAGE, "value": -9}),
    Case("lowest", ((1, 4, 5, 3),), {"paddings": _IMAGE, "value": -128}),
    Case("everywhere", ((2, 3, 4, 2),), {"paddings": ((1, 1), (2, 1), (1, 3), (2, 2)), "value": 127}),
    Case("float", ((1, 4, 5, 3),), {"paddings": _IMAGE, "value": -1.25}, dtype="float32"),
    Case("int32", ((3, 3),), {"paddings": ((1, 1), (0, 1)), "value": 70000}, dtype="int32"),
)

PAD = moving.moving("PAD", "pad", _parse_pad, check, reference, moves, CASES)
PADV2 = moving.moving("PADV2", "padv2", _parse_padv2, check, reference, moves, V2_CASES)
