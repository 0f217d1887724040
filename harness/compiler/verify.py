"""What is legal in a loop program, checked at the entry and exit of every stage.

Structure is proved here: names, dtypes, scopes, ranks, indices whose interval is inside their dimension or can be
inside it. What an interval cannot decide (an index clipped by another loop's bounds) does not depend on data either, so
one run of the interpreter decides it for every input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.compiler.accesses import access_of
from harness.compiler.intrinsics.lanes import reach
from harness.compiler.loops import (
    ARITHMETIC,
    COMPARISON,
    REGISTERS,
    SPACES,
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
    Program,
    Select,
    Store,
    Var,
)
from harness.compiler.scratch import scratch_of
from harness.compiler.simplify import Range, Ranges, assume, interval, loop_range
from harness.dtypes import DType, Type, Vec
from harness.errors import CompilerBug

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass
class Scope:
    """What is known at one place of the program; every block adds to one of its own."""

    names: dict[str, Type]  # loop variables and scalars
    ranges: dict[str, Range]
    registers: set[Buffer]
    inside_parallel: bool = False
    reached: bool = True  # False inside a loop that never runs

    def inner(self, ranges: Ranges) -> Scope:
        """For a block inside, in which these ranges are known."""
        return Scope(dict(self.names), dict(ranges), set(self.registers), self.inside_parallel, self.reached)


def verify(program: Program, stage: str, features: frozenset[str] = frozenset()) -> Program:
    """Gives `program` back, or raises CompilerBug naming the stage, the rule and the node that breaks it."""
    _Verifier(program, stage, features).check()
    return program


class _Verifier:
    def __init__(self, program: Program, stage: str, features: frozenset[str]) -> None:
        self.program = program
        self.stage = stage
        self.features = features
        self.buffers = frozenset(program.buffers)

    def rule(self, holds: bool, text: str, node: object) -> None:
        if not holds:
            raise self.broken(text, node)

    def broken(self, text: str, node: object) -> CompilerBug:
        return CompilerBug(f"{text}: {node}", where=f"{self.program.name} after {self.stage}")

    def check(self) -> None:
        names = [b.name for b in (*self.program.buffers, *scratch_of(self.program))]
        self.rule(len(set(names)) == len(names), "two buffers of one name", names)
        self.rule(bool(_IDENTIFIER.match(self.program.name)), "not a C identifier", self.program.name)
        for buffer in self.program.buffers:
            self.buffer(buffer)
        self.block(self.program.body, Scope({}, {}, set()))

    def buffer(self, buffer: Buffer) -> None:
        self.rule(bool(_IDENTIFIER.match(buffer.name)), "not a C identifier", buffer.name)
        self.rule(buffer.space in SPACES, "no such memory space", buffer)
        self.rule(all(n > 0 for n in buffer.shape), "an empty dimension", buffer)
        self.rule((buffer.space == "const") == (buffer.data is not None), "constants, and only they, have data", buffer)
        if buffer.data is not None:
            self.rule(not isinstance(buffer.dtype, Vec), "vectors in memory", buffer.name)
            assert isinstance(buffer.dtype, DType)
            same = buffer.data.shape == buffer.shape and buffer.data.dtype == buffer.dtype.np
            self.rule(same, "data of another shape or dtype", buffer.name)

    def block(self, block: Block, scope: Scope) -> None:
        """Rules of a block, which has `scope` for itself."""
        for s in block:
            if isinstance(s, For):
                self.loop(s, scope)
            elif isinstance(s, If):
                self.expr(s.cond, scope)
                self.rule(s.cond.dtype is DType.BOOL, "a condition that is not a bool", s.cond)
                self.block(s.then, scope.inner(assume(s.cond, scope.ranges)))
                self.block(s.orelse, scope.inner(scope.ranges))
            elif isinstance(s, Alloc):
                self.buffer(s.buffer)
                plain = s.buffer.shape != () and isinstance(s.buffer.dtype, DType)
                self.rule(s.buffer.space != "scratch" or plain, "scratch memory that is no array of elements", s)
                self.rule(s.buffer.space in REGISTERS, "an Alloc of something else than a register", s)
                self.name(s.buffer.name, scope)
                scope.registers.add(s.buffer)
            elif isinstance(s, Let):
                self.expr(s.value, scope)
                self.name(s.name, scope)
                if s.value.dtype.is_integer:
                    scope.ranges[s.name] = interval(s.value, scope.ranges)
                scope.names[s.name] = s.value.dtype
            elif isinstance(s, Store):
                self.store(s, scope)

    def name(self, name: str, scope: Scope) -> None:
        self.rule(bool(_IDENTIFIER.match(name)), "not a C identifier", name)
        held = (*self.buffers, *scope.registers)
        self.rule(name not in scope.names and all(b.name != name for b in held), "a name that hides another", name)

    def loop(self, s: For, scope: Scope) -> None:
        self.name(s.var, scope)
        self.rule(s.step > 0, "a loop that does not advance", s.var)
        for bound in (s.start, s.stop):
            self.expr(bound, scope)
            self.rule(bound.dtype is DType.I32, "a loop bound that is not int32", bound)
        inner = not any(isinstance(inside, (For, If)) for inside in s.body)
        self.rule(inner or not s.kernel, "a kernel that is not an innermost loop", s.var)
        whole = isinstance(s.start, Const) and isinstance(s.stop, Const)
        self.rule(whole or not s.kernel, "a kernel without constant bounds", s.var)
        if s.kernel and isinstance(s.start, Const) and isinstance(s.stop, Const):
            trips = -(-(int(s.stop.value) - int(s.start.value)) // s.step)
            self.rule(trips > 0 and trips % s.kernel == 0, "a kernel that does not take its iterations whole", s.var)
        low, high = loop_range(s, scope.ranges)
        inside = scope.inner({**scope.ranges, s.var: (low, high)})
        inside.names[s.var] = DType.I32
        inside.inside_parallel |= s.parallel
        inside.reached &= low <= high
        self.block(s.body, inside)

    def store(self, s: Store, scope: Scope) -> None:
        self.rule(s.buffer.space in REGISTERS | {"output"}, "a store into read-only memory", s)
        known = s.buffer in (scope.registers if s.buffer.space in REGISTERS else self.buffers)
        self.rule(known, "a store into a buffer that is not in scope", s)
        if isinstance(s.value.dtype, Vec) and s.value.dtype != s.buffer.dtype:
            self.lanes(s, s.value.dtype, scope)
        else:
            self.rule(s.value.dtype == s.buffer.dtype and s.active is None, "a store of another dtype", s)
            self.rule(s.apart == 1, "lanes apart without lanes", s)
        self.index(s.buffer, s.index, scope)
        self.expr(s.value, scope)

    def lanes(self, node: Load | Store, lanes: Vec, scope: Scope) -> None:
        """A vector in memory: one that an instruction of the target moves, and that can fit into the last dimension."""
        buffer, index, active = node.buffer, node.index, node.active
        self.rule(bool(buffer.shape) and isinstance(buffer.dtype, DType), "a vector access of a scalar", buffer.name)
        how = access_of(node)
        self.rule(0 < node.apart <= reach(lanes), "lanes too far apart", node.apart)
        self.rule(how is not None and how.needs <= self.features, "no instruction of the target moves it", lanes)
        if active is not None:
            self.expr(active, scope)
            self.rule(active.dtype is DType.I32, "a count of lanes that is not int32", active)
        elif scope.reached:
            low, _ = interval(index[-1], scope.ranges)
            last = low + (lanes.lanes - 1) * node.apart
            if last >= buffer.shape[-1]:
                raise self.broken(f"a vector that never fits into {buffer.name}", index[-1])

    def index(self, buffer: Buffer, index: tuple[Expr, ...], scope: Scope) -> None:
        if len(index) != len(buffer.shape):
            raise self.broken(f"{len(index)} indices for {list(buffer.shape)}", buffer.name)
        for node, size in zip(index, buffer.shape, strict=True):
            self.rule(node.dtype is DType.I32, "an index that is not int32", node)
            self.expr(node, scope)
            low, high = interval(node, scope.ranges)
            if scope.reached and not (low < size and high >= 0):
                raise self.broken(f"an index that is never inside 0 … {size - 1} of {buffer.name}", node)

    def expr(self, node: Expr, scope: Scope) -> None:
        """Rules of `node` and of all that it is made of."""
        if isinstance(node, Var):
            self.rule(scope.names.get(node.name) == node.dtype, "a name that is not in scope", node)
        elif isinstance(node, Const):
            if node.dtype.is_integer and not node.dtype.min <= node.value <= node.dtype.max:
                raise self.broken(f"a constant outside {node.dtype.value}", node)
        elif isinstance(node, Load):
            self.load(node, scope)
        else:
            for part in node.parts:
                self.expr(part, scope)
            self.operation(node)

    def load(self, node: Load, scope: Scope) -> None:
        known = node.buffer in (scope.registers if node.buffer.space in REGISTERS else self.buffers)
        self.rule(known, "a load from a buffer that is not in scope", node)
        racing = node.buffer.space == "output" and scope.inside_parallel
        self.rule(not racing, "an output read inside a parallel loop", node)
        self.index(node.buffer, node.index, scope)
        if node.lanes is not None:
            self.lanes(node, node.lanes, scope)
        else:
            self.rule(node.active is None and node.apart == 1, "a count of lanes without lanes", node)

    def operation(self, node: Binary | Select | Call | Cast) -> None:
        if isinstance(node, Binary):
            self.rule(node.op in ARITHMETIC or node.op in COMPARISON, "no such operation", node.op)
            left = node.left.dtype
            self.rule(not isinstance(left, Vec), "arithmetic on vectors", node)
            self.rule(left is node.right.dtype, "operands of different dtypes", node)
        elif isinstance(node, Select):
            same = node.cond.dtype is DType.BOOL and node.then.dtype is node.orelse.dtype
            self.rule(same, "a selection between different dtypes", node)
        elif isinstance(node, Call):
            wanted = [dtype for _, dtype in node.intrinsic.params]
            if [a.dtype for a in node.args] != wanted:
                raise self.broken(f"arguments of {node.intrinsic.name}", node)
            if not node.intrinsic.needs <= self.features:
                raise self.broken(f"{node.intrinsic.name} needs other features", node)
        else:
            scalar = not isinstance(node.dtype, Vec) and not isinstance(node.value.dtype, Vec)
            self.rule(scalar and node.dtype is not DType.BOOL, "a cast to bool, or of a vector", node)
