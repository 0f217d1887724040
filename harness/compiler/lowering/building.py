"""What the operators' lowerings share: buffers of a layer, the way back from an accumulator, loops over a window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from harness.compiler.intrinsics.fixed_point import HIGH_MUL_SHORT, REQUANTISE, REQUANTISE_ANY, RESCALE, SATURATE_I8
from harness.compiler.loops import (
    Block,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Operand,
    Program,
    Stmt,
    Var,
    binary,
    call,
    cast,
    expr,
    load,
    maximum,
    minimum,
)
from harness.compiler.lowering.window import Window
from harness.dtypes import DType


@dataclass
class Builder:
    """Collects the buffers of one program while its body is written."""

    name: str
    buffers: list[Buffer] = field(default_factory=list)

    def input(self, name: str, dtype: DType, *shape: int) -> Buffer:
        return self._add(Buffer(name, dtype, shape, "input"))

    def output(self, dtype: DType, *shape: int) -> Buffer:
        before = sum(b.space == "output" for b in self.buffers)
        return self._add(Buffer(f"output_{before}" if before else "output", dtype, shape, "output"))

    def weights(self, data: np.ndarray) -> Buffer:
        """A constant big enough for weights.c, under a name that is unique in the whole model."""
        return self._add(_constant(f"{self.name}_weights", data, in_flash=True))

    def table(self, name: str, data: np.ndarray) -> Buffer:
        """A small constant beside the function."""
        return self._add(_constant(name, data, in_flash=False))

    def _add(self, buffer: Buffer) -> Buffer:
        self.buffers.append(buffer)
        return buffer

    def program(self, *body: Stmt) -> Program:
        order = {"input": 0, "output": 1, "const": 2}
        return Program(self.name, tuple(sorted(self.buffers, key=lambda b: order[b.space])), body)

    def requantised(
        self, acc: Expr, multipliers: np.ndarray, shifts: np.ndarray, channel: Operand, largest: int
    ) -> Expr:
        """acc * multiplier * 2^shift as TFLite rounds it; one pair for all channels, or one for each of `channel`.

        Sums below 2^30 can be doubled, which makes the multiplication shorter.

        `shifts` have TFLite's sign, positive to the left. `largest` bounds the magnitude of acc: where it leaves room
        for the rounding, the short form of the shift is exact.
        """
        room = DType.I32.max - largest
        to_the_right = bool(np.all(shifts < 0) and np.all(np.left_shift(1, -shifts.astype(np.int64) - 1) <= room))
        amounts = -shifts if to_the_right else shifts
        intrinsic = REQUANTISE if to_the_right else REQUANTISE_ANY
        if len(np.unique(multipliers)) == 1 and largest < 1 << 30:
            multiplier = int(multipliers[0])
            if np.all(shifts == 0):
                return call(HIGH_MUL_SHORT, acc, multiplier)
            if to_the_right and len(np.unique(amounts)) == 1:
                return call(RESCALE, acc, multiplier, int(amounts[0]), 0)
        if len(np.unique(multipliers)) == 1 and len(np.unique(amounts)) == 1:
            return call(intrinsic, acc, int(multipliers[0]), int(amounts[0]))
        table = self.table("multiplier", multipliers.astype(np.int32))
        if len(np.unique(amounts)) == 1:
            return call(intrinsic, acc, load(table, channel), int(amounts[0]))
        shift = self.table("shift", amounts.astype(np.int8))
        return call(intrinsic, acc, load(table, channel), cast(load(shift, channel), DType.I32))


def _constant(name: str, data: np.ndarray, in_flash: bool) -> Buffer:
    return Buffer(name, DType.of(data.dtype), data.shape, "const", data, in_flash)


def to_int8(value: Expr, zero_point: int, low: int, high: int) -> Expr:
    """int8 of value + zero_point, clamped to low … high."""
    moved = offset(value, zero_point)
    if (low, high) == (-128, 127):
        return call(SATURATE_I8, moved)
    return cast(clamped(moved, low, high), DType.I8)


def clamped(value: Expr, low: int | float, high: int | float) -> Expr:
    """value clamped to low … high; an infinite bound costs nothing."""
    if high != float("inf"):
        value = minimum(value, high)
    return maximum(value, low) if low != float("-inf") else value


def wide(value: Expr, zero_point: int = 0) -> Expr:
    """An element of a quantised tensor as int32, its zero point taken off."""
    return offset(cast(value, DType.I32), -zero_point)


def offset(value: Expr, by: int) -> Expr:
    """value + by, written as a person would: no `+ -3`, no `+ 0`."""
    if not by:
        return value
    return value + by if by > 0 else value - -by


def parallel(var: str, count: int, *body: Stmt) -> For:
    return For(var, Const(0), Const(count), body, parallel=True)


def serial(var: str, start: Operand, stop: Operand, *body: Stmt) -> For:
    return For(var, expr(start), expr(stop), body)


def taps(window: Window, out: Var, var: str, body: Callable[[Expr], Block], group: int = 1) -> Block:
    """The loop over the taps of one window dimension that lie inside the input.

    `body` gets the input position of the tap. With `group` > 1 the dimension's positions are runs of `group` elements
    that are visited one by one (the columns of a row times its channels): only for dilation 1.
    """
    at = (out * window.stride - window.pad_before) * group
    tap = Var(var)
    end = window.kernel * group
    inside = window.size * group
    if not window.padded:
        return (serial(var, 0, end, *body(at + tap * window.dilation)),)
    if window.dilation == 1:
        return (serial(var, maximum(0, 0 - at), minimum(end, inside - at), *body(at + tap)),)
    position = at + tap * window.dilation
    guard = binary("and", position >= 0, position < inside)
    return (serial(var, 0, end, If(guard, body(position))),)


def tap_count(window: Window, out: Var) -> Expr:
    """How many taps of a window without dilation lie inside the input."""
    at = out * window.stride - window.pad_before
    return minimum(window.kernel, window.size - at) - maximum(0, 0 - at)
