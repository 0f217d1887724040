"""The second IR: *how* a layer is computed. Loops, buffers, scalars; everything has a constant shape.

    Program = name, buffers: Buffer*, body: Stmt*
    Buffer  = name, dtype, shape, space: input | output | const | register | scratch (memory it is given), data?, align
    Stmt    = For(var, start, stop, step, body, parallel, kernel)   for (var = start; var < stop; var += step)
            | If(cond, then, orelse)
            | Alloc(buffer)                                 a register, or an array, lives from here to block end
            | Let(name, value)                              a scalar that never changes
            | Store(buffer, index*, value, active?, apart)
            | Note(text)                                    a comment in the C
    Expr    = Const(value, dtype) | Var(name, dtype) | Load(buffer, index*, lanes?, active?, apart)
            | Binary(op, left, right) | Cast(value, dtype) | Select(cond, then, orelse) | Call(intrinsic, args*)

A value has a dtype, or is a `Vec`: some lanes of one. Vectors come from `Load(…, lanes)`, which reads elements along
the last dimension, `apart` from each other (1: neighbours) and widened to the lanes' dtype, are changed by intrinsics
alone (arithmetic is for scalars), and go back by a `Store` of a vector. `active` counts the lanes that take part, from
the first: the others read 0 and are not written. `kernel` > 0 marks an innermost loop to be printed as one block of
assembly that takes so many iterations at a time.

Both sides of a `Binary` have one dtype, comparisons give BOOL, and an index is I32. Signed overflow, an index outside a
dimension and a shift outside 0 … width-1 are illegal: the verifier proves what it can, the interpreter checks every
value. `div` and `rem` truncate as C does; `shr` on a negative value rounds down, as every compiler this project
supports does.

`parallel` is a claim: iterations may run in any order, or all at once. It is what makes blocking and interchange
legal, it lets the interpreter run whole loops as numpy arrays, and the interpreter checks it: two iterations that write
different values to one element are refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from harness.compiler.intrinsics.base import Intrinsic
from harness.dtypes import DType, Type, Vec

ARITHMETIC = frozenset({"add", "sub", "mul", "div", "rem", "shl", "shr", "and", "or", "min", "max"})
COMPARISON = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
REGISTERS = frozenset({"register", "scratch"})  # what an Alloc brings into being, with no value in it
SPACES = REGISTERS | {"input", "output", "const"}


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory with a name. Two buffers are the same only if they are the same object."""

    name: str
    dtype: Type  # a register may hold a vector
    shape: tuple[int, ...]
    space: str
    data: np.ndarray | None = None  # a const's contents: `shape`, `dtype`
    in_flash: bool = False  # a const big enough to live in weights.c; otherwise a table beside the function
    align: int = 1  # bytes that the first element's address must be a multiple of, beyond what its dtype asks for

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def element(self) -> DType:
        """The dtype of what lies in memory, where there are no vectors."""
        assert isinstance(self.dtype, DType)
        return self.dtype


class _Operators:
    """Python's operators build expressions; an int beside an expression takes its dtype."""

    dtype: Type
    parts: tuple[Expr, ...] = ()  # the expressions it is made of

    def __add__(self, other: Operand) -> Binary:
        return binary("add", self, other)

    def __radd__(self, other: Operand) -> Binary:
        return binary("add", other, self)

    def __sub__(self, other: Operand) -> Binary:
        return binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Binary:
        return binary("sub", other, self)

    def __mul__(self, other: Operand) -> Binary:
        return binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Binary:
        return binary("mul", other, self)

    def __lt__(self, other: Operand) -> Binary:
        return binary("lt", self, other)

    def __le__(self, other: Operand) -> Binary:
        return binary("le", self, other)

    def __gt__(self, other: Operand) -> Binary:
        return binary("gt", self, other)

    def __ge__(self, other: Operand) -> Binary:
        return binary("ge", self, other)

    def __rshift__(self, other: Operand) -> Binary:
        return binary("shr", self, other)

    def __lshift__(self, other: Operand) -> Binary:
        return binary("shl", self, other)

    def __and__(self, other: Operand) -> Binary:
        return binary("and", self, other)


@dataclass(frozen=True)
class Const(_Operators):
    value: int | float
    dtype: DType = DType.I32


@dataclass(frozen=True)
class Var(_Operators):
    name: str
    dtype: Type = DType.I32


@dataclass(frozen=True)
class Load(_Operators):
    buffer: Buffer
    index: tuple[Expr, ...]
    lanes: Vec | None = None
    active: Expr | None = None
    apart: int = 1  # elements
    parts = property(lambda self: self.index if self.active is None else (*self.index, self.active))

    @property
    def dtype(self) -> Type:  # type: ignore[override]
        return self.buffer.dtype if self.lanes is None else self.lanes


@dataclass(frozen=True)
class Binary(_Operators):
    op: str
    left: Expr
    right: Expr
    parts = property(lambda self: (self.left, self.right))

    @property
    def dtype(self) -> Type:  # type: ignore[override]
        return DType.BOOL if self.op in COMPARISON else self.left.dtype


@dataclass(frozen=True)
class Cast(_Operators):
    value: Expr
    dtype: DType
    parts = property(lambda self: (self.value,))


@dataclass(frozen=True)
class Select(_Operators):
    cond: Expr
    then: Expr
    orelse: Expr
    parts = property(lambda self: (self.cond, self.then, self.orelse))

    @property
    def dtype(self) -> Type:  # type: ignore[override]
        return self.then.dtype


@dataclass(frozen=True)
class Call(_Operators):
    intrinsic: Intrinsic
    args: tuple[Expr, ...]
    parts = property(lambda self: self.args)

    @property
    def dtype(self) -> Type:  # type: ignore[override]
        return self.intrinsic.result


Expr = Const | Var | Load | Binary | Cast | Select | Call
Operand = Expr | int | float | _Operators


@dataclass(frozen=True)
class For:
    var: str
    start: Expr
    stop: Expr
    body: tuple[Stmt, ...]
    step: int = 1
    parallel: bool = False
    kernel: int = 0


@dataclass(frozen=True)
class If:
    cond: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()


@dataclass(frozen=True)
class Alloc:
    buffer: Buffer


@dataclass(frozen=True)
class Let:
    name: str
    value: Expr

    @property
    def var(self) -> Var:
        return Var(self.name, self.value.dtype)


@dataclass(frozen=True)
class Store:
    buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr
    active: Expr | None = None
    apart: int = 1  # elements


@dataclass(frozen=True)
class Note:
    text: str


Stmt = For | If | Alloc | Let | Store | Note
Block = tuple[Stmt, ...]


@dataclass(frozen=True)
class Program:
    """One layer. `buffers` are the function's parameters (inputs, then outputs) and the constants it reads.

    `origin` is what a lowering tells the schedules about the operator it comes from, so that they need not find it out
    from the loops: for what multiplies and adds, an `lowering.contraction.Contraction`.
    """

    name: str
    buffers: tuple[Buffer, ...]
    body: Block
    origin: object | None = None

    def of_space(self, space: str) -> tuple[Buffer, ...]:
        return tuple([buffer for buffer in self.buffers if buffer.space == space])


# ---- building -------------------------------------------------------------------------------------------------------


def expr(value: Operand, dtype: Type = DType.I32) -> Expr:
    """`value` as an expression; a Python number becomes a constant of `dtype`."""
    if isinstance(value, (Const, Var, Load, Binary, Cast, Select, Call)):
        return value
    if isinstance(value, (int, float, np.integer, np.floating)):
        if isinstance(dtype, Vec):
            raise TypeError(f"a number where {dtype.value} belongs")
        return Const(value if isinstance(value, (int, float)) else value.item(), dtype)
    raise TypeError(f"not an expression: {value!r}")


def binary(op: str, left: Operand, right: Operand) -> Binary:
    hint = left.dtype if isinstance(left, _Operators) else right.dtype if isinstance(right, _Operators) else DType.I32
    a, b = expr(left, hint), expr(right, hint)
    if a.dtype is not b.dtype:
        raise TypeError(f"{op}: {a.dtype.value} beside {b.dtype.value}")
    return Binary(op, a, b)


def minimum(left: Operand, right: Operand) -> Expr:
    return binary("min", left, right)


def maximum(left: Operand, right: Operand) -> Expr:
    return binary("max", left, right)


def cast(value: Expr, dtype: DType) -> Expr:
    return value if value.dtype is dtype else Cast(value, dtype)


def load(
    buffer: Buffer, *index: Operand, lanes: Vec | None = None, active: Operand | None = None, apart: int = 1
) -> Load:
    return Load(buffer, tuple(expr(i) for i in index), lanes, None if active is None else expr(active), apart)


def store(buffer: Buffer, *index: Operand, value: Operand) -> Store:
    return Store(buffer, tuple(expr(i) for i in index), expr(value, buffer.dtype))


def call(intrinsic: Intrinsic, *args: Operand) -> Call:
    return Call(intrinsic, tuple(expr(a, dtype) for a, (_, dtype) in zip(args, intrinsic.params, strict=True)))


def accumulate(register: Buffer, term: Operand) -> Store:
    """register += term, for a scalar register."""
    return Store(register, (), binary("add", load(register), term))


# ---- walking --------------------------------------------------------------------------------------------------------


def with_parts(node: Expr, new: tuple[Expr, ...]) -> Expr:
    if all(map(operator.is_, new, node.parts)):
        return node
    if isinstance(node, Load):
        return replace(node, index=new[: len(node.index)], active=None if node.active is None else new[-1])
    if isinstance(node, Binary):
        return Binary(node.op, *new)
    if isinstance(node, Cast):
        return Cast(new[0], node.dtype)
    if isinstance(node, Select):
        return Select(*new)
    assert isinstance(node, Call)
    return Call(node.intrinsic, new)


def rewrite_expr(node: Expr, rule: Callable[[Expr], Expr]) -> Expr:
    """Rebuilds `node` from the leaves up, `rule` applied to every node once its operands are done."""
    if isinstance(node, (Const, Var)):
        return rule(node)
    if isinstance(node, Binary):  # most of all nodes, so without detours
        left, right = rewrite_expr(node.left, rule), rewrite_expr(node.right, rule)
        return rule(node if left is node.left and right is node.right else Binary(node.op, left, right))
    return rule(with_parts(node, tuple([rewrite_expr(part, rule) for part in node.parts])))


def rewrite_block(block: Block, rule: Callable[[Expr], Expr]) -> Block:
    """Applies `rewrite_expr` to every expression of a block."""

    def one(node: Expr) -> Expr:
        return rewrite_expr(node, rule)

    def stmt(s: Stmt) -> Stmt:
        if isinstance(s, For):
            return replace(s, start=one(s.start), stop=one(s.stop), body=rewrite_block(s.body, rule))
        if isinstance(s, If):
            return If(one(s.cond), rewrite_block(s.then, rule), rewrite_block(s.orelse, rule))
        if isinstance(s, Let):
            return Let(s.name, one(s.value))
        if isinstance(s, Store):
            active = None if s.active is None else one(s.active)
            return replace(s, index=tuple(one(i) for i in s.index), value=one(s.value), active=active)
        return s

    return tuple(stmt(s) for s in block)


def walk_expr(node: Expr) -> list[Expr]:
    """Every node, before what it is made of."""
    found: list[Expr] = []
    waiting = [node]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting += node.parts[::-1]
    return found


def walk(block: Block) -> list[Stmt]:
    """Every statement of a block, outer before inner."""
    found: list[Stmt] = []
    for s in block:
        found.append(s)
        if isinstance(s, For):
            found += walk(s.body)
        elif isinstance(s, If):
            found += walk(s.then)
            found += walk(s.orelse)
    return found


def expressions(s: Stmt) -> tuple[Expr, ...]:
    """The expressions that belong to `s` itself, not to statements inside it."""
    if isinstance(s, For):
        return (s.start, s.stop)
    if isinstance(s, If):
        return (s.cond,)
    if isinstance(s, Let):
        return (s.value,)
    if isinstance(s, Store):
        return (*s.index, s.value) if s.active is None else (*s.index, s.value, s.active)
    return ()


def substitute(block: Block, values: dict[str, Expr]) -> Block:
    """Replaces variables by expressions."""
    return rewrite_block(block, lambda node: values.get(node.name, node) if isinstance(node, Var) else node)
