"""STRIDED_SLICE: x[begin:end:stride] along each dimension, as Python slices; masks leave bounds out or drop dimensions.

Bit d of `begin_mask` or `end_mask` leaves dimension d's bound out; of `shrink_mask` it takes one element of the
dimension, which then goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.moves import Move, strides_of
from harness.compiler.ops import checks, moving
from harness.compiler.ops.base import Case, required_options


@dataclass(frozen=True)
class StridedSlice:
    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_mask: int = 0
    offset: bool = False  # `end` counts from `begin`


def parse(table: tflite.Operator) -> StridedSlice:
    options = required_options(table, "StridedSliceOptions")
    return StridedSlice(
        options.BeginMask(),
        options.EndMask(),
        options.EllipsisMask(),
        options.NewAxisMask(),
        options.ShrinkAxisMask(),
        bool(options.Offset()),
    )


def ranges(graph: Graph, op: Op) -> list[range]:
    """Of every dimension of x the positions that are taken. Those that the model does not speak of are taken whole."""
    x, attrs = checks.operand(graph, op, 0), op.attrs
    begin, end, stride = (moving.numbers(graph, op, position) for position in (1, 2, 3))
    taken = []
    for dim, extent in enumerate(x.shape):
        if dim >= len(begin):
            taken.append(range(extent))
        elif attrs.shrink_mask >> dim & 1:
            at = begin[dim] + extent if begin[dim] < 0 else begin[dim]
            taken.append(range(at, at + 1))
        else:
            first = None if attrs.begin_mask >> dim & 1 else begin[dim]
            last = None if attrs.end_mask >> dim & 1 else end[dim]
            taken.append(range(*slice(first, last, stride[dim]).indices(extent)))
    return taken


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 4, 4)
    moving.check_types(graph, op, (0,))
    attrs, x, y = op.attrs, checks.operand(graph, op, 0), checks.output(graph, op)
    if attrs.ellipsis_mask or attrs.new_axis_mask or attrs.offset:
        what = "an ellipsis, a new axis, or ends that count from their begins; none of them is supported"
        checks.refuse(graph, op, what, hint="Slice every dimension, and add axes by a RESHAPE.")
    begin, _, stride = (moving.numbers(graph, op, position) for position in (1, 2, 3))
    for position in (1, 2, 3):
        checks.has_shape(graph, op, checks.operand(graph, op, position), (len(begin),))
    if len(begin) > len(x.shape) or 0 in stride:
        checks.refuse(graph, op, f"strides {stride} for {list(x.shape)}", tensor=checks.operand(graph, op, 3))
    taken = ranges(graph, op)
    if any(not 0 <= r.start < extent or not len(r) for r, extent in zip(taken, x.shape, strict=True)):
        shown = [f"{r.start}:{r.stop}:{r.step}" for r in taken]
        checks.refuse(
            graph, op, f"takes {', '.join(shown)} of {list(x.shape)}: nothing, or what is not there", tensor=x
        )
    checks.has_shape(graph, op, y, tuple(len(r) for d, r in enumerate(taken) if not attrs.shrink_mask >> d & 1))


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[0]
    assert x is not None
    for dim, r in enumerate(ranges(graph, op)):
        x = x.take(r, axis=dim)
    return [np.ascontiguousarray(x).reshape(checks.output(graph, op).shape)]


def moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    strides = strides_of(checks.operand(graph, op, 0).shape)
    taken = ranges(graph, op)
    extents = tuple(map(len, taken))
    start = sum(r.start * s for r, s in zip(taken, strides, strict=True))
    stepped = tuple(r.step * s for r, s in zip(taken, strides, strict=True))
    return (Move(0, 0, extents, start, stepped, 0, strides_of(extents)),)


_WHOLE = {"begin_mask": 0b1111, "end_mask": 0b1111}
CASES = (
    Case("rows", ((1, 6, 5, 3),), {"begin": (0, 1, 0, 0), "end": (1, 5, 5, 3)}),
    Case("every_second", ((1, 7, 6, 3),), {"begin": (0, 0, 1, 0), "end": (1, 7, 6, 3), "stride": (1, 2, 2, 1)}),
    Case("backwards", ((1, 6, 5, 3),), {"begin": (0, 5, 0, 2), "end": (1, 0, 5, 0), "stride": (1, -1, 1, -1)}),
    Case("masks", ((2, 3, 4, 5),), {"begin": (9, 9, 9, 9), "end": (9, 9, 9, 9), **_WHOLE}),
    Case("reversed", ((1, 9),), {"begin": (0, 0), "end": (1, 0), "stride": (1, -1), "begin_mask": 2, "end_mask": 2}),
    Case("shrinks", ((3, 4, 5),), {"begin": (1, 0, 2), "end": (2, 4, 3), "shrink_mask": 0b101}),
    Case("from_the_end", ((3, 8),), {"begin": (-1, -5), "end": (9, -1), "shrink_mask": 1}),
    Case("clamps", ((2, 8),), {"begin": (0, 2), "end": (100, 100)}),
    Case("float", ((2, 6, 3),), {"begin": (0, 1, 0), "end": (2, 6, 3), "stride": (1, 2, 2)}, dtype="float32"),
    Case("int32", ((6,),), {"begin": (4,), "end": (0,), "stride": (-2,)}, dtype="int32"),
)

OPERATOR = moving.moving("STRIDED_SLICE", "strided_slice", parse, check, reference, moves, CASES)
