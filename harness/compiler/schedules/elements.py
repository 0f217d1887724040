"""Operators that compute an element of the output from one element of each operand.

    for i in 0 … n:                              for i in 0 … n step 4:
        a_ = requantise(a[i] …)                      y[i] = (a[i] * m + b[i] * k + c >> s), clamped
        b_ = requantise(b[i] …)          →           y[i + 1] = …
        y[i] = clamp(requantise(a_ + b_) …)

Where integers for the short form are found (see `lowering.affine`), it takes the place of the reference's arithmetic.
A function of one byte is a table, unless it is cheaper without; what only clamps goes by words of four elements where
the core compares four bytes at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.board import Target
from harness.compiler.intrinsics.dsp import MAX_I8X4, MIN_I8X4, SPLAT_I8X4
from harness.compiler.intrinsics.fixed_point import saturate_shifted
from harness.compiler.intrinsics.lanes import I8X4
from harness.compiler.loops import (
    Block,
    Call,
    Const,
    Expr,
    For,
    Let,
    Load,
    Program,
    Store,
    Var,
    call,
    cast,
    maximum,
    minimum,
    walk,
)
from harness.compiler.lowering.affine import Affine, affine
from harness.compiler.lowering.building import offset, wide
from harness.compiler.lowering.elementwise import Combination, Elements, Extremum, Lookup
from harness.compiler.schedule import register_block
from harness.compiler.schedules.common import finished, tidy
from harness.dtypes import DType

AT_ONCE = 4  # elements an iteration
I8 = DType.I8


def elementwise(program: Program, target: Target) -> Program:
    origin = program.origin
    words = False
    if isinstance(origin, Elements):
        if isinstance(origin.meaning, Combination):
            program = _combined(program, origin.elements, origin.meaning)
        elif isinstance(origin.meaning, Lookup):
            way = _looked_up(program, origin.elements[0], origin.meaning, target)
            program, words = way.program, way.words
        elif isinstance(origin.meaning, Extremum) and _has_words(program, origin.elements, target):
            program, words = _by_words(program, origin.elements, _extremum(origin.meaning)), True
    program = tidy(program)
    loops = [s for s in walk(program.body) if isinstance(s, For)]
    if loops and not words:  # a single element has none
        program = replace(program, body=register_block(program.body, loops[-1].var, AT_ONCE))
    return finished(program)


# ---- weighted sums and products


def _combined(program: Program, elements: Sequence[Expr], meaning: Combination) -> Program:
    """With the short form where there is one."""
    found = affine(meaning.formula)
    if found is None:
        return program
    terms = [wide(x) for x in elements]
    if len(found.multipliers) < len(terms):
        first, second = (wide(x, z) for x, z in zip(elements, meaning.zero_points, strict=True))
        terms = [first * second]
    return _storing(program, *short_form(found, terms))


def short_form(found: Affine, terms: Sequence[Expr]) -> tuple[Block, Expr]:
    """The int8 element, and before it what has to be named."""
    first, *rest = (term * multiplier for term, multiplier in zip(terms, found.multipliers, strict=True))
    # Second, not last: a core that multiplies and adds in one instruction then has one for each term.
    total: Expr = offset(first, found.centre if found.below else found.centre + found.addend)
    for term in rest:
        total = total + term
    before: Block = ()
    if found.below:
        named = Let("total", total)
        before = (named,)
        total = offset((named.var >> 31) * found.below + named.var, found.addend)
    return before, _clamped(Call(saturate_shifted(found.shift), (total,)), found.low, found.high)


def _clamped(value: Expr, low: int, high: int) -> Expr:
    """An int8 value clamped; a bound that is the type's own costs nothing."""
    bounded = cast(value, DType.I32)
    bounded = bounded if high == I8.max else minimum(bounded, high)
    bounded = bounded if low == I8.min else maximum(bounded, low)
    return value if (low, high) == (I8.min, I8.max) else cast(bounded, I8)


# ---- functions of one element


@dataclass(frozen=True)
class Cost:
    """What one way of computing a function of one byte takes: the rule by which one is chosen."""

    instructions: float  # an element
    flash: int  # bytes

    INSTRUCTIONS_PER_BYTE = 4  # executed in one run of the layer, that a byte of flash is worth

    def of(self, elements: int) -> float:
        return self.instructions * elements + self.flash * self.INSTRUCTIONS_PER_BYTE


TABLE = Cost(3, 256)
LINE = Cost(4, 12)
COPY = Cost(2, 0)
WORD = Cost(0.5, 0)  # a copy of four elements at once
BOUND, WORD_BOUND = 3, 0.5  # instructions an element for each bound that is not the type's own
UNLIKE = 2  # where negative sums are treated in another way


@dataclass(frozen=True)
class Way:
    cost: float
    program: Program
    words: bool = False


def _looked_up(program: Program, element: Expr, meaning: Lookup, target: Target) -> Way:
    """The cheapest way; the program as it is looks the table up."""
    (result,) = program.of_space("output")
    ways = [Way(TABLE.of(result.elements), program)]
    if result.dtype is not I8:
        return ways[0]
    low, high = int(meaning.outputs.min()), int(meaning.outputs.max())
    if element.dtype is I8 and np.array_equal(meaning.outputs, np.clip(np.arange(-128, 128), low, high)):
        if _has_words(program, (element,), target):
            cost = Cost(WORD.instructions + WORD_BOUND * _bounds(low, high), 0)
            ways.append(Way(cost.of(result.elements), _by_words(program, (element,), _clamp(low, high)), words=True))
        cost = Cost(COPY.instructions + BOUND * _bounds(low, high), 0)
        ways.append(Way(cost.of(result.elements), _storing(program, (), _clamped(element, low, high))))
    found = None if meaning.formula is None else affine(meaning.formula)
    if found is not None:
        more = BOUND * _bounds(found.low, found.high) + UNLIKE * (found.below != 0)
        cost = Cost(LINE.instructions + more, LINE.flash)
        ways.append(Way(cost.of(result.elements), _storing(program, *short_form(found, (wide(element),)))))
    return min(ways, key=lambda way: way.cost)


def _bounds(low: int, high: int) -> int:
    """How many are not the type's own."""
    return (low != I8.min) + (high != I8.max)


# ---- four elements at a time

OfWords = Callable[[Sequence[Expr]], Expr]
"""From a word of each operand, or from one element of each, to that of the output: the types tell which."""


def _has_words(program: Program, elements: Sequence[Expr], target: Target) -> bool:
    """Whether the core compares four bytes at a time, and all are int8 and lie side by side, four at least."""
    (result,) = program.of_space("output")
    flat = all(isinstance(x, Load) and x.buffer.shape == result.shape for x in elements)
    bytes_only = result.dtype is I8 and all(x.dtype is I8 for x in elements)
    return "dsp" in target.instructions and flat and bytes_only and len(result.shape) == 1 and result.elements >= 4


def _by_words(program: Program, elements: Sequence[Expr], value: OfWords) -> Program:
    """A loop over whole words, then the elements that are left over.

    for i in 0 … 6:                for i in 0 … 4 step 4:  y[i … i + 3] = f(x[i … i + 3])
        y[i] = f(x[i])             for i in 4 … 6:         y[i] = f(x[i])
    """
    (result,) = program.of_space("output")
    whole = result.elements // 4 * 4
    i = Var("i")
    loads = [x for x in elements if isinstance(x, Load)]
    words = [replace(x, lanes=I8X4) for x in loads]
    body: Block = (For("i", Const(0), Const(whole), (Store(result, (i,), value(words)),), 4, parallel=True),)
    if whole < result.elements:
        rest = Store(result, (i,), value(loads))
        body += (For("i", Const(whole), Const(result.elements), (rest,), parallel=True),)
    return replace(program, body=body)


def _clamp(low: int, high: int) -> OfWords:
    def value(operands: Sequence[Expr]) -> Expr:
        (x,) = operands
        if x.dtype is I8:
            return _clamped(x, low, high)
        x = x if high == I8.max else call(MIN_I8X4, x, call(SPLAT_I8X4, high))
        return x if low == I8.min else call(MAX_I8X4, x, call(SPLAT_I8X4, low))

    return value


def _extremum(meaning: Extremum) -> OfWords:
    def value(operands: Sequence[Expr]) -> Expr:
        a, b = operands
        if a.dtype is I8:
            a, b = wide(a), wide(b)
            return cast(maximum(a, b) if meaning.largest else minimum(a, b), I8)
        return call(MAX_I8X4 if meaning.largest else MIN_I8X4, a, b)

    return value


def _storing(program: Program, before: Block, value: Expr) -> Program:
    """The loops of `program` around `before` and the one store, now of `value`."""

    def innermost(block: Block) -> Block:
        last = block[-1]
        if isinstance(last, For):
            return (*block[:-1], replace(last, body=innermost(last.body)))
        assert isinstance(last, Store)
        return (*before, replace(last, value=value))

    return replace(program, body=innermost(program.body))
