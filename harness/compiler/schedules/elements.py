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
from harness.compiler.intrinsics.bytes import MAX_I8X4, MIN_I8X4, PACK_I8X4, SPLAT_I8X4, byte
from harness.compiler.intrinsics.fixed_point import HIGH_ADD, saturate_shifted
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
    load,
    maximum,
    minimum,
    walk,
)
from harness.compiler.lowering.affine import Affine, affine
from harness.compiler.lowering.building import offset, to_int8, wide
from harness.compiler.lowering.elementwise import Combination, Elements, Extremum, Lookup
from harness.compiler.schedule import register_block, unroll
from harness.compiler.schedules.common import finished, tidy
from harness.dtypes import DType

AT_ONCE = 4  # elements an iteration
WORDS = 4  # words an iteration where comparing them is all there is to do, and of a table:
WORDS_OF_TABLE = 2
I8 = DType.I8


@dataclass(frozen=True)
class Way:
    """One way of computing the elements, and what it costs."""

    program: Program
    cost: float = 0.0
    words: int = 0  # an iteration; 0: it goes by elements


def elementwise(program: Program, target: Target) -> Program:
    origin = program.origin
    way = _chosen(program, origin, target) if isinstance(origin, Elements) else Way(program)
    program = tidy(way.program)
    loops = [s for s in walk(program.body) if isinstance(s, For)]
    if way.words:
        program = replace(program, body=unroll(program.body, "i", way.words))
    elif loops:  # a single element has none
        program = replace(program, body=register_block(program.body, loops[-1].var, AT_ONCE))
    return finished(program)


def _chosen(program: Program, origin: Elements, target: Target) -> Way:
    if isinstance(origin.meaning, Combination):
        return Way(_combined(program, origin.elements, origin.meaning))
    if isinstance(origin.meaning, Lookup):
        return _looked_up(program, origin.elements[0], origin.meaning, target)
    if isinstance(origin.meaning, Extremum) and _has_words(program, origin.elements, target, "dsp"):
        return Way(_by_words(program, origin.elements, _extremum(origin.meaning)), words=WORDS)
    return Way(program)


# ---- weighted sums and products


def _combined(program: Program, elements: Sequence[Expr], meaning: Combination) -> Program:
    """With the short form where there is one."""
    found = affine(meaning.formula)
    if found is None:
        return program
    terms = [wide(x) for x in elements]
    if len(found.multipliers) < len(terms):
        first, second = (wide(x, z) for x, z in zip(elements, meaning.zero_points, strict=True))
        terms = [(first * (1 << found.finer) if found.finer else first) * second]
    return _storing(program, *short_form(found, terms))


def short_form(found: Affine, terms: Sequence[Expr]) -> tuple[Block, Expr]:
    """The int8 element, and before it what has to be named; a term that is to be moved to the left is so already."""
    start = found.centre if found.below else found.centre + found.addend
    first, *rest = zip(terms, found.multipliers, strict=True)
    if found.finer:
        total: Expr = call(HIGH_ADD, *first, start)
    else:
        # Second, not last: a core that multiplies and adds in one instruction then has one for each term.
        total = offset(first[0] * first[1], start)
    for term, multiplier in rest:
        total = total + term * multiplier
    before: Block = ()
    if found.below:
        named = Let("total", total)
        before = (named,)
        total = offset((named.var >> 31) * found.below + named.var, found.addend)
    if _bounds(found.low, found.high) == 2:  # saturation as well would be of no use
        return before, to_int8(total >> found.shift, 0, found.low, found.high)
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


TABLE = Cost(5, 256)
WORD_OF_TABLE = Cost(4, 256)
LINE = Cost(5, 12)
COPY = Cost(3, 0)
WORD = Cost(0.5, 0)  # a copy of four elements at once
BOUND, WORD_BOUND = 3, 0.5  # instructions an element for each bound that is not the type's own
UNLIKE = 2  # where negative sums are treated in another way


def _looked_up(program: Program, element: Expr, meaning: Lookup, target: Target) -> Way:
    """The cheapest way; the program as it is looks the table up."""
    (result,) = program.of_space("output")
    n = result.elements
    ways = [Way(program, TABLE.of(n))]
    if result.dtype is not I8 or element.dtype is not I8:
        return _or_line(ways, program, element, meaning)
    if _has_words(program, (element,), target, "thumb2"):
        ways.append(Way(_table_by_words(program, element), WORD_OF_TABLE.of(n), WORDS_OF_TABLE))
    low, high = int(meaning.outputs.min()), int(meaning.outputs.max())
    if np.array_equal(meaning.outputs, np.clip(np.arange(-128, 128), low, high)):
        if _has_words(program, (element,), target, "dsp"):
            cost = Cost(WORD.instructions + WORD_BOUND * _bounds(low, high), 0)
            ways.append(Way(_by_words(program, (element,), _clamp(low, high)), cost.of(n), WORDS))
        cost = Cost(COPY.instructions + BOUND * _bounds(low, high), 0)
        ways.append(Way(_storing(program, (), _clamped(element, low, high)), cost.of(n)))
    return _or_line(ways, program, element, meaning)


def _or_line(ways: list[Way], program: Program, element: Expr, meaning: Lookup) -> Way:
    """The cheapest of `ways` and of the multiplication that does the same, if there is one."""
    (result,) = program.of_space("output")
    found = affine(meaning.formula) if meaning.formula is not None and result.dtype is I8 else None
    if found is not None:
        more = BOUND * _bounds(found.low, found.high) + UNLIKE * (found.below != 0)
        cost = Cost(LINE.instructions + more, LINE.flash)
        ways.append(Way(_storing(program, *short_form(found, (wide(element),))), cost.of(result.elements)))
    return min(ways, key=lambda way: way.cost)


def _bounds(low: int, high: int) -> int:
    """How many are not the type's own."""
    return (low != I8.min) + (high != I8.max)


# ---- four elements at a time

OfWords = Callable[[Sequence[Expr]], Expr]
"""From a word of each operand, or from one element of each, to that of the output: the types tell which."""


def _has_words(program: Program, elements: Sequence[Expr], target: Target, feature: str) -> bool:
    """Whether the core has what it takes, and all are int8 and lie side by side, four at least."""
    (result,) = program.of_space("output")
    flat = all(isinstance(x, Load) and x.buffer.shape == result.shape for x in elements)
    bytes_only = result.dtype is I8 and all(x.dtype is I8 for x in elements)
    return feature in target.instructions and flat and bytes_only and len(result.shape) == 1 and result.elements >= 4


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


def _table_by_words(program: Program, element: Expr) -> Program:
    """Four bytes are loaded at once, looked up one by one and stored at once."""
    (table,) = program.of_space("const")

    def value(operands: Sequence[Expr]) -> Expr:
        (x,) = operands
        if x.dtype is I8:
            return load(table, wide(x) & 255)
        return call(PACK_I8X4, *(wide(load(table, call(byte(k), x))) for k in range(4)))

    return _by_words(program, (element,), value)


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
