"""Serial loops that the interpreter runs as one: iterations that only add to sums, or write each to a place of its own.

    for k in 0 … 72:                                    x, w: arrays with k as their first axis
        x = patch[k]                                    sums[0] += x . w, one matrix product for all lanes
        sums[0] = sums[0] + x * w[g, k]
    for ky in 0 … 3:                                    i and ky: the first two axes; read once, then put where the
        if oy + ky < 8:                                 parts belong, in the lanes and the iterations of each branch
            for i in 0 … 16:
                patch[ky * 16 + i] = x[oy + ky, i]
        else: …

Every rule is checked as it is when the loop runs one iteration after another. A sum is added up at once only where the
largest terms there are cannot take any partial sum outside its dtype: then no order of additions overflows, and all are
exact. Where that is not so, where a lane would write one place twice, where a rule is broken, or where a loop does
anything else, it is left to run one iteration after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from harness.compiler.interpreter_arithmetic import Bounded, looked_at
from harness.compiler.interpreter_registers import Machine
from harness.compiler.interpreter_state import RegisterArray, Value
from harness.compiler.interpreter_sums import EXACT, Sum, added_up, deep, sum_of
from harness.compiler.interpreter_values import over_lanes
from harness.compiler.intrinsics.dsp import wrapped
from harness.compiler.loops import (
    REGISTERS,
    Alloc,
    Block,
    Buffer,
    Expr,
    For,
    If,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    expressions,
    walk,
    walk_expr,
)
from harness.dtypes import Vec
from harness.errors import CompilerBug

_Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """A loop, and the loops and branches in it. What its own registers hold ends with an iteration."""

    loop: For
    sums: Mapping[int, Sum]  # by the identity of the store
    written: frozenset[Buffer]  # registers from outside
    own: frozenset[Buffer]  # registers of an iteration
    names: frozenset[str]  # of the loops' variables and of the scalars in them
    width: int  # lanes of the widest vector, times elements of the largest register of an iteration


def batch_of(loop: For) -> Batch | None:
    """`loop` as what can run at once; None where an iteration may see what another one did."""
    inside = list(walk(loop.body))
    own = frozenset(s.buffer for s in inside if isinstance(s, Alloc))
    stores = [s for s in inside if isinstance(s, Store)]
    outward = [s for s in stores if s.buffer not in own]
    written = frozenset(s.buffer for s in outward)
    loops = [s for s in inside if isinstance(s, For)]
    if not outward or any(b.space not in REGISTERS for b in written) or any(s.parallel for s in (loop, *loops)):
        return None
    names = frozenset({loop.var, *(s.var for s in loops), *(s.name for s in inside if isinstance(s, Let))})
    sums = {id(s): found for s in outward if (found := sum_of(s)) is not None}
    nodes = [n for s in inside for e in _seen(s, sums) for n in walk_expr(e)]
    read = {n.buffer for n in nodes if isinstance(n, Load)}
    if read & written or any(b.space == "output" for b in read):
        return None
    if any(isinstance(t, Store) and t.buffer in own for s in loops for t in walk(s.body)):
        return None  # a loop of its own in every iteration
    if any(_mentions(expressions(s), names) for s in loops):
        return None  # how often it runs is not known before
    if any(_mentions(s.index, names) if id(s) in sums else s.active is not None for s in outward):
        return None
    width = max((n.dtype.lanes for n in nodes if isinstance(n.dtype, Vec)), default=1)
    width *= max((b.elements for b in own), default=1)
    return Batch(loop, sums, written, own, names, width) if all(map(_typed, stores)) else None


def _mentions(nodes: Iterable[Expr], names: frozenset[str]) -> bool:
    return any(isinstance(n, Var) and n.name in names for e in nodes for n in walk_expr(e))


def _typed(s: Store) -> bool:
    return s.value.dtype == s.buffer.dtype or isinstance(s.value.dtype, Vec)


def _seen(s: Stmt, sums: Mapping[int, Sum]) -> tuple[Expr, ...]:
    """What a statement reads, but for the sum that it adds to."""
    if isinstance(s, Store) and id(s) in sums:
        return (*s.index, *sums[id(s)].parts)
    return expressions(s)


def run_batch(machine: Machine, batch: Batch, start: Bounded, stop: Bounded, trips: int, most: int) -> int:
    """Runs iterations from the first on, in pieces of at most `most` values; how many it has run.

    What is left, the caller runs one by one, and finds any rule that is broken there.
    """
    outer, mask = machine.lanes, machine.mask
    if any(machine.lanes_of(buffer) != outer for buffer in batch.written):
        return 0
    done = 0
    try:
        room = prod(outer) * _iterations(machine, batch.loop.body) * batch.width
        piece = trips if trips * room <= most else most // _Widest(machine, batch).of(start.value, stop.value)
        while trips - done > 1 and piece > 1:
            count = min(piece, trips - done)
            run = _Run(machine, batch)
            run.iterations(batch.loop, start, stop, done, count)
            run.commit()
            done += count
    except (CompilerBug, _OneByOne):
        pass
    finally:
        machine.lanes, machine.along, machine.mask = outer, (), mask
        for name in batch.names:
            machine.vars.pop(name, None)
    return done


class _OneByOne(Exception):
    """These iterations cannot run as one."""


@dataclass
class _Total:
    """One sum: what it held before, and what is added to it."""

    vectors: bool
    value: Value
    bound: int  # on the magnitude of every partial sum


@dataclass(frozen=True, eq=False)
class _Change:
    """Elements of a register array, and their values in the lanes that get them."""

    buffer: Buffer
    places: np.ndarray  # (elements,)
    values: Bounded  # (elements, *lanes)
    mask: np.ndarray | None  # (elements, *lanes)


class _Run:
    """All iterations of a batch, one statement after another. Nothing from outside changes before `commit`."""

    def __init__(self, machine: Machine, batch: Batch) -> None:
        self.machine = machine
        self.batch = batch
        self.outer = machine.lanes
        self.totals: dict[tuple[Buffer, int], _Total] = {}
        self.changes: list[_Change] = []
        self.taken: dict[Buffer, np.ndarray] = {}  # (elements, *lanes): what has been written

    def block(self, block: Block) -> None:
        machine = self.machine
        for s in block:
            if isinstance(s, Let):
                machine.vars[s.name] = machine.bounded(s.value)
            elif isinstance(s, Alloc):
                machine.allocate(s.buffer)
            elif isinstance(s, Store):
                if s.buffer not in self.batch.written:
                    machine.store_register(s, machine.bounded(s.value))
                elif id(s) in self.batch.sums:
                    self.added(self.batch.sums[id(s)])
                else:
                    self.stored(s)
            elif isinstance(s, If):
                for mask, branch in machine.branches(s):
                    machine.under(mask, branch, self.block)
            elif isinstance(s, For):
                start, stop = machine.bounded(s.start), machine.bounded(s.stop)
                self.iterations(s, start, stop, 0, _trips(s, start.value, stop.value))

    def iterations(self, loop: For, start: Bounded, stop: Bounded, first: int, count: int) -> None:
        """`count` iterations from number `first` on, as one more axis in front."""
        machine = self.machine
        lanes, along = machine.lanes, machine.along
        if count > 0:
            machine.lanes, machine.along = (count, *lanes), (count, *along)
            number = np.arange(first, first + count, dtype=np.int64).reshape(count, *(1,) * len(lanes))
            machine.enter(loop, start, stop, number, self.block)
            machine.lanes, machine.along = lanes, along

    def stored(self, s: Store) -> None:
        """Every iteration writes to elements of its own."""
        machine = self.machine
        along = machine.along
        lanes = s.value.dtype if isinstance(s.value.dtype, Vec) and s.value.dtype != s.buffer.dtype else None
        given = machine.bounded(s.value)
        each = 1 if lanes is None else lanes.lanes
        places = machine.register_place(s.buffer, s.index, (each - 1) * s.apart + 1)
        if isinstance(places, int):
            raise _OneByOne
        places = np.broadcast_to(places, along)
        inside = (s.buffer.dtype.lanes,) if isinstance(s.buffer.dtype, Vec) else ()
        value = given.value
        if lanes is not None:
            places = over_lanes(places, lanes) + np.arange(each) * s.apart
            given = machine.narrowed(s, lanes, given)
            value = np.moveaxis(np.broadcast_to(given.value, (*machine.lanes, each)), -1, len(along))
        values = np.broadcast_to(value, (*places.shape, *self.outer, *inside)).reshape(-1, *self.outer, *inside)
        places = places.reshape(-1)
        mask = machine.mask
        if mask is not None:
            mask = np.broadcast_to(mask, machine.lanes).reshape(-1, *self.outer).repeat(each, axis=0)
            live = mask.any(axis=tuple(range(1, mask.ndim)))
            places, values, mask = places[live], values[live], mask[live]
        self.take(s.buffer, places, mask)
        self.changes.append(_Change(s.buffer, places, given._replace(value=values), mask))

    def take(self, buffer: Buffer, places: np.ndarray, mask: np.ndarray | None) -> None:
        """Notes what is written: in one lane, one element once."""
        taken = self.taken.setdefault(buffer, np.zeros((buffer.elements, *self.outer), bool))
        before = taken[places]
        once = np.zeros(buffer.elements, bool)
        once[places] = True
        if np.count_nonzero(once) < places.size or (before if mask is None else before & mask).any():
            raise _OneByOne
        taken[places] = True if mask is None else before | mask

    def added(self, s: Sum) -> None:
        """Every iteration adds to one sum."""
        machine, buffer = self.machine, s.store.buffer
        place = machine.register_place(buffer, s.store.index)
        known = self.totals.get((buffer, place))
        if known is None:
            before = machine.eval(Load(buffer, s.store.index))
            known = self.totals[buffer, place] = _Total(s.lanes > 0, before, looked_at(before).largest)
        given = [machine.bounded(e) for e in s.parts]
        most = EXACT - 1 if s.lanes else min(EXACT - 1, buffer.dtype.max)
        count = prod(machine.along) * max(s.lanes, 1)
        bound = known.bound + count * prod(part.largest for part in given)
        if bound > most:
            bound = known.bound + count * prod(looked_at(part.value).largest for part in given)
        if bound > most or known.vectors != (s.lanes > 0):
            raise _OneByOne
        depth = len(machine.lanes) + (s.lanes > 0)
        parts = [deep(np.asarray(part.value), depth) for part in given]
        if machine.mask is not None:
            over = deep(machine.mask, len(machine.lanes))
            over = over[..., None] if s.lanes else over
            smallest = min(range(len(parts)), key=lambda i: prod(np.broadcast_shapes(parts[i].shape, over.shape)))
            parts[smallest] = np.where(over, parts[smallest], 0)
        known.value = known.value + added_up(parts, machine.along, known.vectors)
        known.bound = bound

    def commit(self) -> None:
        machine = self.machine
        if any(buffer in self.taken and self.taken[buffer][place].any() for buffer, place in self.totals):
            raise _OneByOne
        for (buffer, place), total in self.totals.items():  # of a lane that does not run, nothing is added
            wraps = total.bound > buffer.dtype.max
            value = wrapped(total.value) if wraps else total.value
            held = machine.arrays[buffer] if buffer.shape else machine.registers[buffer]
            held.low = min(held.low, buffer.dtype.min if wraps else -total.bound)
            held.high = max(held.high, buffer.dtype.max if wraps else total.bound)
            if isinstance(held, RegisterArray):
                held.values[place] = value
            else:
                held.value = value if self.outer else int(value)
        for change in self.changes:
            machine.keep_elements(change.buffer, change.places, change.values, change.mask)


def _trips(loop: For, start: Value, stop: Value) -> int:
    return int(np.max(-((start - stop) // loop.step)))


def _iterations(machine: Machine, block: Block) -> int:
    """Of the loops in a block and the loops in those, at most."""
    most = 1
    for s in block:
        if isinstance(s, If):
            most = max(most, _iterations(machine, s.then), _iterations(machine, s.orelse))
        elif isinstance(s, For):
            trips = _trips(s, machine.eval(s.start), machine.eval(s.stop))
            most = max(most, trips * _iterations(machine, s.body))
    return most


class _Widest:
    """Most values that one iteration of a loop needs at once, from the shapes of what it reads."""

    def __init__(self, machine: Machine, batch: Batch) -> None:
        self.machine, self.batch = machine, batch
        self.lanes = machine.lanes  # those outside, and in front the iterations of the loops inside
        self.shapes: dict[str, _Shape] = {}
        self.masked: _Shape = np.shape(machine.mask if machine.mask is not None else 0)

    def of(self, start: Value, stop: Value) -> int:
        self.shapes[self.batch.loop.var] = np.shape(start)
        outside = self.masked
        self.clipped(start, stop)
        most = self.block(self.batch.loop.body) * self.batch.width
        self.masked = outside
        return most

    def clipped(self, start: Value, stop: Value) -> None:
        if not isinstance(start, int) or not isinstance(stop, int):
            self.masked = np.broadcast_shapes(self.masked, np.shape(start), np.shape(stop))

    def block(self, block: Block) -> int:
        most = 1
        for s in block:
            found = [self.shape(e) for e in _seen(s, self.batch.sums)]
            most = max(most, *(prod(one) for one in found), 1)
            if isinstance(s, Let):
                self.shapes[s.name] = found[0]
            elif isinstance(s, Alloc):
                most = max(most, prod(self.lanes))
            elif isinstance(s, Store):
                most = max(most, self.store(s, found))
            elif isinstance(s, If):
                masked = self.masked
                self.masked = np.broadcast_shapes(masked, found[0])
                most = max(most, prod(self.masked), self.block(s.then), self.block(s.orelse))
                self.masked = masked
            elif isinstance(s, For):
                most = max(most, self.loop(s))
        return most

    def store(self, s: Store, found: list[_Shape]) -> int:
        """A sum needs its smaller factor under the mask, anything else all lanes."""
        if id(s) in self.batch.sums:
            return min(prod(np.broadcast_shapes(one, self.masked)) for one in found[len(s.index) :])
        return prod(self.lanes)

    def loop(self, s: For) -> int:
        start, stop = self.machine.eval(s.start), self.machine.eval(s.stop)
        count = max(0, _trips(s, start, stop))
        lanes, masked = self.lanes, self.masked
        self.clipped(start, stop)
        self.shapes[s.var] = np.broadcast_shapes((count, *(1,) * len(lanes)), np.shape(start))
        self.lanes = (count, *lanes)
        most = self.block(s.body)
        self.lanes, self.masked = lanes, masked
        return most

    def shape(self, node: Expr) -> _Shape:
        found: list[_Shape] = []
        for n in walk_expr(node):
            if isinstance(n, Var) and n.name in self.shapes:
                found.append(self.shapes[n.name])
            elif isinstance(n, Var):
                known = np.shape(self.machine.vars[n.name].value) if n.name in self.machine.vars else ()
                found.append(known[:-1] if isinstance(n.dtype, Vec) else known)
            elif isinstance(n, Load) and n.buffer.space in REGISTERS:
                found.append(self.lanes if n.buffer in self.batch.own else self.machine.lanes_of(n.buffer) or ())
        return np.broadcast_shapes(*found)
