"""Drops what a layer computes and nobody looks at: the sums in front of a clamp whose two bounds are the same.

const int32_t a = nn_requantise(x[i], …);       output[i] = 5;
output[i] = 5;
"""

from __future__ import annotations

from dataclasses import replace

from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Expr,
    For,
    If,
    Let,
    Load,
    Note,
    Stmt,
    Store,
    Var,
    expressions,
    walk,
    walk_expr,
)


def drop_dead(block: Block) -> Block:
    """`block` without scalars and registers that no store into an output depends on, and without empty loops."""
    while True:
        live, _ = _sweep(block)
        if live == block:
            return live
        block = live


def _sweep(block: Block) -> tuple[Block, set[str]]:
    """What is left of `block`, seen from its end, and the names it needs from outside."""
    unread = {s.buffer for s in block if isinstance(s, Alloc) and not _is_read(block, s.buffer)}
    kept: list[Stmt] = []
    needed: set[str] = set()
    for s in reversed(_without(block, unread) if unread else block):
        if isinstance(s, Let):
            if s.name not in needed:
                continue
            needed.discard(s.name)
        elif isinstance(s, For):
            body, inside = _sweep(s.body)
            if not _acts(body):
                continue
            s = replace(s, body=body)
            needed |= inside - {s.var}
        elif isinstance(s, If):
            (then, in_then), (orelse, in_orelse) = _sweep(s.then), _sweep(s.orelse)
            if not _acts(then) and not _acts(orelse):
                continue
            s = If(s.cond, then, orelse)
            needed |= in_then | in_orelse
        needed |= {n.name for e in expressions(s) for n in walk_expr(e) if isinstance(n, Var)}
        kept.append(s)
    return tuple(reversed(kept)), needed


def _acts(block: Block) -> bool:
    return any(not isinstance(s, Note) for s in block)


def _is_read(block: Block, register: Buffer) -> bool:
    """Whether anything but the register itself is computed from it."""
    return any(
        _loads(e, register)
        for s in walk(block)
        if not (isinstance(s, Store) and s.buffer is register)
        for e in expressions(s)
    )


def _loads(node: Expr, register: Buffer) -> bool:
    return any(isinstance(n, Load) and n.buffer is register for n in walk_expr(node))


def _without(block: Block, registers: set[Buffer]) -> Block:
    result: list[Stmt] = []
    for s in block:
        if isinstance(s, (Alloc, Store)) and s.buffer in registers:
            continue
        if isinstance(s, For):
            s = replace(s, body=_without(s.body, registers))
        elif isinstance(s, If):
            s = If(s.cond, _without(s.then, registers), _without(s.orelse, registers))
        result.append(s)
    return tuple(result)
