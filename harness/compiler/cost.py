"""What a loop program will cost, from its loops alone: executed instructions and bytes of code.

An estimate that ranks schedules of one layer before anything is compiled; the profiler counts what is true, and a test
holds the two together. The rules are those of a compiler that does its work: an index that a pointer can walk costs
nothing, a product that is added costs one instruction where the core has a multiply-accumulate, and what does not
depend on a loop is computed in front of it. Values that do not fit the core's registers are loaded from the stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.board import Target
from harness.compiler.loops import (
    Alloc,
    Binary,
    Block,
    Call,
    Cast,
    Expr,
    For,
    If,
    Let,
    Load,
    Program,
    Select,
    Store,
    Var,
    expressions,
    walk,
    walk_expr,
)
from harness.compiler.simplify import Range, assume, interval, is_index
from harness.dtypes import DType, Vec

LOOP = 3  # per iteration: advance, compare, branch
BRANCH = 2
BYTES = 3.2  # of an instruction of Thumb-2 code, 2 or 4
PROLOGUE = 24  # bytes: saving registers, fetching addresses, restoring
BASES = 2  # registers that hold addresses rather than values, besides one per buffer


@dataclass(frozen=True)
class Cost:
    instructions: float  # executed by one run of the layer
    code_bytes: float  # flash of its function
    constant_bytes: int  # flash of its weights and tables


def cost(program: Program, target: Target) -> Cost:
    """Estimated for `target`'s core."""
    estimate = _Estimate(target)
    executed, static = estimate.block(program.body, {})
    return Cost(
        instructions=executed,
        code_bytes=PROLOGUE + BYTES * static,
        constant_bytes=sum(b.elements * b.element.bytes for b in program.of_space("const")),
    )


class _Estimate:
    def __init__(self, target: Target) -> None:
        self.registers = 8 if target.core == "cortex-m0" else 13
        self.fused = target.core != "cortex-m0"  # one instruction multiplies and adds

    def block(self, block: Block, ranges: Mapping[str, Range]) -> tuple[float, float]:
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
                if isinstance(s, Let) and s.value.dtype is DType.I32:
                    known[s.name] = interval(s.value, known)
            executed, static = executed + ran, static + size
        return executed, static

    def loop(self, loop: For, ranges: Mapping[str, Range]) -> tuple[float, float]:
        start, stop = interval(loop.start, ranges), interval(loop.stop, ranges)
        # Bounds that depend on an outer loop: half way between the fewest and the most iterations.
        spans = (max(0, stop[0] - start[1]), max(0, stop[1] - start[0]))
        trips = sum(-(-span // loop.step) for span in spans) / 2
        inside = {**ranges, loop.var: (start[0], max(start[0], stop[1] - 1))}
        executed, static = self.block(loop.body, inside)
        innermost = not any(isinstance(s, (For, If)) for s in loop.body)
        if innermost and not loop.kernel:  # a kernel was made to fit, and says in its own code what it loads again
            spilt = 2 * max(0, self.pressure(loop) - self.registers)
            executed, static = executed + spilt, static + spilt
        return trips * (executed + LOOP) + 1, static + LOOP + 1

    def branch(self, s: If, ranges: Mapping[str, Range]) -> tuple[float, float]:
        then = self.block(s.then, assume(s.cond, ranges))
        orelse = self.block(s.orelse, ranges)
        likely = _share(assume(s.cond, ranges), ranges)
        tests = BRANCH * sum(isinstance(n, Binary) and n.op != "and" for n in walk_expr(s.cond))
        return tests + likely * then[0] + (1 - likely) * orelse[0], tests + then[1] + orelse[1]

    def statement(self, s: object) -> float:
        if isinstance(s, Let):
            return self.expr(s.value)
        if not isinstance(s, Store):
            return 0.0
        value = self.expr(s.value)
        if s.buffer.space == "register":
            return value if value or isinstance(s.value, Var) else 1.0  # a constant or another register: a move
        return value + 1.0 + (1.0 if s.active is not None else 0.0)

    def expr(self, node: Expr) -> float:
        if isinstance(node, Load):
            return 0.0 if node.buffer.space == "register" else 1.0 + (1.0 if node.active is not None else 0.0)
        if isinstance(node, Call):
            return node.intrinsic.instructions + sum(map(self.expr, node.args))
        if isinstance(node, Cast):
            return self.expr(node.value)
        if isinstance(node, Select):
            return 2.0 + sum(map(self.expr, (node.cond, node.then, node.orelse)))
        if not isinstance(node, Binary) or is_index(node):
            return 0.0
        operands = self.expr(node.left) + self.expr(node.right)
        product = any(isinstance(side, Binary) and side.op == "mul" for side in (node.left, node.right))
        if node.op in ("add", "sub") and product and self.fused:
            return operands  # the product's own instruction adds
        return operands + (2.0 if node.op in ("min", "max") else 1.0)

    def pressure(self, loop: For) -> int:
        """Values that an innermost loop wants in registers at once."""
        nodes = [n for s in loop.body for e in expressions(s) for n in walk_expr(e)]
        held = {n.buffer for n in nodes if isinstance(n, Load) and n.buffer.space == "register" and _scalar(n.dtype)}
        memory = {n.buffer for n in nodes if isinstance(n, Load) and n.buffer.space != "register"}
        fresh = sum(isinstance(s, (Let, Alloc)) for s in walk(loop.body))
        return len(held) + len(memory) + min(fresh, 3) + BASES


def _scalar(dtype: DType | Vec) -> bool:
    return not isinstance(dtype, Vec) or dtype.bytes == 4


def _share(narrowed: Mapping[str, Range], ranges: Mapping[str, Range]) -> float:
    """Of the values that variables take, the part that a condition leaves."""
    part = 1.0
    for name, (low, high) in narrowed.items():
        if name in ranges:
            first, last = ranges[name]
            part *= max(0, high - low + 1) / max(1, last - first + 1)
    return part
