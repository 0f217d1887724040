"""Loop programs of operators that compute each element of the output from one element of each operand.

    for i in 0 … elements:
        y[i] = f(a[i], b[i])

Operands are broadcast as numpy does it. Dimensions along which every operand runs, or stands still, together become one
loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.compiler.graph import Tensor
from harness.compiler.loops import Block, Buffer, Const, Expr, Program, Var, load, store
from harness.compiler.lowering.affine import Formula
from harness.compiler.lowering.building import Builder, parallel

Element = Callable[[Builder, Sequence[Expr]], tuple[Block, Expr]]


@dataclass(frozen=True, eq=False)
class Elements:
    """Origin of a program of this kind: what a schedule needs to write it anew.

    The innermost loop of the program, or its body where there is none, does nothing but store one element.
    """

    elements: tuple[Expr, ...]  # of the operands, as they are loaded
    meaning: object | None  # what is known of the function: one of the classes below


@dataclass(frozen=True, eq=False)
class Combination:
    """An int8 function of two int8 elements, near a weighted sum of terms that are made of them."""

    zero_points: tuple[int, int]  # taken off the elements where their product is the term
    formula: Formula  # its terms are the two elements, or the one product


@dataclass(frozen=True, eq=False)
class Lookup:
    """A function of one element of 8 bits to another."""

    outputs: np.ndarray  # (256,), of the result's dtype, from the smallest value of the input's on
    formula: Formula | None = None  # what the outputs are near, where that is a line


@dataclass(frozen=True)
class Extremum:
    """The larger, or the smaller, of two elements."""

    largest: bool


def elementwise(
    name: str,
    operands: Sequence[Tensor],
    y: Tensor,
    element: Element,
    meaning: object | None = None,
    *,
    same: bool = False,
) -> Program:
    """The loops over the elements of `y`. `same` says that both operands are one tensor; constants become tables."""
    shape, owns = merged(y.shape, [x.shape for x in operands])
    build = Builder(name)
    index = tuple(Var("i" if len(shape) == 1 else f"i{axis}") for axis in range(len(shape)))
    elements: list[Expr] = []
    for position, (x, own) in enumerate(zip(operands, owns, strict=True)):
        source = build.buffers[0] if same and position else _source(build, position, x, own)
        elements.append(load(source, *(Const(0) if n == 1 else i for i, n in zip(index, own, strict=True))))
    result = build.output(y.dtype, *shape)
    before, value = element(build, elements)
    body: Block = (*before, store(result, *index, value=value))
    for i, count in reversed(list(zip(index, shape, strict=True))):
        body = (parallel(i.name, count, *body),)
    return replace(build.program(*body), origin=Elements(tuple(elements), meaning))


def _source(build: Builder, position: int, x: Tensor, shape: tuple[int, ...]) -> Buffer:
    """The buffer of an operand: a parameter or a constant."""
    if x.data is not None:
        return build.table(f"constant_{position}", x.data.reshape(shape))
    first = all(b.space != "input" for b in build.buffers)
    return build.input("input" if first else "input_1", x.dtype, *shape)


def merged(
    shape: tuple[int, ...], operands: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The output's shape and the operands' with as few dimensions as broadcasting leaves, at least one.

    (1, 5, 4, 3) with (1, 5, 4, 3) and (3,)  →  (20, 3) with (20, 3) and (1, 3)
    """
    padded = [(1,) * (len(shape) - len(own)) + own for own in operands]
    dims: list[int] = []
    runs: list[tuple[bool, ...]] = []
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        here = tuple(own[axis] == extent for own in padded)
        if runs and runs[-1] == here:
            dims[-1] *= extent
        else:
            dims.append(extent)
            runs.append(here)
    if not dims:
        return (1,), [(1,)] * len(operands)
    owns = [tuple(n if run[k] else 1 for n, run in zip(dims, runs, strict=True)) for k in range(len(operands))]
    return tuple(dims), owns


def int8_values(x: Tensor) -> np.ndarray:
    """int64: every value that an element of an int8 tensor can have, in order."""
    return np.arange(-128, 128, dtype=np.int64) if x.data is None else np.unique(x.data).astype(np.int64)
