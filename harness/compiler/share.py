"""Gives repeated memory reads a name: after unrolling, what several lines load is loaded once.

acc_0 += (int32_t)x[k] * w[k];          const int32_t x_0 = x[k];
acc_1 += (int32_t)x[k] * w[64 + k];     acc_0 += x_0 * w[k];
                                        acc_1 += x_0 * w[64 + k];
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
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
    expressions,
    rewrite_block,
    walk,
    walk_expr,
    with_parts,
)


def share_loads(program: Program) -> Program:
    """Names every expression over read-only memory that a straight run of statements evaluates more than once."""
    body = _Sharing().block(program.body)
    return replace(program, body=_numbered(body))


_SHORT = {"input": "x", "weights": "w"}


class _Sharing:
    def __init__(self) -> None:
        self.names = count()
        self.numbers: dict[Expr, int] = {}  # equal expressions have one number: hashing them again and again is slow

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
        """Names the largest repeated expression, the earliest of those, until none is repeated."""
        run = list(run)
        found = [self.pure(s) for s in run]
        times = Counter(one.number for nodes in found for one in nodes)
        while repeated := [one for nodes in found for one in nodes if times[one.number] > 1]:
            best = max(repeated, key=lambda one: one.size)
            let = Let(f"_{next(self.names)}", best.node)
            users = [i for i, nodes in enumerate(found) if any(one.number == best.number for one in nodes)]
            for i in users:
                times.subtract(one.number for one in found[i])
                run[i] = _replace(run[i], best.node, let.var)
                found[i] = self.pure(run[i])
                times.update(one.number for one in found[i])
            run.insert(users[0], let)
            found.insert(users[0], self.pure(let))
            times.update(one.number for one in found[users[0]])
        return run

    def pure(self, s: Stmt) -> list[_Pure]:
        """The expressions in `s` that read memory, and only memory that nothing in the layer writes; outer first."""
        found: list[_Pure] = []

        def visit(node: Expr) -> tuple[int, bool, bool]:
            """Size of `node`, whether it reads memory, and whether none of that is ever written."""
            size, reads, constant = 1, isinstance(node, Load), True
            if isinstance(node, Load):
                constant = node.buffer.space in ("input", "const")
            place = len(found)
            for child in node.parts:
                part = visit(child)
                size, reads, constant = size + part[0], reads or part[1], constant and part[2]
            if reads and constant:
                found.insert(place, _Pure(node, self.numbers.setdefault(node, len(self.numbers)), size))
            return size, reads, constant

        for node in expressions(s):
            visit(node)
        return found


@dataclass(frozen=True)
class _Pure:
    node: Expr
    number: int
    size: int  # in nodes


def _replace(s: Stmt, old: Expr, new: Var) -> Stmt:
    def top_down(node: Expr) -> Expr:
        return new if node == old else with_parts(node, tuple(top_down(child) for child in node.parts))

    if isinstance(s, Let):
        return Let(s.name, top_down(s.value))
    if isinstance(s, Store):
        active = None if s.active is None else top_down(s.active)
        return replace(s, index=tuple(top_down(i) for i in s.index), value=top_down(s.value), active=active)
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
