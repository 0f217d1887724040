"""Drops what a layer computes and nobody looks at: the sums in front of a clamp whose two bounds are the same.

const int32_t a = nn_requantise(x[i], …);       output[i] = 5;
output[i] = 5;
"""

from __future__ import annotations

import operator
from dataclasses import replace

from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
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
    return live_and_read(block)[0]


def live_and_read(block: Block) -> tuple[Block, set[Buffer]]:
    """The same, and the buffers that anything but themselves is computed from."""
    while True:
        live, _, read = _sweep(block)
        unread = {s.buffer for s in walk(live) if isinstance(s, Alloc)} - read
        if live is block and not unread:
            return live, read
        block = _without(live, unread) if unread else live


def _sweep(block: Block) -> tuple[Block, set[str], set[Buffer]]:
    """What is left of `block`, seen from its end, the names it needs from outside, and the buffers it reads.

    The block is the same object where all of it is left. A register that reads itself is not read by that.
    """
    kept: list[Stmt] = []
    needed: set[str] = set()
    read: set[Buffer] = set()
    for s in reversed(block):
        if isinstance(s, Let):
            if s.name not in needed:
                continue
            needed.discard(s.name)
        elif isinstance(s, For):
            body, names, buffers = _sweep(s.body)
            if not _acts(body):
                continue
            s = s if body is s.body else replace(s, body=body)
            needed |= names - {s.var}
            read |= buffers
        elif isinstance(s, If):
            (then, names, buffers), (orelse, others, more) = _sweep(s.then), _sweep(s.orelse)
            if not _acts(then) and not _acts(orelse):
                continue
            s = s if then is s.then and orelse is s.orelse else If(s.cond, then, orelse)
            needed |= names | others
            read |= buffers | more
        own = s.buffer if isinstance(s, Store) else None
        for e in expressions(s):
            for n in walk_expr(e):
                if isinstance(n, Var):
                    needed.add(n.name)
                elif isinstance(n, Load) and n.buffer is not own:
                    read.add(n.buffer)
        kept.append(s)
    kept.reverse()
    same = len(kept) == len(block) and all(map(operator.is_, kept, block))
    return block if same else tuple(kept), needed, read


def _acts(block: Block) -> bool:
    return any(not isinstance(s, Note) for s in block)


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
