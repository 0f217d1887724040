"""PACK and UNPACK: tensors of one shape side by side along a new axis, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op, Tensor
from harness.compiler.lowering.moves import Move, strides_of
from harness.compiler.ops import checks, moving
from harness.compiler.ops.base import Case, Shape, required_options

MOST = 4096  # operands


@dataclass(frozen=True)
class Pack:
    count: int
    axis: int  # of the packed tensor, may count from the end


def _parse_pack(table: tflite.Operator) -> Pack:
    options = required_options(table, "PackOptions")
    return Pack(options.ValuesCount(), options.Axis())


def _parse_unpack(table: tflite.Operator) -> Pack:
    options = required_options(table, "UnpackOptions")
    return Pack(options.Num(), options.Axis())


def _check(graph: Graph, op: Op, packed: Tensor, pieces: Sequence[Tensor]) -> None:
    axis = moving.axis(graph, op, op.attrs.axis, len(packed.shape))
    for piece in pieces:
        checks.has_shape(graph, op, piece, (*packed.shape[:axis], *packed.shape[axis + 1 :]))
    if not len(pieces) == op.attrs.count == packed.shape[axis]:
        what = f"{len(pieces)} pieces and a count of {op.attrs.count} for dimension {axis} of {list(packed.shape)}"
        checks.refuse(graph, op, what, tensor=packed)


def _check_pack(graph: Graph, op: Op) -> None:
    count = max(len(op.inputs), 1)
    checks.arity(graph, op, count, MOST)
    moving.check_types(graph, op, range(count))
    for piece in checks.operands(graph, op):
        moving.same_quantisation(graph, op, piece, checks.output(graph, op))
    _check(graph, op, checks.output(graph, op), checks.operands(graph, op))


def _check_unpack(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 1, 1, len(op.outputs))
    moving.check_types(graph, op, (0,))
    _check(graph, op, checks.operand(graph, op, 0), [graph.tensor(t) for t in op.outputs])


def _pack_reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [np.stack([x for x in inputs if x is not None], axis=op.attrs.axis)]


def _unpack_reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[0]
    assert x is not None
    return [np.ascontiguousarray(piece) for piece in np.moveaxis(x, op.attrs.axis, 0)]


def _piece(shape: Shape, axis: int) -> tuple[Shape, tuple[int, ...], int]:
    """Of a piece its extents, its strides in the packed tensor, and the stride from piece to piece."""
    strides = strides_of(shape)
    axis %= len(shape)
    return (*shape[:axis], *shape[axis + 1 :]), (*strides[:axis], *strides[axis + 1 :]), strides[axis]


def _pack_moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    extents, strides, step = _piece(checks.output(graph, op).shape, op.attrs.axis)
    own = strides_of(extents)
    return tuple(Move(n, 0, extents, 0, own, n * step, strides) for n in range(len(op.inputs)))


def _unpack_moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    extents, strides, step = _piece(checks.operand(graph, op, 0).shape, op.attrs.axis)
    own = strides_of(extents)
    return tuple(Move(0, n, extents, n * step, strides, 0, own) for n in range(len(op.outputs)))


_SAME = (0.05, 3)
PACK_CASES = (
    Case("first", ((3, 4), (3, 4)), {"axis": 0}, (_SAME,) * 2),
    Case("middle", ((3, 4), (3, 4), (3, 4)), {"axis": 1}, (_SAME,) * 3),
    Case("last", ((3, 4), (3, 4)), {"axis": -1}, (_SAME,) * 2),
    Case("one", ((5,),), {"axis": 0}, (_SAME,)),
    Case("float", ((2, 3), (2, 3)), {"axis": 2}, dtype="float32"),
    Case("int32", ((2, 3), (2, 3)), {"axis": 1}, dtype="int32"),
)
UNPACK_CASES = (
    Case("first", ((3, 2, 4),), {"axis": 0}),
    Case("middle", ((3, 2, 4),), {"axis": 1}),
    Case("last", ((3, 4, 2),), {"axis": -1}),
    Case("float", ((2, 3),), {"axis": 1}, dtype="float32"),
    Case("int32", ((2, 3),), {"axis": 0}, dtype="int32"),
)

PACK = moving.moving("PACK", "pack", _parse_pack, _check_pack, _pack_reference, _pack_moves, PACK_CASES)
UNPACK = moving.moving("UNPACK", "unpack", _parse_unpack, _check_unpack, _unpack_reference, _unpack_moves, UNPACK_CASES)
