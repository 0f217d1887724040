"""Arithmetic on all lanes at once, and what is known of its results without looking at them.

Most of what a program computes cannot leave its dtype whatever the lanes hold: the index of a loop of 64 iterations,
the product of two int8. Each value has bounds; only where these lie outside does anybody look at the lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from harness.compiler.interpreter_state import Value


class Bounded(NamedTuple):
    """A value, and of an integer bounds that hold in every lane, masked off or not; a float has none."""

    value: Value
    low: int = 0
    high: int = 0

    @property
    def largest(self) -> int:
        """The largest magnitude."""
        return max(-self.low, self.high)


def looked_at(value: Value) -> Bounded:
    """An integer value with the bounds that its lanes have."""
    if isinstance(value, int):
        return Bounded(value, value, value)
    return Bounded(value, int(value.min()), int(value.max()))


def hull(a: Bounded, b: Bounded) -> tuple[int, int]:
    """Bounds of what is the one or the other."""
    return min(a.low, b.low), max(a.high, b.high)


Rule = Callable[[Value, Value], Value]
COMPARED: dict[str, Rule] = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}


def least(a: Value, b: Value) -> Value:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else np.minimum(a, b)


def greatest(a: Value, b: Value) -> Value:
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else np.maximum(a, b)


def _quotient(a: Value, b: Value) -> Value:
    """Truncated, as C's is."""
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


def _divided(a: Value, b: Value) -> Value:
    result = _quotient(a, b)
    return int(result) if isinstance(a, int) and isinstance(b, int) else result


def _remainder(a: Value, b: Value) -> Value:
    result = a - _quotient(a, b) * b
    return int(result) if isinstance(a, int) and isinstance(b, int) else result


# Of integers; a shift or a divisor that C does not define is found before.
COMPUTED: dict[str, Rule] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "min": least,
    "max": greatest,
    "shl": lambda a, b: a << b,
    "shr": lambda a, b: a >> b,
    "div": _divided,
    "rem": _remainder,
}


def bounds(op: str, left: Bounded, right: Bounded) -> tuple[int, int]:
    """Of the exact result of an operation of integers."""
    (_, a, b), (_, c, d) = left, right
    if op == "add":
        return a + c, b + d
    if op == "sub":
        return a - d, b - c
    if op == "mul":
        corners = (a * c, a * d, b * c, b * d)
        return min(corners), max(corners)
    if op == "min":
        return min(a, c), min(b, d)
    if op == "max":
        return max(a, c), max(b, d)
    if op == "shl":
        return min(a, 0) << d, max(b, 0) << d
    if op in ("and", "or"):  # no bits but those of the operands
        bits = max(map(int.bit_length, (a, b, c, d)))
        return 0 if min(a, c) >= 0 else -(1 << bits), (1 << bits) - 1
    if op == "shr":
        return min(a, 0), max(b, 0)
    return -left.largest, left.largest  # a quotient and a remainder are no larger than what is divided
