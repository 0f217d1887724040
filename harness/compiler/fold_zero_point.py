"""Takes the input's zero point out of the inner loop and into the bias.

    acc = bias[oc]                              acc = bias_folded[oc]
    for k: acc += (x[k] - zp) * w[oc, k]        for k: acc += x[k] * w[oc, k]

with bias_folded[oc] = bias[oc] - zp * sum over k of w[oc, k]. Right only where every tap is inside the input, which
shows as loops with constant bounds, and where the same taps are for every output of a channel: of an input one element
wide each output may have another one. The new table is what the interpreter makes of the loop for x = 0.

Nothing leaves int32 that did not before: what acc holds after some of the taps is what the loop on the left ends with
for an input whose other elements are 0, and a legal loop stays inside int32 for every input.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.compiler.interpret import run
from harness.compiler.loops import (
    Alloc,
    Binary,
    Block,
    Buffer,
    Cast,
    Const,
    Expr,
    For,
    If,
    Load,
    Program,
    Stmt,
    Store,
    Var,
    expressions,
    rewrite_block,
    walk,
    walk_expr,
)
from harness.dtypes import DType

TABLE = "bias_folded"


def fold_zero_point(program: Program) -> Program:
    """Folds wherever the loops around an accumulator have constant bounds; elsewhere nothing changes."""
    folding = _Folding(program)
    body = folding.block(program.body, {})
    extra = () if folding.table is None else (folding.table,)
    return replace(program, body=body, buffers=(*program.buffers, *extra))


class _Folding:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.table: Buffer | None = None
        self.made_from: tuple[Load, For] | None = None  # the bias and the loops that are in `table`

    def block(self, block: Block, loops: dict[str, For]) -> Block:
        result: list[Stmt] = []
        rest = list(block)
        while rest:
            s = rest.pop(0)
            if isinstance(s, For):
                result.append(replace(s, body=self.block(s.body, {**loops, s.var: s})))
                continue
            if isinstance(s, If):
                result.append(If(s.cond, self.block(s.then, loops), self.block(s.orelse, loops)))
                continue
            folded = self.fold(s, rest[0], loops) if rest else None
            if folded is not None:
                rest.pop(0)
            result.extend(folded or (s,))
        return tuple(result)

    def fold(self, start: Stmt, sums: Stmt, loops: dict[str, For]) -> Block | None:
        """The start of an accumulator and the loops that add to it without the zero point, or None."""
        if not isinstance(start, Store) or not isinstance(sums, For) or start.buffer.dtype is not DType.I32:
            return None
        bias = start.value
        if not isinstance(bias, Load) or bias.buffer.space != "const":
            return None
        nodes = list(walk((sums,)))
        if any(isinstance(s, If) or (isinstance(s, For) and not _constant(s)) for s in nodes):
            return None
        shifted = [n for s in nodes for e in expressions(s) for n in walk_expr(e) if _is_shifted_input(n)]
        free = _free_variables(bias, sums)
        if not shifted or not all(name in loops and _constant(loops[name]) for name in free):
            return None
        if not _variables(bias) >= set(free):
            return None
        table = self.folded_bias(start, bias, sums, [loops[name] for name in free])
        if table is None:
            return None  # one table a layer
        (plain,) = rewrite_block((sums,), lambda n: _input_of(n) if _is_shifted_input(n) else n)
        return (Store(start.buffer, start.index, Load(table, bias.index)), plain)

    def folded_bias(self, start: Store, bias: Load, sums: For, around: list[For]) -> Buffer | None:
        if self.table is not None:
            return self.table if (bias, sums) == self.made_from else None
        result = replace(bias.buffer, name=TABLE, space="output", data=None)
        at_zero = rewrite_block((sums,), lambda n: _at_zero(n) if _is_shifted_input(n) else n)
        data = self.table_of(result, start, bias, at_zero, around)
        self.made_from = (bias, sums)
        self.table = Buffer(TABLE, bias.buffer.dtype, bias.buffer.shape, "const", data)
        return self.table

    def table_of(self, result: Buffer, start: Store, bias: Load, sums: Block, around: list[For]) -> np.ndarray:
        """What the accumulator ends as, for every index of the bias."""
        end = Store(result, bias.index, Load(start.buffer, ()))
        body: Block = (Alloc(start.buffer), start, *sums, end)
        for loop in around:
            body = (replace(loop, body=body, parallel=True),)
        constants = tuple(b for b in self.program.buffers if b.space == "const")
        return run(Program(f"{self.program.name}, folding", (result, *constants), body), {})[result.name]


def _constant(loop: For) -> bool:
    return isinstance(loop.start, Const) and isinstance(loop.stop, Const)


def _is_shifted_input(node: Expr) -> bool:
    """x - zero point, x being an element of an input widened to int32."""
    return (
        isinstance(node, Binary)
        and node.op in ("add", "sub")
        and isinstance(node.right, Const)
        and isinstance(node.left, Cast)
        and isinstance(node.left.value, Load)
        and node.left.value.buffer.space == "input"
    )


def _input_of(node: Expr) -> Expr:
    assert isinstance(node, Binary)
    return node.left


def _at_zero(node: Expr) -> Expr:
    assert isinstance(node, Binary)
    assert isinstance(node.right, Const)
    return Const(-int(node.right.value) if node.op == "sub" else int(node.right.value))


def _variables(load: Load) -> set[str]:
    return {n.name for i in load.index for n in walk_expr(i) if isinstance(n, Var)}


def _free_variables(bias: Load, sums: For) -> list[str]:
    """Variables from outside that the bias and the constants in the sum are indexed by."""
    own = {s.var for s in walk((sums,)) if isinstance(s, For)}
    nodes = [n for s in walk((sums,)) for e in expressions(s) for n in walk_expr(e)]
    tables = [bias, *(n for n in nodes if isinstance(n, Load) and n.buffer.space == "const")]
    names = {n.name: None for table in tables for i in table.index for n in walk_expr(i) if isinstance(n, Var)}
    return [name for name in names if name not in own]
