"""Sums over the iterations of a loop: what adds to one, and adding it up at once.

sums[0] = sums[0] + x[k] * w[g, k]              x . w
sums[0] = nn_smlad(x[k], w[g, k], sums[0])      x . w over the iterations and the lanes of vectors, modulo 2^32
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from harness.compiler.loops import Binary, Call, Expr, Load, Store
from harness.dtypes import DType, Vec

EXACT = 1 << 53  # whole numbers below it are exact in float64, in which matrices are multiplied
FEW = 1 << 18  # multiplications that are sooner done in integers than the threads of a float product are awake


@dataclass(frozen=True, eq=False)
class Sum:
    """store: register = register + the product of two factors, or + one term.

    With `lanes`, the products of so many lanes of two vectors, modulo 2^32.
    """

    store: Store
    parts: tuple[Expr, ...]  # two factors, or one term
    lanes: int = 0


def sum_of(s: Store) -> Sum | None:
    here, value = Load(s.buffer, s.index), s.value
    if isinstance(value, Binary) and value.op == "add" and value.dtype in (DType.I32, DType.I64):
        term = value.right
        if value.left != here or term.dtype != value.dtype or s.buffer.dtype != value.dtype:
            return None
        whole = isinstance(term, Binary) and term.op == "mul" and term.left.dtype is term.right.dtype
        return Sum(s, (term.left, term.right) if whole and isinstance(term, Binary) else (term,))
    if isinstance(value, Call) and value.intrinsic.adds_products and value.args[-1] == here:
        x, y = value.args[:2]
        wanted = tuple(dtype for _, dtype in value.intrinsic.params)
        if tuple(a.dtype for a in value.args) == wanted and isinstance(x.dtype, Vec):
            return Sum(s, (x, y), x.dtype.lanes)
    return None


def deep(value: np.ndarray, depth: int) -> np.ndarray:
    """`value` with so many axes: what does not change from one lane to the next has a first axis of 1."""
    return value.reshape((1,) * (depth - value.ndim) + value.shape)


def added_up(parts: list[np.ndarray], along: tuple[int, ...], vectors: bool) -> np.ndarray:
    """The sum over the axes `along`, the first, and over the last where it is the lanes of `vectors`; exact."""
    first = tuple(range(len(along)))
    if len(parts) == 1:
        (term,) = parts
        return term.sum(axis=first) * (prod(along) // prod(term.shape[: len(along)]))
    a, b = parts
    depth = a.ndim
    summed = [*first, depth - 1] if vectors else [*first]
    over = {axis: along[axis] if axis < len(along) else max(a.shape[axis], b.shape[axis]) for axis in summed}
    a = np.broadcast_to(a, tuple(over.get(axis, n) for axis, n in enumerate(a.shape)))
    b = np.broadcast_to(b, tuple(over.get(axis, n) for axis, n in enumerate(b.shape)))
    kept = [axis for axis in range(depth) if axis not in over]
    both = [axis for axis in kept if a.shape[axis] > 1 and b.shape[axis] > 1]
    rows = [axis for axis in kept if a.shape[axis] > 1 and axis not in both]
    columns = [axis for axis in kept if axis not in both and axis not in rows]
    order = [*both, *rows, *columns]
    sizes = [prod(max(a.shape[axis], b.shape[axis]) for axis in group) for group in (both, rows, columns)]
    terms = prod(over.values())
    exact = np.int64 if prod(sizes) * terms < FEW else np.float64
    left = a.transpose(*both, *rows, *columns, *summed).astype(exact, order="C").reshape(sizes[0], sizes[1], terms)
    right = b.transpose(*both, *rows, *summed, *columns).astype(exact, order="C").reshape(sizes[0], terms, sizes[2])
    result = np.matmul(left, right).astype(np.int64, copy=False)
    result = result.reshape([max(a.shape[axis], b.shape[axis]) for axis in order])
    return result.transpose([order.index(axis) for axis in kept])
