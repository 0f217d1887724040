"""Gives repeated memory reads a name: after unrolling, what several lines load is loaded once.

acc_0 += (int32_t)x[k] * w[k];          const int32_t x_0 = x[k];
acc_1 += (int32_t)x[k] * w[64 + k];     acc_0 += x_0 * w[k];
                                        acc_1 += x_0 * w[64 + k];
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count

from harness.compiler.loops import (
    Alloc,
    Block,
    Expr,
    For,
    If,
    Let,
    Load,
    Note,
    Program,
    Stmt,
    Store,
    Var,
    children,
    expressions,
    rewrite_block,
    walk,
    walk_expr,
    with_children,
)


def share_loads(program: Program) -> Program:
    """Names every expression over read-only memory that a straight run of statements evaluates more than once."""
    body = _Sharing().block(program.body)
    return replace(program, body=_numbered(body))


_SHORT = {"input": "x", "weights": "w"}


class _Sharing:
    def __init__(self) -> None:
        self.names = count()

    def block(self, block: Block) -> Block:
        result: list[Stmt] = []
        run: list[Stmt] = []
        for s in block:
            if isinstance(s, (Store, Let, Alloc, Note)):
                run.append(s)
                continue
            result.extend(self.straight(run))
            run = []
            if isinstance(s, For):
                result.append(replace(s, body=self.block(s.body)))
            else:
                result.append(If(s.cond, self.block(s.then), self.block(s.orelse)))
        return (*result, *self.straight(run))

    def straight(self, run: list[Stmt]) -> list[Stmt]:
        while True:
            found = _most_useful(run)
            if found is None:
                return run
            let = Let(f"_{next(self.names)}", found)
            first = next(i for i, s in enumerate(run) if found in _nodes(s))
            run = [*run[:first], let, *(_replace(s, found, let.var) for s in run[first:])]


def _nodes(s: Stmt) -> list[Expr]:
    return [node for e in expressions(s) for node in walk_expr(e)]


def _pure(node: Expr) -> bool:
    """Reads memory, and only memory that nothing in the layer writes."""
    loads = [n for n in walk_expr(node) if isinstance(n, Load)]
    return bool(loads) and all(n.buffer.space in ("input", "const") for n in loads)


def _most_useful(run: list[Stmt]) -> Expr | None:
    """The largest repeated expression, the earliest of those."""
    counts: Counter[Expr] = Counter(node for s in run for node in _nodes(s) if _pure(node))
    repeated = [node for node, times in counts.items() if times > 1]
    return max(repeated, key=_size) if repeated else None


def _size(node: Expr) -> int:
    return 1 + sum(_size(child) for child in children(node))


def _replace(s: Stmt, old: Expr, new: Var) -> Stmt:
    def top_down(node: Expr) -> Expr:
        return new if node == old else with_children(node, tuple(top_down(child) for child in children(node)))

    if isinstance(s, Let):
        return Let(s.name, top_down(s.value))
    if isinstance(s, Store):
        return Store(s.buffer, tuple(top_down(i) for i in s.index), top_down(s.value))
    return s


def _numbered(block: Block) -> Block:
    """Names the scalars after what they hold, counted from 0 in the order a reader meets them."""
    taken: dict[str, int] = {}
    names: dict[str, str] = {}
    for s in walk(block):
        if isinstance(s, Let) and s.name.startswith("_"):
            buffer = next(n.buffer for n in walk_expr(s.value) if isinstance(n, Load))
            stem = "weights" if buffer.in_flash else buffer.name
            stem = _SHORT.get(stem, stem)
            taken[stem] = taken.get(stem, -1) + 1
            names[s.name] = f"{stem}_{taken[stem]}"

    def renamed(node: Expr) -> Expr:
        return Var(names[node.name], node.dtype) if isinstance(node, Var) and node.name in names else node

    def stmt(s: Stmt) -> Stmt:
        if isinstance(s, Let):
            return Let(names.get(s.name, s.name), s.value)
        if isinstance(s, For):
            return replace(s, body=tuple(map(stmt, s.body)))
        return If(s.cond, tuple(map(stmt, s.then)), tuple(map(stmt, s.orelse))) if isinstance(s, If) else s

    return tuple(map(stmt, rewrite_block(block, renamed)))
