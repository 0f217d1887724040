"""The knobs of a product and the sizes that follow from them, and when a window lies inside the input."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.compiler.loops import Binary, Buffer, Expr, binary
from harness.compiler.lowering.contraction import Contraction
from harness.compiler.lowering.window import Window
from harness.dtypes import DType

ON_STACK = 64  # bytes of an array that may lie there


@dataclass(frozen=True)
class Blocking:
    """What is computed at a time."""

    pixels: int
    channels: int
    pairs: bool  # 16-bit lanes, two of them multiplied by one SMLAD
    narrow: bool = False  # with pairs: the kernel widens what it reads, and needs no patch


@dataclass(frozen=True)
class Plan:
    """One layer's product: the blocking, and the sizes that follow from it."""

    spec: Contraction
    blocking: Blocking
    depth: int  # terms of a sum, those added to fill the last step included
    groups: int

    @property
    def taken(self) -> int:
        """Terms that an iteration of the kernel takes."""
        return 4 if self.blocking.narrow else 2 if self.blocking.pairs else 1


def steps(terms: int, unrolled: int, *, pairs: bool, whole: bool) -> tuple[int, int]:
    """Terms of one unrolled step of the kernel, and of all of them together: just `terms` where it is `whole`."""
    least = 4 if pairs else 1
    step = max(least, unrolled)
    while step > least and (terms % step if whole else -(-terms // step) * step - terms >= 4):
        step -= least
    return step, -(-terms // step) * step


def room(name: str, dtype: DType, shape: tuple[int, ...]) -> Buffer:
    """Words that a layer needs while it runs: on the stack, or in the arena where they are more than a few."""
    few = math.prod(shape) * dtype.bytes <= ON_STACK
    return Buffer(name, dtype, shape, "register" if few else "scratch", align=4)


def within(position: Expr, window: Window) -> Expr | None:
    """The condition for a position to lie inside the input; None where every position does."""
    if not window.padded:
        return None
    return binary("and", position >= 0, position < window.size)


def all_within(first: Expr, window: Window) -> Expr | None:
    """The condition for a whole window from `first` on to lie inside the input; None where every window does."""
    if not window.padded:
        return None
    reach = (window.kernel - 1) * window.dilation
    return binary("and", first >= 0, first + reach < window.size)


def both(a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None or b is None:
        return a if b is None else b
    return Binary("and", a, b)
