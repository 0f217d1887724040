"""Serial loops that the interpreter runs as one: iterations that only add to sums, or write each to a place of its own.

    for k in 0 … 72:                                    x, w: arrays with k as their first axis
        x = patch[k]                                    sums[0] += x . w, one matrix product for all lanes
        sums[0] = sums[0] + x * w[g, k]
    for i in 0 … 16:
        patch[8 + i] = x[n, i]                          read once, then put where the parts belong

Every rule is checked as it is when the loop runs one iteration after another. A sum is added up at once only where the
largest terms there are cannot take any partial sum outside its dtype: then no order of additions overflows, and all are
exact. Where that is not so, or where a loop does anything else, it is left to run one iteration after another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from harness.compiler.interpreter_state import Value
from harness.compiler.interpreter_values import Evaluator, following
from harness.compiler.intrinsics.dsp import wrapped
from harness.compiler.loops import (
    REGISTERS,
    Binary,
    Buffer,
    Call,
    Expr,
    For,
    Let,
    Load,
    Note,
    Store,
    Var,
    expressions,
    walk_expr,
)
from harness.dtypes import DType, Vec

EXACT = 1 << 53  # whole numbers below it are exact in float64, in which matrices are multiplied
FEW = 1 << 18  # multiplications that are sooner done in integers than the threads of a float product are awake

_Place = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Sum:
    """store: register = register + the product of two factors, or + one term.

    With `lanes`, the products of so many lanes of two vectors, modulo 2^32.
    """

    store: Store
    parts: tuple[Expr, ...]  # two factors, or one term
    lanes: int = 0


@dataclass(frozen=True, eq=False)
class Batch:
    loop: For
    steps: tuple[Let | Sum | Store, ...]
    names: frozenset[str]  # of the loop's variable and of the scalars in it

    @property
    def sums(self) -> list[Sum]:
        return [one for one in self.steps if isinstance(one, Sum)]


def batch_of(loop: For) -> Batch | None:
    """`loop` as what can run at once; None where an iteration may see what another one did."""
    if loop.parallel or not all(isinstance(s, (Let, Store, Note)) for s in loop.body):
        return None
    lets = [s for s in loop.body if isinstance(s, Let)]
    stores = [s for s in loop.body if isinstance(s, Store)]
    names = frozenset({loop.var, *(let.name for let in lets)})
    steps: list[Let | Sum | Store] = []
    for s in loop.body:
        if isinstance(s, Store):
            steps.append(_sum_of(s) or s)
        elif isinstance(s, Let):
            steps.append(s)
    written = {s.buffer for s in stores}
    seen = [e for step in steps for e in _seen(step)]
    read = {n.buffer for e in seen for n in walk_expr(e) if isinstance(n, Load)}
    apart = all(b.space in REGISTERS for b in written) and not read & written
    if not stores or not apart or any(b.space == "output" for b in read):
        return None
    for step in steps:
        if isinstance(step, Sum) and _mentions(step.store.index, names):
            return None
        if isinstance(step, Store) and (step.active is not None or not _typed(step)):
            return None
    return Batch(loop, tuple(steps), names)


def _mentions(nodes: Iterable[Expr], names: frozenset[str]) -> bool:
    return any(isinstance(n, Var) and n.name in names for e in nodes for n in walk_expr(e))


def _typed(s: Store) -> bool:
    return s.value.dtype == s.buffer.dtype or isinstance(s.value.dtype, Vec)


def _seen(s: Let | Sum | Store) -> tuple[Expr, ...]:
    """What a step reads, but for the sum that it adds to."""
    return (*s.store.index, *s.parts) if isinstance(s, Sum) else expressions(s)


def _sum_of(s: Store) -> Sum | None:
    here, value = Load(s.buffer, s.index), s.value
    if isinstance(value, Binary) and value.op == "add" and value.dtype in (DType.I32, DType.I64):
        term = value.right
        if value.left != here or term.dtype != value.dtype or s.buffer.dtype != value.dtype:
            return None
        whole = isinstance(term, Binary) and term.op == "mul" and term.left.dtype is term.right.dtype
        return Sum(s, (term.left, term.right) if whole and isinstance(term, Binary) else (term,))
    if isinstance(value, Call) and value.intrinsic.adds_products and value.args[-1] == here:
        x, y = value.args[:2]
        wanted = tuple(dtype for _, dtype in value.intrinsic.params)
        if tuple(a.dtype for a in value.args) == wanted and isinstance(x.dtype, Vec):
            return Sum(s, (x, y), x.dtype.lanes)
    return None


def run_batch(machine: Evaluator, batch: Batch, start: Value, stop: Value, trips: int, most: int) -> int:
    """Runs iterations from the first on, in pieces of at most `most` values; how many it has run.

    What is left, the caller runs one by one. Raises CompilerBug where a rule is broken.
    """
    outer, mask = machine.lanes, machine.mask
    registers = {s.store.buffer if isinstance(s, Sum) else s.buffer for s in batch.steps if not isinstance(s, Let)}
    if any(b not in machine.registers or machine.registers[b].lanes != outer for b in registers):
        return 0
    places = [(s.store.buffer, machine.register_index(s.store.buffer, s.store.index)) for s in batch.sums]
    if any(at not in machine.registers[b].values for b, at in places):
        return 0
    uniform = isinstance(start, int) and isinstance(stop, int)
    piece = max(1, most // _widest(machine, batch, start, stop, uniform))
    done = 0
    try:
        while trips - done > 1 and piece > 1:
            count = min(piece, trips - done)
            iteration = np.arange(done, done + count, dtype=np.int64).reshape(count, *(1,) * len(outer))
            value = start + iteration * batch.loop.step
            machine.lanes, machine.along, machine.mask = (count, *outer), count, mask
            machine.vars[batch.loop.var] = value
            if not uniform:
                inner = np.asarray(value < stop)
                inner = inner if mask is None else inner & mask
                machine.mask = None if inner.all() else inner
            changes = _changes(machine, batch)
            if changes is None:
                break
            machine.lanes = outer
            for change in changes:
                change.commit(machine)
            done += count
    finally:
        machine.lanes, machine.along, machine.mask = outer, 0, mask
        for name in batch.names:
            machine.vars.pop(name, None)
    return done


@dataclass(frozen=True, eq=False)
class _Change:
    """Values of register elements, one after the other; of each the lanes that get it, None for all."""

    buffer: Buffer
    places: list[_Place]
    values: list[Value]
    masks: list[np.ndarray | None]
    dtype: DType | Vec

    def commit(self, machine: Evaluator) -> None:
        register = machine.registers[self.buffer]
        for place, value, mask in zip(self.places, self.values, self.masks, strict=True):
            machine.mask = mask
            if mask is None or mask.any():
                machine.keep(register, place, self.dtype, value)


def _changes(machine: Evaluator, batch: Batch) -> list[_Change] | None:
    """What the iterations change, all of it to different elements; None where they have to run one by one."""
    found: list[_Change] = []
    for s in batch.steps:
        if isinstance(s, Let):
            machine.vars[s.name] = machine.eval(s.value)
            continue
        change = _added(machine, s) if isinstance(s, Sum) else _written(machine, s)
        if change is None:
            return None
        found.append(change)
    places = [(change.buffer, place) for change in found for place in change.places]
    return found if len(set(places)) == len(places) else None


def _written(machine: Evaluator, s: Store) -> _Change | None:
    value = machine.eval(s.value)
    lanes = s.value.dtype if isinstance(s.value.dtype, Vec) and s.value.dtype != s.buffer.dtype else None
    each = 1 if lanes is None else lanes.lanes
    firsts = machine.register_places(s.buffer, s.index, (each - 1) * s.apart + 1)
    if len(firsts) == 1:
        return None
    count = machine.along
    parts: list[Value] = [value] * count
    if isinstance(value, np.ndarray):
        whole = _deep(value, len(machine.lanes) + isinstance(s.value.dtype, Vec))
        parts = list(whole) if len(whole) == count else [whole[0]] * count
    masks = [machine.mask] * count
    if machine.mask is not None and machine.mask.ndim == len(machine.lanes):
        masks = [None if one.all() else one for one in np.broadcast_to(machine.mask, (count, *machine.mask.shape[1:]))]
    if lanes is None:
        return _Change(s.buffer, firsts, parts, masks, s.buffer.dtype)
    places = [place for first in firsts for place in following(first, each, s.apart)]
    values = [part[..., lane] for part in parts for lane in range(each)]
    return _Change(s.buffer, places, values, [mask for mask in masks for _ in range(each)], s.buffer.dtype)


def _added(machine: Evaluator, s: Sum) -> _Change | None:
    place = machine.register_index(s.store.buffer, s.store.index)
    before = machine.registers[s.store.buffer].values[place]
    depth = len(machine.lanes) + (s.lanes > 0)
    parts = [_deep(np.asarray(machine.eval(e)), depth) for e in s.parts]
    mask = machine.mask
    if mask is not None:
        over = _deep(mask, len(machine.lanes))
        over = over[..., None] if s.lanes else over
        smallest = min(range(len(parts)), key=lambda i: prod(np.broadcast_shapes(parts[i].shape, over.shape)))
        parts[smallest] = np.where(over, parts[smallest], 0)
    dtype = s.store.buffer.dtype
    term = prod(_largest(part) for part in parts)
    bound = _largest(np.asarray(before)) + machine.along * max(s.lanes, 1) * term
    if bound >= EXACT or (not s.lanes and bound > dtype.max):
        return None
    total = _sum(parts, machine.along, bool(s.lanes))
    after: Value = before + total
    if s.lanes:
        after = wrapped(np.asarray(after))
    if isinstance(before, int) and total.size == 1:
        after = int(np.asarray(after).reshape(()))
    return _Change(s.store.buffer, [place], [after], [None], dtype)


def _largest(value: np.ndarray) -> int:
    return max(abs(int(value.min())), abs(int(value.max())))


def _deep(value: np.ndarray, depth: int) -> np.ndarray:
    """`value` with so many axes: what does not change from one lane to the next has a first axis of 1."""
    return value.reshape((1,) * (depth - value.ndim) + value.shape)


def _sum(parts: list[np.ndarray], count: int, vectors: bool) -> np.ndarray:
    """The sum over the first axis, of length `count`, and over the last where it is the lanes of `vectors`; exact."""
    if len(parts) == 1:
        (term,) = parts
        return term.sum(axis=0) if len(term) == count else term[0] * count
    a, b = parts
    depth = a.ndim
    summed = [0, depth - 1] if vectors else [0]
    over = {axis: max(count if axis == 0 else 1, a.shape[axis], b.shape[axis]) for axis in summed}
    a = np.broadcast_to(a, tuple(over.get(axis, n) for axis, n in enumerate(a.shape)))
    b = np.broadcast_to(b, tuple(over.get(axis, n) for axis, n in enumerate(b.shape)))
    kept = [axis for axis in range(depth) if axis not in over]
    both = [axis for axis in kept if a.shape[axis] > 1 and b.shape[axis] > 1]
    rows = [axis for axis in kept if a.shape[axis] > 1 and axis not in both]
    columns = [axis for axis in kept if axis not in both and axis not in rows]
    order = [*both, *rows, *columns]
    sizes = [prod(max(a.shape[axis], b.shape[axis]) for axis in group) for group in (both, rows, columns)]
    terms = prod(over.values())
    left = a.transpose(*both, *rows, *columns, *summed).reshape(sizes[0], sizes[1], terms)
    right = b.transpose(*both, *rows, *summed, *columns).reshape(sizes[0], terms, sizes[2])
    if prod(sizes) * terms < FEW:
        result = np.matmul(left, right)
    else:
        result = np.matmul(left.astype(np.float64), right.astype(np.float64)).astype(np.int64)
    result = result.reshape([max(a.shape[axis], b.shape[axis]) for axis in order])
    return result.transpose([order.index(axis) for axis in kept])


def _widest(machine: Evaluator, batch: Batch, start: Value, stop: Value, uniform: bool) -> int:
    """Most values that one iteration of the loop needs at once, from the shapes of what it reads."""
    shapes: dict[str, tuple[int, ...]] = {batch.loop.var: np.shape(start)}

    def shape(node: Expr) -> tuple[int, ...]:
        found: list[tuple[int, ...]] = []
        for n in walk_expr(node):
            if isinstance(n, Var) and n.name in shapes:
                found.append(shapes[n.name])
            elif isinstance(n, Var):
                known = np.shape(machine.vars.get(n.name, 0))
                found.append(known[:-1] if isinstance(n.dtype, Vec) else known)
            elif isinstance(n, Load) and n.buffer in machine.registers:
                found.append(machine.registers[n.buffer].lanes)
        return np.broadcast_shapes(*found)

    masked = () if uniform else np.broadcast_shapes(np.shape(start), np.shape(stop))
    masked = np.broadcast_shapes(masked, np.shape(machine.mask if machine.mask is not None else 0))
    most = 1
    for s in batch.steps:
        if isinstance(s, Let):
            shapes[s.name] = shape(s.value)
            most = max(most, prod(shapes[s.name]))
            continue
        wanted = [shape(e) for e in (s.parts if isinstance(s, Sum) else (s.value,))]
        under = min(prod(np.broadcast_shapes(one, masked)) for one in wanted)
        most = max(most, under, *(prod(one) for one in wanted))
    vectors = [n.dtype.lanes for s in batch.steps for e in _seen(s) for n in walk_expr(e) if isinstance(n.dtype, Vec)]
    return most * max(vectors, default=1)
