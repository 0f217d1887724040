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
from typing import ClassVar

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
from harness.compiler.schedules.base import Knob
from harness.compiler.schedules.common import finished, tidy
from harness.dtypes import DType

I8 = DType.I8


@dataclass(frozen=True)
class ByElement:
    """One loop over the elements, or over words of them, each computed in one of the ways there are."""

    way: str
    at_once: int
    name: ClassVar[str] = "elements"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("way", ("line", "words", "clamp", "loops"), "how an element is computed; loops: as it was lowered"),
        Knob("at_once", (1, 2, 4), "elements, or words, an iteration"),
    )

    def draft(self, program: Program, target: Target) -> Program | None:
        made = WAYS[self.way](program, target)
        if made is None:
            return None
        made = tidy(made)
        if self.way == "words":
            return replace(made, body=unroll(made.body, "i", self.at_once))
        loops = [s for s in walk(made.body) if isinstance(s, For)]
        if not loops:  # a single element has none
            return made if self.at_once == 1 else None
        return replace(made, body=register_block(made.body, loops[-1].var, self.at_once))

    def finish(self, draft: Program) -> Program:
        return finished(draft)


def _as_lowered(program: Program, target: Target) -> Program:
    return program


def _line(program: Program, target: Target) -> Program | None:
    """By the multiplication, or the weighted sum, that is equal to the reference, where there is one."""
    origin = program.origin
    (result,) = program.of_space("output")
    if not isinstance(origin, Elements) or result.dtype is not I8:
        return None
    if isinstance(origin.meaning, Combination):
        return _combined(program, origin.elements, origin.meaning)
    if not isinstance(origin.meaning, Lookup) or origin.meaning.formula is None:
        return None
    found = affine(origin.meaning.formula)
    (element,) = origin.elements
    return None if found is None else _storing(program, *short_form(found, (wide(element),)))


def _clamping(program: Program, target: Target) -> Program | None:
    """A function of one byte that does nothing but clamp it, byte by byte."""
    bounds = _bounds_of(program)
    if bounds is None:
        return None
    assert isinstance(program.origin, Elements)
    return _storing(program, (), _clamped(program.origin.elements[0], *bounds))


def _words(program: Program, target: Target) -> Program | None:
    """Four elements at a time: comparisons where the core compares bytes, tables where it has words at any address."""
    origin = program.origin
    if not isinstance(origin, Elements):
        return None
    bounds = _bounds_of(program)
    if bounds is not None and _has_words(program, origin.elements, target, "dsp"):
        return _by_words(program, origin.elements, _clamp(*bounds))
    if isinstance(origin.meaning, Extremum) and _has_words(program, origin.elements, target, "dsp"):
        return _by_words(program, origin.elements, _extremum(origin.meaning))
    if isinstance(origin.meaning, Lookup) and _has_words(program, origin.elements, target, "thumb2"):
        return _table_by_words(program, origin.elements[0])
    return None


WAYS: dict[str, Callable[[Program, Target], Program | None]] = {
    "line": _line,
    "words": _words,
    "clamp": _clamping,
    "loops": _as_lowered,
}


def _bounds_of(program: Program) -> tuple[int, int] | None:
    """Those of a function of one int8 byte that only clamps."""
    origin = program.origin
    (result,) = program.of_space("output")
    if not isinstance(origin, Elements) or not isinstance(origin.meaning, Lookup) or result.dtype is not I8:
        return None
    outputs = origin.meaning.outputs
    low, high = int(outputs.min()), int(outputs.max())
    identity = np.arange(I8.min, I8.max + 1)
    if origin.elements[0].dtype is not I8 or not np.array_equal(outputs, np.clip(identity, low, high)):
        return None
    return low, high


# ---- weighted sums and products


def _combined(program: Program, elements: Sequence[Expr], meaning: Combination) -> Program | None:
    """With the short form where there is one."""
    found = affine(meaning.formula)
    if found is None:
        return None
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
