"""RESIZE_NEAREST_NEIGHBOR: every pixel of x (n, h, w, c) repeated, for enlargements by whole numbers."""

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
class ResizeNearestNeighbor:
    align_corners: bool = False
    half_pixel_centers: bool = False


def parse(table: tflite.Operator) -> ResizeNearestNeighbor:
    options = options_table(table, "ResizeNearestNeighborOptions")
    if options is None:
        return ResizeNearestNeighbor()
    return ResizeNearestNeighbor(bool(options.AlignCorners()), bool(options.HalfPixelCenters()))


def nearest(attrs: ResizeNearestNeighbor, size: int, out: int) -> np.ndarray:
    """Of every output position the input's, int64 (out,): `GetNearestNeighbor` of TFLite's reference, in float32."""
    corners = attrs.align_corners and out > 1
    scale = np.float32(size - 1) / np.float32(out - 1) if corners else np.float32(size) / np.float32(out)
    at = (np.arange(out, dtype=np.float32) + np.float32(0.5 if attrs.half_pixel_centers else 0)) * scale
    found = np.floor(at + np.float32(0.5)) if attrs.align_corners else np.floor(at)  # at is not negative
    return np.clip(found.astype(np.int64), 0, size - 1)


def check(graph: Graph, op: Op) -> None:
    checks.arity(graph, op, 2, 2)
    moving.check_types(graph, op, (0,))
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    checks.has_rank(graph, op, x, 4)
    checks.has_shape(graph, op, checks.operand(graph, op, 1), (2,))
    wanted = moving.numbers(graph, op, 1)
    checks.has_shape(graph, op, y, (x.shape[0], *wanted, x.shape[3]))
    for size, out in zip(x.shape[1:3], y.shape[1:3], strict=True):
        whole = out % size == 0 and np.array_equal(nearest(op.attrs, size, out), np.arange(out) // (out // size))
        if not whole:
            what = f"{size} to {out} pixels; only enlargements that repeat every pixel equally often are supported"
            checks.refuse(graph, op, what, tensor=y)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x = inputs[0]
    assert x is not None
    y = checks.output(graph, op)
    rows, columns = (nearest(op.attrs, x.shape[axis], y.shape[axis]) for axis in (1, 2))
    return [np.ascontiguousarray(x[:, rows][:, :, columns])]


def moves(graph: Graph, op: Op) -> tuple[Move, ...]:
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    n, h, w, c = x.shape
    up, across = y.shape[1] // h, y.shape[2] // w
    by_pixel = strides_of(x.shape)
    extents = (n, h, up, w, across, c)
    strides = (by_pixel[0], by_pixel[1], 0, by_pixel[2], 0, 1)
    return (Move(0, 0, extents, 0, strides, 0, strides_of(extents)),)


CASES = (
    Case("twice", ((1, 4, 5, 3),), {"size": (8, 10)}),
    Case("half_pixels", ((1, 4, 5, 3),), {"size": (12, 5), "half_pixel_centers": True}),
    Case("corners", ((1, 6, 5, 2),), {"size": (12, 10), "align_corners": True}),
    Case("one_pixel", ((1, 1, 1, 7),), {"size": (3, 4)}),
    Case("unchanged", ((2, 3, 2, 2),), {"size": (3, 2)}),
    Case("many_channels", ((1, 2, 3, 40),), {"size": (4, 6)}),
    Case("float", ((1, 2, 3, 4),), {"size": (4, 9)}, dtype="float32"),
)

OPERATOR = moving.moving("RESIZE_NEAREST_NEIGHBOR", "resize_nearest_neighbor", parse, check, reference, moves, CASES)
