"""Loop transformations. Each takes a block and gives one that computes the same values, or raises CompilerBug.

All of them find their loop by the name of its variable, in every place it occurs, so that a transformation still finds
its loops after another one has copied them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from harness.compiler.loops import (
    Alloc,
    Binary,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    rewrite_block,
    substitute,
    walk,
)
from harness.compiler.simplify import simplify_block
from harness.errors import CompilerBug


def at_loops(block: Block, var: str, change: Callable[[For], Block]) -> Block:
    """Replaces every loop over `var` by what `change` makes of it."""
    result: list[Stmt] = []
    for s in block:
        if isinstance(s, For) and s.var == var:
            result.extend(change(s))
        elif isinstance(s, For):
            result.append(replace(s, body=at_loops(s.body, var, change)))
        elif isinstance(s, If):
            result.append(If(s.cond, at_loops(s.then, var, change), at_loops(s.orelse, var, change)))
        else:
            result.append(s)
    return tuple(result)


def copy(block: Block, suffix: str, values: Mapping[str, Expr]) -> Block:
    """A copy of `block` with variables replaced and registers and scalars of its own, named after `suffix`."""
    registers: dict[Buffer, Buffer] = {}
    names: dict[str, str] = {}
    for s in walk(block):
        if isinstance(s, Alloc):
            registers[s.buffer] = replace(s.buffer, name=s.buffer.name + suffix)
        elif isinstance(s, Let):
            names[s.name] = s.name + suffix

    def expression(node: Expr) -> Expr:
        if isinstance(node, Var):
            if node.name in values:
                return values[node.name]
            return Var(names[node.name], node.dtype) if node.name in names else node
        if isinstance(node, Load) and node.buffer in registers:
            return replace(node, buffer=registers[node.buffer])
        return node

    def statement(s: Stmt) -> Stmt:
        if isinstance(s, Alloc):
            return Alloc(registers[s.buffer])
        if isinstance(s, Let):
            return Let(names[s.name], s.value)
        if isinstance(s, Store):
            return replace(s, buffer=registers.get(s.buffer, s.buffer))
        if isinstance(s, For):
            return replace(s, body=tuple(statement(inner) for inner in s.body))
        if isinstance(s, If):
            return If(s.cond, tuple(map(statement, s.then)), tuple(map(statement, s.orelse)))
        return s

    return tuple(statement(s) for s in rewrite_block(block, expression))


def _constant_bounds(loop: For) -> tuple[int, int]:
    if not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
        raise CompilerBug(f"loop {loop.var} has no constant bounds, so it cannot be unrolled")
    return int(loop.start.value), int(loop.stop.value)


def tile(block: Block, var: str, factor: int) -> Block:
    """Splits a parallel loop with constant bounds into tiles of `factor` iterations.

    for v in 0 … 5:          for v in 0 … 4 step 2:
        f(v)                     for v_i in 0 … 2:
                                     f(v + v_i)
                             for v_i in 2 … 3:         what `factor` does not divide: one smaller tile, its
                                 f(2 + v_i)            iterations numbered on
    """

    def change(loop: For) -> Block:
        start, stop = _constant_bounds(loop)
        groups, rest = divmod(stop - start, factor)
        result: list[Stmt] = []
        if groups:
            whole = _tile_of(loop, Var(var), range(factor))
            result.append(replace(loop, stop=Const(start + groups * factor), step=factor, body=(whole,)))
        if rest:
            first = factor if groups else 0
            result.append(_tile_of(loop, Const(stop - rest - first), range(first, first + rest)))
        return tuple(result)

    return at_loops(block, var, change)


def _tile_of(loop: For, base: Expr, iterations: range) -> For:
    inner = f"{loop.var}_i"
    body = substitute(loop.body, {loop.var: Binary("add", base, Var(inner))})
    return replace(loop, var=inner, start=Const(iterations.start), stop=Const(iterations.stop), body=body)


def jam(block: Block, var: str) -> Block:
    """Runs all iterations of a parallel loop at once: unrolled, and the loops inside them made one.

        for v in 0 … 2:                      acc_0 = b[0]; acc_1 = b[1]
            acc = b[v]                       for k:
            for k: acc += x[k] * w[v, k]         acc_0 += x[k] * w[0, k]
            y[v] = acc                           acc_1 += x[k] * w[1, k]
                                             y[0] = acc_0; y[1] = acc_1

    Legal because iterations of a parallel loop may run in any order.
    """

    def change(loop: For) -> Block:
        if not loop.parallel:
            raise CompilerBug(f"loop {loop.var} is not parallel, so its iterations cannot be interleaved")
        numbers = range(*_constant_bounds(loop))
        alone = numbers == range(1)
        copies = [copy(loop.body, "" if alone else f"_{n}", {loop.var: Const(n)}) for n in numbers]
        return _fuse([simplify_block(one) for one in copies])

    return at_loops(block, var, change)


def register_block(block: Block, var: str, factor: int) -> Block:
    """`factor` iterations of a parallel loop at once, each with registers of its own, sharing the loops inside."""
    return simplify_block(jam(tile(block, var, factor), f"{var}_i"))


def _fuse(copies: list[Block]) -> Block:
    """Interleaves blocks of equal structure; loops and branches with equal bounds become one."""
    if len({len(one) for one in copies}) != 1:
        return tuple(s for one in copies for s in one)
    result: list[Stmt] = []
    for row in zip(*copies, strict=True):
        first = row[0]
        if isinstance(first, For) and all(
            isinstance(s, For) and (s.var, s.start, s.stop, s.step) == (first.var, first.start, first.stop, first.step)
            for s in row
        ):
            result.append(replace(first, body=_fuse([s.body for s in row if isinstance(s, For)])))
        elif isinstance(first, If) and all(isinstance(s, If) and s.cond == first.cond for s in row):
            branches = [s for s in row if isinstance(s, If)]
            result.append(If(first.cond, _fuse([s.then for s in branches]), _fuse([s.orelse for s in branches])))
        else:
            result.extend(row)
    return tuple(result)


def unroll(block: Block, var: str, factor: int | None = None, most: int = 64) -> Block:
    """Repeats the body of a loop, in order: all of it, or `factor` iterations at a time.

    A loop whose bounds are not constant, or of more than `most` iterations to repeat, is left alone.
    """

    def change(loop: For) -> Block:
        if not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
            return (loop,)
        start, stop = _constant_bounds(loop)
        trips = -((start - stop) // loop.step)
        at_once = trips if factor is None else min(factor, trips)
        if at_once > most or at_once < 2:
            return (loop,)
        groups, rest = divmod(trips, at_once)

        def repeat(base: Expr, numbers: range) -> Block:
            values = [Binary("add", base, Const(k * loop.step)) for k in range(len(numbers))]
            copies = [copy(loop.body, f"_{n}", {var: value}) for n, value in zip(numbers, values, strict=True)]
            return tuple(s for one in copies for s in one)

        if groups == 1:
            return simplify_block(repeat(Const(start), range(trips)))
        middle = start + groups * at_once * loop.step
        step = at_once * loop.step
        main = replace(loop, stop=Const(middle), step=step, body=repeat(Var(var), range(at_once)))
        return simplify_block(
            (main, *repeat(Const(middle), range(at_once, at_once + rest))), {var: (start, max(start, stop - 1))}
        )

    return at_loops(block, var, change)


def specialise(block: Block, var: str, cases: Mapping[str, tuple[int, int]]) -> Block:
    """Splits the body of the loop over `var` into the inside of a box and the rest, each simplified for itself.

        for ox:                          for ox:
            body                             if (1 <= oy && oy < 24 && 1 <= ox && ox < 4)
                                                 body, simplified inside these bounds
                                             else
                                                 body

    `cases` maps loop variables that are in scope to [first, end).
    """

    def change(loop: For) -> Block:
        cond: Expr | None = None
        for name, (first, end) in cases.items():
            for test in (Binary("ge", Var(name), Const(first)), Binary("lt", Var(name), Const(end))):
                cond = test if cond is None else Binary("and", cond, test)
        if cond is None:
            return (loop,)
        return (replace(loop, body=(If(cond, loop.body, loop.body),)),)

    return at_loops(block, var, change)
