"""What all schedules share: the steps they begin and end with, and what they ask about loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.compiler.dead import live_and_read
from harness.compiler.hoist import hoist_bounds
from harness.compiler.loops import (
    Block,
    Const,
    Expr,
    For,
    If,
    Program,
    Var,
    substitute,
    walk,
    walk_expr,
)
from harness.compiler.schedule import specialise, unroll
from harness.compiler.share import share_loads
from harness.compiler.simplify import simplify, simplify_block

UNROLLED_RUN = 12  # a reduction of up to this many steps is written out


def tidy(program: Program) -> Program:
    """Simplified, and without what nothing reads any more: what every schedule begins and ends with."""
    body, read = live_and_read(simplify_block(program.body))
    kept = tuple(b for b in program.buffers if b.space != "const" or b in read)
    return replace(program, buffers=kept, body=body)


def finished(program: Program) -> Program:
    """What every schedule ends with. Bounds go first: a load may be shared only once nothing moves any more."""
    return share_loads(hoist_bounds(tidy(program)))


def split_border(program: Program) -> Program:
    """Gives the pixels whose window lies inside the input a body of their own, with constant loops."""
    box = full_windows(program.body)
    if not box or any(first >= end for first, end in box.values()):
        return program
    innermost = "ox" if "ox" in box else "oy"
    return replace(program, body=simplify_block(specialise(program.body, innermost, box)))


def full_windows(block: Block) -> dict[str, tuple[int, int]]:
    """For each outer variable that clips a loop: the values [first, end) for which the loop is not clipped."""
    loops = {s.var: s for s in walk(block) if isinstance(s, For)}
    box: dict[str, tuple[int, int]] = {}
    for loop in loops.values():
        names = {n.name for e in (loop.start, loop.stop) for n in walk_expr(e) if isinstance(n, Var)}
        if len(names) != 1 or not names <= loops.keys():
            continue
        (name,) = names
        outer = loops[name]
        if not isinstance(outer.start, Const) or not isinstance(outer.stop, Const):
            continue
        bounds = {v: _bounds_at(loop, name, v) for v in range(int(outer.start.value), int(outer.stop.value))}
        widest = max((stop - start for start, stop in bounds.values()), default=0)
        full = [v for v, (start, stop) in bounds.items() if stop - start == widest and start == 0]
        first, end = (full[0], full[-1] + 1) if full else (0, 0)
        if name in box:
            first, end = max(first, box[name][0]), min(end, box[name][1])
        box[name] = (first, end)
    return box


def _bounds_at(loop: For, name: str, value: int) -> tuple[int, int]:
    (fixed,) = substitute((replace(loop, body=()),), {name: Const(value)})
    assert isinstance(fixed, For)
    return _value(fixed.start), _value(fixed.stop)


def _value(node: Expr) -> int:
    constant = simplify(node)
    assert isinstance(constant, Const)
    return int(constant.value)


def trips(loop: For) -> int:
    """Iterations of a loop with constant bounds; of one without, more than any limit."""
    if not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
        return 1 << 30
    return -(-(int(loop.stop.value) - int(loop.start.value)) // loop.step)


def unroll_runs(block: Block, var: str) -> Block:
    for loop in {s.start: s for s in walk(block) if isinstance(s, For) and s.var == var}.values():
        if isinstance(loop.start, Const) and isinstance(loop.stop, Const):
            count = trips(loop)
            if count <= UNROLLED_RUN:
                return unroll(block, var)
            factor = next((f for f in (4, 6, 5, 3, 7) if count % f == 0), 4)
            return unroll(block, var, factor)
    return block


def by_branch(block: Block, inside: Callable[[Block], Block], border: Callable[[Block], Block]) -> Block:
    """Applies one transformation to the body inside the border and another to the rest; without a border, the first."""
    if not any(isinstance(s, If) for s in walk(block)):
        return inside(block)
    result = []
    for s in block:
        if isinstance(s, If):
            s = If(s.cond, inside(s.then), border(s.orelse))
        elif isinstance(s, For):
            s = replace(s, body=by_branch(s.body, inside, border))
        result.append(s)
    return tuple(result)
