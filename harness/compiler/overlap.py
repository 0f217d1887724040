"""How far a layer may write over what it reads, derived from the order in which its loops read and write.

An output byte a, stored at some time, may lie where an input byte b lies only if b is not read after that time. With
D = address of the output - address of the input, a stored byte a and a byte b read later must not meet: a + D != b. So

    every D <= min(b - a) - 1    is safe: the output stays below what is still to be read
    every D >= max(b - a) + 1    is safe: it stays above

over all pairs of a store and a later read. Nothing is traced: the loops that both read and write run as numpy axes, of
everything inside them the interval of bytes is enough. A statement's reads come before its store, a loop's iterations
one after the other, as the C runs them. An index is inside its dimension, which the interpreter checks, so an interval
that leaves it is cut there. What is found is a bound: it is never too generous.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import numpy as np

from harness.compiler.interpreter_arithmetic import greatest, least
from harness.compiler.interpreter_state import Value
from harness.compiler.intervals import Range, Span, combined
from harness.compiler.loops import (
    Binary,
    Block,
    Buffer,
    Cast,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Program,
    Select,
    Stmt,
    Store,
    Var,
    expressions,
    walk,
    walk_expr,
)
from harness.dtypes import DType, Vec

LANES = 1 << 14  # iterations looked at one by one; of a longer nest, runs of neighbouring iterations
FAR = 1 << 40  # beyond every address

NOTHING: Span = (FAR, -FAR)
Pair = tuple[Buffer, Buffer]  # an output and an input


@dataclass(frozen=True)
class Gap:
    """What is not safe: D = address of an output - address of an input, in bytes, with `low` < D < `high`."""

    low: int
    high: int

    def allows(self, difference: int) -> bool:
        return difference <= self.low or difference >= self.high

    def moved(self, by: int) -> Gap:
        return Gap(self.low + by, self.high + by)

    def union(self, other: Gap) -> Gap:
        """Where either way of running is safe."""
        return Gap(max(self.low, other.low), min(self.high, other.high))

    def both(self, other: Gap) -> Gap:
        """Where both are."""
        return Gap(min(self.low, other.low), max(self.high, other.high))


def disjoint(output_bytes: int, input_bytes: int) -> Gap:
    """For an input that outlives the layer: not one byte may be shared."""
    return Gap(-output_bytes, input_bytes)


class Reads:
    """The inputs that statements read, for programs that have most of them in common."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Stmt, tuple[Load, ...]]] = {}  # by identity, of what is kept alive here

    def of(self, s: Stmt) -> tuple[Load, ...]:
        """By `s` itself, not by statements inside it."""
        if id(s) not in self._known:
            self._known[id(s)] = (s, tuple(n for e in expressions(s) for n in walk_expr(e) if _reads_input(n)))
        return self._known[id(s)][1]


def gaps(program: Program, reads: Reads | None = None) -> dict[tuple[str, str], Gap]:
    """For each output and input of `program`, by name, the differences of their addresses that are not safe."""
    inputs, outputs = program.of_space("input"), program.of_space("output")
    events = _Analysis(program, reads or Reads()).block(program.body)
    result = {}
    for y in outputs:
        for x in inputs:
            whole = disjoint(_bytes(y), _bytes(x))
            if may_alias(y.element, x.element):
                low, high = events.apart.get((y, x), (FAR, -FAR))
                whole = whole.union(Gap(min(int(low), _bytes(x)), max(int(high), -_bytes(y))))
            result[y.name, x.name] = whole
    return result


def may_alias(a: DType, b: DType) -> bool:
    """Whether C lets the same bytes be accessed as both: equal types, or one of them is a character type."""
    return a is b or any(one.bytes == 1 and one is not DType.BOOL for one in (a, b))


def _bytes(buffer: Buffer) -> int:
    return buffer.elements * buffer.element.bytes


@dataclass(frozen=True)
class _Events:
    """What a piece of program does, for each iteration of the loops around it."""

    reads: Mapping[Buffer, Span] = field(default_factory=dict)
    writes: Mapping[Buffer, Span] = field(default_factory=dict)
    apart: Mapping[Pair, Span] = field(default_factory=dict)  # safe up to the first, and from the second on

    def then(self, later: _Events) -> _Events:
        """This, and `later` after it."""
        return _Events(
            _hulls(self.reads, later.reads),
            _hulls(self.writes, later.writes),
            _tighter(_tighter(self.apart, later.apart), _apart(self.writes, later.reads)),
        )

    def where(self, mask: Value) -> _Events:
        """Only in the iterations where `mask` holds."""
        if np.all(mask):
            return self

        def only(ranges: Mapping[Any, Span]) -> dict[Any, Span]:
            return {k: (np.where(mask, lo, FAR), np.where(mask, hi, -FAR)) for k, (lo, hi) in ranges.items()}

        return _Events(only(self.reads), only(self.writes), only(self.apart))

    def repeated(self) -> _Events:
        """Again and again, in any order that a loop may have."""
        return replace(self, apart=_tighter(self.apart, _apart(self.writes, self.reads)))

    def along(self, trips: int, depth: int) -> _Events:
        """All iterations of the innermost loop, the first axis, one after the other."""

        def every(values: Value) -> np.ndarray:
            values = np.asarray(values)
            return np.broadcast_to(values, np.broadcast_shapes(values.shape, (trips,) + (1,) * (depth - 1)))

        def hull(ranges: Mapping[Any, Span]) -> dict[Any, Span]:
            return {k: (every(lo).min(0), every(hi).max(0)) for k, (lo, hi) in ranges.items()}

        crossing: dict[Pair, Span] = {}
        for x, (first, last) in self.reads.items():
            if trips < 2:
                break
            next_low = np.minimum.accumulate(every(first)[:0:-1])[::-1]  # of all that is read after each iteration
            next_high = np.maximum.accumulate(every(last)[:0:-1])[::-1]
            for y, (low, high) in self.writes.items():
                below, above = (next_low - every(high)[:-1] - 1).min(0), (next_high - every(low)[:-1] + 1).max(0)
                crossing[y, x] = (below, above)
        return _Events(hull(self.reads), hull(self.writes), _tighter(_tightest(self.apart, every), crossing))


def _tightest(apart: Mapping[Pair, Span], every: Any) -> dict[Pair, Span]:
    return {pair: (every(low).min(0), every(high).max(0)) for pair, (low, high) in apart.items()}


def _hulls(a: Mapping[Buffer, Span], b: Mapping[Buffer, Span]) -> dict[Buffer, Span]:
    result = dict(a)
    for buffer, (low, high) in b.items():
        known = result.get(buffer, NOTHING)
        result[buffer] = (np.minimum(known[0], low), np.maximum(known[1], high))
    return result


def _tighter(a: Mapping[Pair, Span], b: Mapping[Pair, Span]) -> dict[Pair, Span]:
    result = dict(a)
    for pair, (low, high) in b.items():
        known = result.get(pair, NOTHING)
        result[pair] = (np.minimum(known[0], low), np.maximum(known[1], high))
    return result


def _apart(writes: Mapping[Buffer, Span], reads: Mapping[Buffer, Span]) -> dict[Pair, Span]:
    """Of what is written first and read later."""
    return {
        (y, x): (first - high - 1, last - low + 1)
        for y, (low, high) in writes.items()
        for x, (first, last) in reads.items()
    }


class _Analysis:
    def __init__(self, program: Program, known: Reads) -> None:
        self.known = known
        self.names: dict[str, Range | Expr] = {}  # a scalar stays an expression until somebody asks for its value
        self.lanes = 1
        self.depth = 0
        self.mixing: set[int] = set()  # loops that both read and write
        self.survey(program.body)

    def survey(self, block: Block) -> tuple[bool, bool]:
        """Whether anything in `block` reads an input, and whether anything writes an output."""
        reads = writes = False
        for s in block:
            reads |= bool(self.known.of(s))
            if isinstance(s, Store):
                writes |= s.buffer.space == "output"
                continue
            for inside in (s.body,) if isinstance(s, For) else (s.then, s.orelse) if isinstance(s, If) else ():
                found = self.survey(inside)
                if isinstance(s, For) and found == (True, True):
                    self.mixing.add(id(s))
                reads, writes = reads or found[0], writes or found[1]
        return reads, writes

    def block(self, block: Block) -> _Events:
        events = _Events()
        for s in block:
            loads = self.known.of(s)
            if loads:
                events = events.then(self.reads(loads))
            if isinstance(s, Let):
                self.names[s.name] = s.value
            elif isinstance(s, Store) and s.buffer.space == "output":
                lanes = s.value.dtype if isinstance(s.value.dtype, Vec) else None
                events = events.then(_Events(writes={s.buffer: self.span(s, lanes)}))
            elif isinstance(s, If):
                cond = self.range(s.cond)
                then, orelse = self.block(s.then).where(cond.high != 0), self.block(s.orelse).where(cond.low == 0)
                either = _tighter(then.apart, orelse.apart)
                chosen = _Events(_hulls(then.reads, orelse.reads), _hulls(then.writes, orelse.writes), either)
                events = events.then(chosen)
            elif isinstance(s, For):
                events = events.then(self.loop(s))
        return events

    def loop(self, s: For) -> _Events:
        start, stop = self.range(s.start), self.range(s.stop)
        first, end = start.low, stop.high
        trips = int(np.max(-((first - end) // s.step)))
        if trips <= 0:
            return _Events()
        run = -(-trips * self.lanes // LANES)  # iterations taken together
        if id(s) not in self.mixing or not np.all(first == start.high) or run >= trips:
            self.names[s.var] = Range(first, end - 1, start.least, stop.most - 1)
            return self.block(s.body).repeated().where(first < end)
        runs = -(-trips // run)
        number = np.arange(runs, dtype=np.int64).reshape((-1,) + (1,) * self.depth)
        low = first + number * (run * s.step)
        high = low if run == 1 else np.minimum(low + (run - 1) * s.step, end - 1)
        self.names[s.var] = Range(low, high, start.least, start.most + (runs * run - 1) * s.step)
        self.lanes *= runs
        self.depth += 1
        events = self.block(s.body)
        if run > 1:
            events = events.repeated()
        events = events.where(low < end).along(runs, self.depth)
        self.depth -= 1
        self.lanes //= runs
        return events

    def reads(self, loads: tuple[Load, ...]) -> _Events:
        found: dict[Buffer, Span] = {}
        for n in loads:
            found = _hulls(found, {n.buffer: self.span(n, n.lanes)})
        return _Events(reads=found)

    def span(self, node: Load | Store, lanes: Vec | None) -> Span:
        """First and last byte of an access: every index inside its dimension."""
        buffer, index = node.buffer, node.index
        low: Value = 0
        high: Value = 0
        empty: Value = False
        for axis, (position, size) in enumerate(zip(index, buffer.shape, strict=True)):
            a, b, lowest, most = self.range(position)
            if lanes is not None and axis == len(index) - 1:
                reach = (lanes.lanes - 1) * node.apart
                b, most = b + reach, most + reach
            if lowest < 0 or most >= size:
                a, b = np.maximum(a, 0), np.minimum(b, size - 1)
                empty = empty | (a > b)
            same = low is high and a is b
            low = low * size + a
            high = low if same else high * size + b
        width = buffer.element.bytes
        first, last = low * width, high * width + (width - 1)
        return (np.where(empty, FAR, first), np.where(empty, -FAR, last)) if np.any(empty) else (first, last)

    def range(self, node: Expr) -> Range:
        """The values `node` can have in each iteration."""
        if isinstance(node, Const):
            value = int(node.value)
            return Range(value, value, value, value)
        if isinstance(node, Var):
            known = self.names[node.name]
            if not isinstance(known, Range):
                known = self.names[node.name] = self.range(known)
            return known
        if isinstance(node, Binary) and node.left.dtype.is_integer:
            result = combined(node.op, self.range(node.left), self.range(node.right))
            if result is not None:
                return result
        elif isinstance(node, Cast) and node.value.dtype.is_integer:
            return self.range(node.value)
        elif isinstance(node, Select):
            then, orelse = self.range(node.then), self.range(node.orelse)
            low, high = least(then.low, orelse.low), greatest(then.high, orelse.high)
            return Range(low, high, min(then.least, orelse.least), max(then.most, orelse.most))
        lowest, most = (node.dtype.min, node.dtype.max) if node.dtype.is_integer else (-FAR, FAR)
        return Range(lowest, most, lowest, most)


def mixes(loop: For, reads: Reads) -> bool:
    """Whether a loop both reads inputs and writes outputs."""
    inside = walk(loop.body)
    stores = any(isinstance(s, Store) and s.buffer.space == "output" for s in inside)
    return stores and any(reads.of(s) for s in inside)


def _reads_input(node: Expr) -> TypeGuard[Load]:
    return isinstance(node, Load) and node.buffer.space == "input"
