"""Interval arithmetic in every iteration of some loops at once."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np

from harness.compiler.interpreter_arithmetic import greatest, least
from harness.compiler.interpreter_state import Value
from harness.compiler.loops import COMPARISON

Span = tuple[Value, Value]  # inclusive; empty where the first is above the second


class Range(NamedTuple):
    """What an expression can be in each iteration, and at all. Where it is known, `low` and `high` are one object."""

    low: Value
    high: Value
    least: int
    most: int


def combined(op: str, left: Range, right: Range) -> Range | None:
    each = _interval(op, (left.low, left.high), (right.low, right.high))
    at_all = None if each is None else _interval(op, (left.least, left.most), (right.least, right.most))
    return None if each is None or at_all is None else Range(*each, *at_all)


def _interval(op: str, left: Span, right: Span) -> Span | None:
    """Interval arithmetic; None for what is not followed."""
    (a, b), (c, d) = left, right
    exact = a is b and c is d
    if op in ("add", "sub"):
        low = a + c if op == "add" else a - d
        return low, low if exact else b + d if op == "add" else b - c
    if op == "mul":
        if exact:
            return (low := a * c), low
        if isinstance(c, int) and c is d:
            return (a * c, b * c) if c >= 0 else (b * c, a * c)
        corners = (a * c, a * d, b * c, b * d)
        return reduce(least, corners), reduce(greatest, corners)
    if op in ("min", "max"):
        pick = least if op == "min" else greatest
        low = pick(a, c)
        return low, low if exact else pick(b, d)
    if op in ("div", "shr", "and", "rem") and np.ndim(c) == 0 and np.all(c == d) and c > 0:
        if op == "shr":
            return a >> c, b >> c
        if op == "div":
            return _truncated(a, c), _truncated(b, c)
        return (0 if op == "and" or np.all(a >= 0) else 1 - c), (c if op == "and" else c - 1)
    if op in COMPARISON:
        return _compared(op, left, right)
    if op == "and" and np.all((a >= 0) & (b <= 1) & (c >= 0) & (d <= 1)):
        return a & c, b & d
    if op == "or" and np.all((a >= 0) & (b <= 1) & (c >= 0) & (d <= 1)):
        return a | c, b | d
    return None


def _truncated(value: Value, by: int) -> Value:
    return np.sign(value) * (np.abs(value) // by)


_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}


def _compared(op: str, left: Span, right: Span) -> Span:
    """0 or 1: at least 1 where it always holds, at most 0 where the opposite does."""
    return 1 * _always(op, left, right), 1 - 1 * _always(_OPPOSITE[op], left, right)


def _always(op: str, left: Span, right: Span) -> Value:
    (a, b), (c, d) = left, right
    if op in ("lt", "le"):
        return b < c if op == "lt" else b <= c
    if op in ("gt", "ge"):
        return a > d if op == "gt" else a >= d
    return (a == b) & (c == d) & (a == c) if op == "eq" else (b < c) | (a > d)
