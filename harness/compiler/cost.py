"""What a loop program will cost, from its loops alone: executed instructions, and bytes of flash and of scratch memory.

An estimate that ranks the ways to compute one layer before any of them is compiled; what is true the profiler counts,
and a test holds the two together. The rules are those of a compiler that does its work: an index that a pointer can
walk costs nothing, a product that is added is one instruction where the core multiplies and adds at once, and what does
not depend on a loop is computed in front of it. Values that do not fit the core's registers are loaded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.board import Target
from harness.compiler.loops import (
    COMPARISON,
    Alloc,
    Binary,
    Block,
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
    Stmt,
    Store,
    Var,
    expressions,
    walk,
    walk_expr,
)
from harness.compiler.lowering.contraction import Contraction, Depthwise
from harness.compiler.simplify import Range, Ranges, assume, interval
from harness.dtypes import DType, Vec

LOOP = 3  # instructions an iteration: advance, compare, branch
CALL = 14  # of calling a kernel: its arguments, saving registers, fetching the sums and putting them back
RELOADED = 4  # around an innermost loop that wants most registers: values put aside and fetched again
TEST = 2  # compare, branch
CONDITIONAL = 4  # most that gcc computes of both sides of a choice rather than branching to one
BYTES = 3.2  # of an instruction of Thumb-2 code, 2 or 4
ENTRY = 14  # instructions of a function: saving registers, fetching addresses, restoring
VECTORS = 1.6  # around vector instructions: gcc moves and spills vectors, and fetches what addresses them, that often
HOST = frozenset({"thumb2", "fpu"})  # what a desktop has as well, of what prices depend on
SIGN_EXTENDED = (DType.I8, DType.I16)  # a small core takes the offset of such a load from a register, set first
# Instructions of libgcc's functions where the core has none of its own, without "thumb2" and with it; counted.
SOFT_FLOAT: Mapping[str, tuple[float, float]] = {"add": (70, 50), "sub": (75, 58), "mul": (118, 32), "div": (375, 148)}
SOFT_COMPARISON = (35.0, 33.0)
DIVISION = 65.0  # of integers
BASES = 2  # registers that hold addresses rather than values, besides one for each buffer


@dataclass(frozen=True)
class Cost:
    """Estimated for one run of a layer, and for its code."""

    instructions: float
    code_bytes: float
    constant_bytes: int  # weights and tables
    scratch_bytes: int  # arrays it works in, beside its inputs and outputs

    @property
    def flash_bytes(self) -> float:
        return self.code_bytes + self.constant_bytes


def cost(program: Program, target: Target) -> Cost:
    """Of `program` on `target`'s core. A program that is not simplified yet costs the same as one that is."""
    statements = walk(program.body)
    executed, static = _Estimate(statements, target).block(program.body, {})
    arrays = {s.buffer for s in statements if isinstance(s, Alloc) and s.buffer.shape}
    vectors = "mve" in target.instructions and _in_vectors(program)
    return Cost(
        instructions=executed * (VECTORS if vectors else 1.0) + ENTRY,
        code_bytes=BYTES * (static + ENTRY),
        constant_bytes=sum(b.elements * b.element.bytes for b in program.of_space("const")),
        scratch_bytes=sum(b.elements * b.dtype.bytes for b in arrays),
    )


class _Estimate:
    def __init__(self, statements: Sequence[Stmt], target: Target) -> None:
        self.data: set[str] = set()  # names of values that are not indices
        for s in statements:
            if isinstance(s, Let) and not self.free(s.value):
                self.data.add(s.name)
        self.has = HOST if target.core == "host" else target.instructions
        self.small = "thumb2" not in self.has  # eight registers, and no instruction that multiplies and adds
        self.registers = 8 if self.small else 13

    def block(self, block: Block, ranges: Ranges) -> tuple[float, float]:
        """Instructions executed by one pass over `block`, and instructions in its code."""
        executed = static = 0.0
        known = dict(ranges)
        for s in block:
            if isinstance(s, For):
                ran, size = self.loop(s, known)
            elif isinstance(s, If):
                ran, size = self.branch(s, known)
            else:
                ran = size = self.statement(s)
                if isinstance(s, Let) and s.name not in self.data:
                    known[s.name] = interval(s.value, known)
            executed, static = executed + ran, static + size
        return executed, static

    def loop(self, loop: For, ranges: Ranges) -> tuple[float, float]:
        start, stop = interval(loop.start, ranges), interval(loop.stop, ranges)
        # Bounds that depend on an outer loop are those of a border: most windows lie inside.
        fewest, most = (-(-max(0, n) // loop.step) for n in (stop[0] - start[1], stop[1] - start[0]))
        trips = most - 0.25 * (most - fewest)
        if loop.kernel:
            body = self.kernel(loop)
            around = LOOP - 1.0 if trips > loop.kernel else 0.0  # it walks by what its loads advance
            return trips * body + trips / loop.kernel * around + CALL, loop.kernel * body + around + CALL
        inside = {**ranges, loop.var: (start[0], max(start[0], stop[1] - 1))}
        executed, static = self.block(loop.body, inside)
        if trips <= 1:
            return trips * executed, static
        around = 1.0
        if not any(isinstance(s, For) for s in walk(loop.body)):
            pressure = self.pressure(loop)
            spilt = 2 * max(0, pressure - self.registers)
            executed, static = executed + spilt, static + spilt
            around += 3 * RELOADED * (pressure > self.registers - RELOADED)
        return trips * (executed + LOOP) + around, static + LOOP + around

    def kernel(self, loop: For) -> float:
        """Instructions of one iteration: neighbouring words come by one load."""
        paired = sum(_neighbours(a, b) for a, b in _pairs(loop.body))
        return sum(map(self.statement, loop.body)) - paired - _accumulated(loop.body)

    def branch(self, s: If, ranges: Ranges) -> tuple[float, float]:
        inside = assume(s.cond, ranges)
        then, orelse = self.block(s.then, inside), self.block(s.orelse, ranges)
        likely = _share(inside, ranges)
        tests = TEST * sum(isinstance(n, Binary) and n.op != "and" for n in walk_expr(s.cond))
        return tests + likely * then[0] + (1 - likely) * orelse[0], tests + then[1] + orelse[1]

    def statement(self, s: Stmt) -> float:
        if isinstance(s, Let):
            return self.expr(s.value)
        if not isinstance(s, Store):
            return 0.0
        value = self.expr(s.value)
        if s.buffer.space == "register" and not s.buffer.shape:
            return value if value or isinstance(s.value, Var) else 1.0  # a constant or another register: a move
        return value + 1.0 + (s.active is not None)

    def expr(self, node: Expr) -> float:
        kind = type(node)
        if kind is Const or kind is Var:
            return 0.0
        if isinstance(node, Load):
            if node.buffer.space == "register" and not node.buffer.shape:
                return 0.0
            address = sum(map(self.position, node.index))
            return address + 1.0 + (node.active is not None) + (self.small and node.dtype in SIGN_EXTENDED)
        if isinstance(node, Call):
            return node.intrinsic.instructions_on(self.has) + sum(map(self.expr, node.args))
        if isinstance(node, Binary):
            return 0.0 if self.index(node) else self.arithmetic(node)
        if isinstance(node, Select):
            sides = self.expr(node.then), self.expr(node.orelse)
            return 2.0 + self.expr(node.cond) + (sum(sides) if sum(sides) <= CONDITIONAL else max(sides))
        assert isinstance(node, Cast)
        return self.expr(node.value)

    def arithmetic(self, node: Binary) -> float:
        operands = self.expr(node.left) + self.expr(node.right)
        if node.left.dtype is DType.F32 and "fpu" not in self.has:
            return operands + SOFT_FLOAT.get(node.op, SOFT_COMPARISON)[not self.small]
        if node.op == "div" and self.small:
            return operands + DIVISION
        if node.op in ("add", "sub") and not self.small and (_multiplies(node.left) or _multiplies(node.right)):
            return operands  # the product's own instruction adds
        return operands + (2.0 if node.op in ("min", "max") else 1.0)

    def position(self, node: Expr) -> float:
        """Of an index that values in memory are part of; what is added to it is part of the buffer's address."""
        constant = isinstance(node, Binary) and node.op in ("add", "sub") and isinstance(node.right, Const)
        return self.expr(node.left if constant and isinstance(node, Binary) else node)

    def free(self, node: Expr) -> bool:
        """Whether it is an index, or just a number."""
        return isinstance(node, Const) or self.index(node)

    def index(self, node: Expr) -> bool:
        """Whether it is arithmetic on loop variables alone."""
        if isinstance(node, Binary):
            return node.op not in COMPARISON and self.index(node.left) and self.index(node.right)
        if isinstance(node, Var):
            return node.dtype is DType.I32 and node.name not in self.data
        return isinstance(node, Const) and node.dtype is DType.I32

    def pressure(self, loop: For) -> int:
        """Values that an innermost loop wants in registers at once."""
        loads = [n for s in loop.body for e in expressions(s) for n in walk_expr(e) if isinstance(n, Load)]
        held = {n.buffer for n in loads if n.buffer.space == "register" and _in_core(n.dtype)}
        memory = {n.buffer for n in loads if n.buffer.space != "register"}
        fresh = sum(isinstance(s, (Let, Alloc)) for s in walk(loop.body))
        return len(held) + len(memory) + min(fresh, 3) + BASES


def _multiplies(node: Expr) -> bool:
    return isinstance(node, Binary) and node.op == "mul"


def _in_vectors(program: Program) -> bool:
    """Whether it multiplies windows in vectors; loops that only go along them are left alone by gcc."""
    if not isinstance(program.origin, (Contraction, Depthwise)):
        return False
    calls = (n for s in walk(program.body) for e in expressions(s) for n in walk_expr(e) if isinstance(n, Call))
    return any(not _in_core(n.dtype) or any(not _in_core(a.dtype) for a in n.args) for n in calls)


def _in_core(dtype: DType | Vec) -> bool:
    return not isinstance(dtype, Vec) or dtype.bytes == 4


def _accumulated(block: Block) -> float:
    """What a kernel does not pay: its sums stay in registers, so that neither loading nor storing one costs."""
    found = 0.0
    for s in block:
        if isinstance(s, Store) and s.buffer.space == "register":
            found += 1.0 + sum(isinstance(n, Load) and n.buffer is s.buffer for n in s.value.parts)
    return found


def _pairs(block: Block) -> Iterator[tuple[Load, Load]]:
    """Loads that follow one another, each counted in one pair."""
    before: Load | None = None
    for s in block:
        load = s.value if isinstance(s, Let) and isinstance(s.value, Load) else None
        if before is not None and load is not None:
            yield before, load
            before = None
        else:
            before = load


def _neighbours(a: Load, b: Load) -> bool:
    """Whether two aligned words lie side by side."""
    if a.buffer is not b.buffer or a.buffer.align < 4 or a.lanes is None or a.lanes.bytes != 4:
        return False
    return _words(b) - _words(a) == 1 if _constants(a) and _constants(b) else False


def _constants(node: Load) -> bool:
    return all(isinstance(i, (Const, Var)) for i in node.index)


def _words(node: Load) -> float:
    """Where the element lies, in words, variables taken as 0."""
    flat = 0
    for part, size in zip(node.index, node.buffer.shape, strict=True):
        flat = flat * size + (int(part.value) if isinstance(part, Const) else 0)
    return flat * node.buffer.element.bytes / 4


def _share(narrowed: Mapping[str, Range], ranges: Ranges) -> float:
    """Of the values that variables take, the part that a condition leaves."""
    part = 1.0
    for name, (low, high) in narrowed.items():
        if name in ranges:
            first, last = ranges[name]
            part *= max(0, high - low + 1) / max(1, last - first + 1)
    return part
