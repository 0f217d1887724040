"""Operators that move elements and compute nothing, as boxes of elements that are copied or filled.

A move copies a box: the element at (i, j, …) goes from `start + i * strides[0] + j * strides[1] + …` of an operand to
`to + i * to_strides[0] + …` of an output, both counted in elements of flat memory. Transposing, padding, slicing,
concatenating and the like are a few such boxes each. Where a box turns out to be one run on both sides, nothing need
be copied at all: that is what passes ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from harness.compiler.loops import Block, Buffer, Const, Expr, Program, Stmt, Var, load, store
from harness.compiler.lowering.building import Builder, offset, parallel

_VARS = "ijklmpqrst"


@dataclass(frozen=True)
class Move:
    """A box of `extents` elements. Strides of the operand may be negative, or 0 to repeat an element."""

    operand: int | None  # position among the operator's operands; None: every element becomes `value`
    output: int  # position among its outputs
    extents: tuple[int, ...]
    start: int
    strides: tuple[int, ...]
    to: int
    to_strides: tuple[int, ...]
    value: int | float = 0

    @property
    def elements(self) -> int:
        return prod(self.extents)

    @property
    def merged(self) -> Move:
        """The same move in as few dimensions as it has, outermost first; none for a single element."""
        dims: list[tuple[int, int, int]] = []
        for n, s, t in zip(self.extents, self.strides, self.to_strides, strict=True):
            if n == 1:
                continue
            if dims and dims[-1][1] == n * s and dims[-1][2] == n * t:
                dims[-1] = (dims[-1][0] * n, s, t)
            else:
                dims.append((n, s, t))
        return replace(
            self,
            extents=tuple(n for n, _, _ in dims),
            strides=tuple(s for _, s, _ in dims),
            to_strides=tuple(t for _, _, t in dims),
        )

    @property
    def is_run(self) -> bool:
        """Consecutive elements on both sides, in order."""
        move = self.merged
        return self.operand is not None and move.strides in ((), (1,)) and move.to_strides in ((), (1,))


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Elements between neighbours along each dimension of a dense tensor."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def whole(operand: int, elements: int, *, output: int = 0) -> Move:
    """All elements in their order."""
    return Move(operand, output, (elements,), 0, (1,), 0, (1,))


def box(
    operand: int,
    source: Sequence[int],
    result: Sequence[int],
    extents: Sequence[int],
    *,
    output: int = 0,
    begin: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    at: Sequence[int] | None = None,
) -> Move:
    """result[at + i] = source[begin + i * steps] for every i in a box of `extents`; shapes of one rank.

    Without `begin` or `at` the box lies at the origin, without `steps` they are 1.
    """
    strides, to_strides = strides_of(source), strides_of(result)
    start = sum(b * s for b, s in zip(begin or (0,) * len(strides), strides, strict=True))
    to = sum(a * t for a, t in zip(at or (0,) * len(strides), to_strides, strict=True))
    stepped = tuple(k * s for k, s in zip(steps or (1,) * len(strides), strides, strict=True))
    return Move(operand, output, tuple(extents), start, stepped, to, to_strides)


def fill(value: int | float, result: Sequence[int], extents: Sequence[int], at: Sequence[int]) -> Move:
    """result[at + i] = value for every i in a box of `extents`."""
    to_strides = strides_of(result)
    to = sum(a * t for a, t in zip(at, to_strides, strict=True))
    return Move(None, 0, tuple(extents), 0, (0,) * len(to_strides), to, to_strides, value)


@dataclass(frozen=True, eq=False)
class Copies:
    """A program of moves as its schedule sees it. All buffers are flat."""

    moves: tuple[Move, ...]
    sources: Mapping[int, Buffer]  # by operand
    results: tuple[Buffer, ...]


def copies(build: Builder, moves: Sequence[Move], sources: Mapping[int, Buffer], results: Sequence[Buffer]) -> Program:
    """The program that makes `moves`, element by element."""
    spec = Copies(tuple(move.merged for move in moves), sources, tuple(results))
    body = tuple(s for number, move in enumerate(spec.moves) for s in _loops(spec, move, names(spec, number)))
    return replace(build.program(*body), origin=spec)


def names(spec: Copies, number: int) -> tuple[Var, ...]:
    """The loop variables of a move, outermost first: its own where there are several moves."""
    suffix = f"_{number}" if len(spec.moves) > 1 else ""
    return tuple(Var(f"{_VARS[axis]}{suffix}") for axis in range(len(spec.moves[number].extents)))


def position(start: int, strides: Sequence[int], at: Sequence[Expr]) -> Expr:
    """start + the sum of strides * at, as a person would write it."""
    total: Expr | None = None
    for stride, i in zip(strides, at, strict=True):
        if not stride:
            continue
        term: Expr = i if stride == 1 else i * stride
        total = term if total is None else total + term
    return Const(start) if total is None else offset(total, start)


def element(spec: Copies, move: Move, at: Sequence[Expr]) -> Stmt:
    """One element of a move."""
    result = spec.results[move.output]
    value: Expr = Const(move.value, result.element)
    if move.operand is not None:
        value = load(spec.sources[move.operand], position(move.start, move.strides, at))
    return store(result, position(move.to, move.to_strides, at), value=value)


def _loops(spec: Copies, move: Move, variables: Sequence[Var]) -> Block:
    body: Block = (element(spec, move, variables),)
    for i, count in reversed(list(zip(variables, move.extents, strict=True))):
        body = (parallel(i.name, count, *body),)
    return body
