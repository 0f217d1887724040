"""Which transformations each kind of layer gets. A schedule is a function from program to program; what it may do is
checked by the verifier and its result compared with the unscheduled program by the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.board import Target
from harness.compiler.dead import drop_dead
from harness.compiler.fold_zero_point import fold_zero_point
from harness.compiler.hoist import hoist_bounds
from harness.compiler.loops import (
    Block,
    Const,
    Expr,
    For,
    If,
    Load,
    Program,
    Var,
    expressions,
    substitute,
    walk,
    walk_expr,
)
from harness.compiler.schedule import register_block, specialise, unroll
from harness.compiler.share import share_loads
from harness.compiler.simplify import simplify, simplify_block

Schedule = Callable[[Program, Target], Program]

UNROLLED_TAPS = 20  # a depthwise window of up to this many taps is written out
UNROLLED_RUN = 12  # a reduction of up to this many steps is written out


def tidy(program: Program) -> Program:
    """Simplified, and without what nothing reads any more: what every schedule begins and ends with."""
    body = drop_dead(simplify_block(program.body))
    used = {n.buffer for s in walk(body) for e in expressions(s) for n in walk_expr(e) if isinstance(n, Load)}
    kept = tuple(b for b in program.buffers if b.space != "const" or b in used)
    return Program(program.name, kept, body)


def finished(program: Program) -> Program:
    """What every schedule ends with. Bounds go first: a load may be shared only once nothing moves any more."""
    return share_loads(hoist_bounds(tidy(program)))


def plain(program: Program, target: Target) -> Program:
    """As the operator was lowered, with repeated loads shared and invariant bounds hoisted."""
    return finished(program)


def contraction(program: Program, target: Target) -> Program:
    """Convolution and matrix product: 2 pixels x 2 channels, or 1 x 4 where pixels have windows of their own."""
    program = fold_zero_point(split_border(tidy(program)))
    body = program.body
    pixels = next((s for s in walk(body) if isinstance(s, For) and s.var == "p"), None)
    if pixels is not None and _trips(pixels) > 1:
        body = register_block(register_block(body, "p", 2), "oc", 2)
    else:
        body = register_block(body, "oc", 4)
    body = _unroll_runs(body, "k")
    return finished(replace(program, body=body))


def depthwise(program: Program, target: Target) -> Program:
    """Inside the border a window's taps are written out; at the border 4 channels share the loops over the taps."""
    if any(isinstance(s, For) and s.var == "oc" for s in walk(program.body)):
        return contraction(program, target)  # one input channel: lowered as an ordinary convolution
    program = fold_zero_point(split_border(tidy(program)))

    def inside(block: Block) -> Block:
        loops = [s for s in walk(block) if isinstance(s, For) and s.var in ("ky", "kx")]
        taps = 1
        for loop in loops:
            taps *= _trips(loop)
        if loops and taps <= UNROLLED_TAPS:
            return unroll(unroll(block, "kx"), "ky")
        return register_block(block, "c", 4)

    body = _by_branch(program.body, inside, lambda block: register_block(block, "c", 4))
    return finished(replace(program, body=body))


def pool(program: Program, target: Target) -> Program:
    """4 channels share the loops over the taps of a window."""
    program = tidy(program)
    return finished(replace(program, body=register_block(program.body, "c", 4)))


def elementwise(program: Program, target: Target) -> Program:
    """2 elements an iteration."""
    program = tidy(program)
    loops = [s for s in walk(program.body) if isinstance(s, For)]
    if loops:  # a single element has none
        program = replace(program, body=register_block(program.body, loops[-1].var, 2))
    return finished(program)


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


def _trips(loop: For) -> int:
    """Iterations of a loop with constant bounds; of one without, more than any limit."""
    if not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
        return 1 << 30
    return -(-(int(loop.stop.value) - int(loop.start.value)) // loop.step)


def _unroll_runs(block: Block, var: str) -> Block:
    for loop in {s.start: s for s in walk(block) if isinstance(s, For) and s.var == var}.values():
        if isinstance(loop.start, Const) and isinstance(loop.stop, Const):
            trips = _trips(loop)
            if trips <= UNROLLED_RUN:
                return unroll(block, var)
            factor = next((f for f in (4, 6, 5, 3, 7) if trips % f == 0), 4)
            return unroll(block, var, factor)
    return block


def _by_branch(block: Block, inside: Callable[[Block], Block], border: Callable[[Block], Block]) -> Block:
    """Applies one transformation to the body inside the border and another to the rest; without a border, the first."""
    if not any(isinstance(s, If) for s in walk(block)):
        return inside(block)
    result = []
    for s in block:
        if isinstance(s, If):
            s = If(s.cond, inside(s.then), border(s.orelse))
        elif isinstance(s, For):
            s = replace(s, body=_by_branch(s.body, inside, border))
        result.append(s)
    return tuple(result)
