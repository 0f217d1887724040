"""Turns iterations of a parallel loop into the lanes of vectors.

    for c in 0 … 10:                        for c in 0 … 8 step 4:
        acc = 0                                 acc = 0, 0, 0, 0
        for k: acc += x[k, c]                   for k: acc += x[k, c … c + 3]
        y[c] = acc >> 3                         y[c … c + 3] = acc >> 3
                                            the same for c = 8 with two lanes that take part

Loads and stores have to run along the last dimension of their buffers; what is the same in all iterations is spread
over the lanes where it meets what is not. Each operation becomes the intrinsic that does it to every lane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from harness.compiler.intrinsics import fixed_point, mve
from harness.compiler.intrinsics.base import Intrinsic
from harness.compiler.intrinsics.lanes import I8X16, I32X4
from harness.compiler.loops import (
    Alloc,
    Binary,
    Block,
    Buffer,
    Call,
    Cast,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Note,
    Select,
    Stmt,
    Store,
    Var,
    cast,
    walk_expr,
)
from harness.compiler.schedule import at_loops, copy
from harness.compiler.simplify import affine
from harness.dtypes import DType, Vec
from harness.errors import CompilerBug


class NoVectors(CompilerBug):
    """A loop that has no form in lanes."""


def vectorise(block: Block, var: str, lanes: Vec) -> Block:
    """The loops over `var` in vectors of I32X4, or of I8X16 where lanes are only compared. Raises NoVectors."""

    def change(loop: For) -> Block:
        if not loop.parallel or loop.step != 1 or not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
            raise NoVectors(f"loop {var} is not a parallel one with constant bounds")
        start, stop = int(loop.start.value), int(loop.stop.value)
        whole = start + (stop - start) // lanes.lanes * lanes.lanes
        result: list[Stmt] = []
        if whole > start:
            body = _Lanes(var, lanes, None).block(loop.body)
            result.append(replace(loop, stop=Const(whole), step=lanes.lanes, body=body))
        if stop > whole:
            tail = _Lanes(var, lanes, Const(stop - whole)).block(loop.body)
            result += copy(tail, "_rest", {var: Const(whole)})
        return tuple(result)

    return at_loops(block, var, change)


@dataclass
class _Lanes:
    var: str
    lanes: Vec
    active: Expr | None
    names: set[str] = field(default_factory=set)  # of values that differ from lane to lane
    registers: dict[Buffer, Buffer] = field(default_factory=dict)  # scalars, and the vectors they become

    def no(self, what: str, node: object) -> NoVectors:
        return NoVectors(f"{what} has no form in {self.lanes.value}: {node}")

    # ---- statements

    def block(self, block: Block) -> Block:
        return tuple(self.statement(s) for s in block)

    def statement(self, s: Stmt) -> Stmt:
        if isinstance(s, Note):
            return s
        if isinstance(s, Alloc):
            if s.buffer.shape or not isinstance(s.buffer.dtype, DType) or not s.buffer.dtype.is_integer:
                raise self.no("a register array, or a float", s.buffer.name)
            self.registers[s.buffer] = replace(s.buffer, dtype=self.lanes)
            return Alloc(self.registers[s.buffer])
        if isinstance(s, Let):
            if not self.varies(s.value):
                return s
            self.names.add(s.name)
            return Let(s.name, self.expr(s.value))
        if isinstance(s, Store):
            if s.buffer in self.registers:
                return Store(self.registers[s.buffer], (), self.expr(s.value))
            return Store(s.buffer, s.index, self.expr(s.value), self.active, self.apart(s.index, s.buffer))
        for condition in (s.cond,) if isinstance(s, If) else (s.start, s.stop):
            if self.varies(condition):
                raise self.no("a condition, or a bound, that differs from lane to lane", condition)
        if isinstance(s, If):
            return If(s.cond, self.block(s.then), self.block(s.orelse))
        return replace(s, body=self.block(s.body))

    def varies(self, node: Expr) -> bool:
        return any(
            (isinstance(n, Var) and (n.name == self.var or n.name in self.names))
            or (isinstance(n, Load) and n.buffer in self.registers)
            for n in walk_expr(node)
        )

    def apart(self, index: tuple[Expr, ...], buffer: Buffer) -> int:
        """Elements from one lane to the next."""
        *others, last = index
        terms, _ = affine(last)
        apart = terms.pop(Var(self.var), 0)
        if apart < 1 or any(map(self.varies, (*others, *terms))):
            raise self.no("an index that does not run along the last dimension", buffer.name)
        return apart

    # ---- expressions

    def spread(self, node: Expr) -> Expr:
        if self.lanes == I8X16:
            if not isinstance(node, Const) or not -128 <= node.value <= 127:
                raise self.no("a value that may not fit", node)
            return Call(mve.SPREAD_I8, (Const(node.value, DType.I8),))
        if not node.dtype.is_integer or isinstance(node.dtype, Vec) or node.dtype.bytes > 4:
            raise self.no("a value", node)
        return Call(mve.SPREAD, (cast(node, DType.I32),))

    def expr(self, node: Expr) -> Expr:
        """The value in every lane."""
        if not self.varies(node):
            return self.spread(node)
        if isinstance(node, Var):
            if node.name == self.var:
                raise self.no("a loop variable as a value", node)
            return Var(node.name, self.lanes)
        if isinstance(node, Load):
            if node.buffer in self.registers:
                return Load(self.registers[node.buffer], ())
            if node.lanes is not None:
                raise self.no("a vector", node)
            return Load(node.buffer, node.index, self.lanes, self.active, self.apart(node.index, node.buffer))
        if isinstance(node, Cast):
            if not node.dtype.is_integer or node.dtype.bytes > 4 or not node.value.dtype.is_integer:
                raise self.no("a cast", node)
            return self.expr(node.value)  # lanes are wide enough for both
        if isinstance(node, Binary):
            return self.binary(node)
        if isinstance(node, Select):
            return self.select(node)
        if isinstance(node, Call) and self.lanes == I32X4:
            return self.call(node)
        raise self.no("an expression", node)

    def binary(self, node: Binary) -> Expr:
        left, right, op = node.left, node.right, node.op
        if op in ("min", "max"):
            return Call(_COMPARED[op, self.lanes], (self.expr(left), self.expr(right)))
        if self.lanes != I32X4 or node.dtype is not DType.I32:
            raise self.no("an operation", op)
        if op == "mul":
            for one, other in ((left, right), (right, left)):
                if not self.varies(other):
                    return Call(mve.TIMES_EACH, (self.expr(one), cast(other, DType.I32)))
        if op == "add":
            return self.added(left, right)
        if op == "sub" and not self.varies(right):
            return Call(mve.ADD_EACH, (self.expr(left), Const(0) - right))
        if op == "shr" and isinstance(right, Const):
            return Call(mve.shift_right(int(right.value)), (self.expr(left),))
        if op not in _LANEWISE:
            raise self.no("an operation", op)
        return Call(_LANEWISE[op], (self.expr(left), self.expr(right)))

    def added(self, left: Expr, right: Expr) -> Expr:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Binary) and one.op == "mul" and self.varies(one) and self.varies(other):
                for varying, factor in ((one.left, one.right), (one.right, one.left)):
                    if not self.varies(factor):
                        return Call(mve.PLUS_TIMES_EACH, (self.expr(other), self.expr(varying), factor))
        for one, other in ((left, right), (right, left)):
            if not self.varies(other):
                return Call(mve.ADD_EACH, (self.expr(one), other))
        return Call(mve.ADD, (self.expr(left), self.expr(right)))

    def select(self, node: Select) -> Expr:
        cond = node.cond
        if self.lanes != I32X4 or not isinstance(cond, Binary) or cond.op not in ("gt", "lt"):
            raise self.no("a selection", node.cond)
        a, b = (cond.left, cond.right) if cond.op == "gt" else (cond.right, cond.left)
        return Call(mve.WHERE_GREATER, tuple(map(self.expr, (a, b, node.then, node.orelse))))

    def call(self, node: Call) -> Expr:
        known = node.intrinsic
        args = list(node.args)
        if known in (fixed_point.HIGH_MUL, fixed_point.HIGH_MUL_SHORT):
            return Call(mve.HIGH_DOUBLED, tuple(map(self.expr, args)))
        if known in _SATURATED:
            return Call(_SATURATED[known], (self.expr(args[0]),))
        if known in (fixed_point.HIGH_ADD, fixed_point.HIGH_ADD_ROUNDED):
            high = mve.HIGH if known is fixed_point.HIGH_ADD else mve.HIGH_ROUNDED
            return Call(mve.ADD, (Call(high, (self.expr(args[0]), self.expr(args[1]))), self.expr(args[2])))
        if known in (fixed_point.REQUANTISE, fixed_point.RESCALE, fixed_point.RESCALE_UP):
            shift = args[2]
            if not isinstance(shift, Const):
                raise self.no("a shift that is not constant", node)
            high_part: Expr = Call(mve.HIGH_DOUBLED, (self.expr(args[0]), self.expr(args[1])))
            if known is not fixed_point.RESCALE_UP:  # ties away from zero: up for all but negative numbers
                high_part = Call(mve.LESS_IF_NEGATIVE, (high_part,))
            shifted = Call(mve.shift_rounded(int(shift.value)), (high_part,))
            if known is fixed_point.REQUANTISE:
                return shifted
            return shifted if args[3] == Const(0) else Call(mve.ADD, (shifted, self.expr(args[3])))
        raise self.no("an intrinsic", known.name)


_LANEWISE: Mapping[str, Intrinsic] = {"sub": mve.SUB, "mul": mve.TIMES, "shl": mve.SHIFT_LEFT, "div": mve.QUOTIENT}
_COMPARED: Mapping[tuple[str, Vec], Intrinsic] = {
    ("min", I32X4): mve.AT_MOST,
    ("max", I32X4): mve.AT_LEAST,
    ("min", I8X16): mve.AT_MOST_I8,
    ("max", I8X16): mve.AT_LEAST_I8,
}
_SATURATED: Mapping[Intrinsic, Intrinsic] = {
    fixed_point.SATURATE_I8: mve.saturate_shifted(0),
    **{fixed_point.saturate_shifted(n): mve.saturate_shifted(n) for n in range(1, 25)},
}
