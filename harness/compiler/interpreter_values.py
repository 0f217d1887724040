"""What an expression of a loop program is worth: exact, and every rule of the IR about values checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from harness.compiler.interpreter_arithmetic import COMPARED, COMPUTED, Bounded, bounds, hull, looked_at
from harness.compiler.interpreter_state import Axis, Memory, Value
from harness.compiler.loops import (
    REGISTERS,
    Binary,
    Block,
    Buffer,
    Call,
    Cast,
    Const,
    Expr,
    For,
    If,
    Load,
    Select,
    Var,
)
from harness.dtypes import DType, Type, Vec
from harness.errors import CompilerBug


class Evaluator:
    """Memory and variables as they are at one moment, and the lanes that run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.memory: dict[Buffer, Memory] = {}
        self.vars: dict[str, Bounded] = {}
        self.axes: list[Axis] = []
        self.lanes: tuple[int, ...] = ()
        self.mask: np.ndarray | None = None
        self._worth: dict[type, Callable[[Any], Bounded]] = {
            Const: self.constant,
            Var: self.variable,
            Load: self.load,
            Binary: self.binary,
            Cast: self.cast,
            Select: self.select,
            Call: self.call,
        }

    def broken(self, rule: str, node: object) -> CompilerBug:
        loops = ", ".join(axis.var for axis in self.axes)
        return CompilerBug(f"{rule}: {node}" + (f" (in parallel {loops})" if loops else ""), where=self.name)

    def eval(self, node: Expr) -> Value:
        return self._worth[type(node)](node).value

    def bounded(self, node: Expr) -> Bounded:
        return self._worth[type(node)](node)

    def constant(self, node: Const) -> Bounded:
        if not node.dtype.is_integer:
            return Bounded(np.float32(node.value))
        return Bounded(node.value, int(node.value), int(node.value))

    def variable(self, node: Var) -> Bounded:
        if node.name not in self.vars:
            raise self.broken("a name without a value", node)
        return self.vars[node.name]

    def binary(self, node: Binary) -> Bounded:
        left, right = self.bounded(node.left), self.bounded(node.right)
        dtype = node.left.dtype
        if dtype is not node.right.dtype or isinstance(dtype, Vec):
            raise self.broken("operands of different dtypes, or vectors", node)
        if node.op in COMPARED:
            result = COMPARED[node.op](left.value, right.value)
            return Bounded(bool(result) if isinstance(result, (bool, np.bool_)) else result, 0, 1)
        if not dtype.is_integer and node.op == "div":
            return Bounded(left.value / right.value)
        if node.op in ("shl", "shr"):
            right = self.amount(right, dtype.bytes * 8 - 1, node)
        elif node.op in ("div", "rem"):
            right = self.divisor(right, node)
        if node.op not in COMPUTED or (node.op == "rem" and not dtype.is_integer):
            raise self.broken("no such operation", node)
        value = COMPUTED[node.op](left.value, right.value)
        if not dtype.is_integer:
            return Bounded(value)
        return self.checked(Bounded(value, *bounds(node.op, left, right)), dtype, node)

    def amount(self, given: Bounded, most: int, node: Binary) -> Bounded:
        """By how much to shift: in lanes that do not run, by some amount that is allowed."""
        if not self.holds(given, 0, most):
            raise self.broken("a shift outside the width", node)
        if given.low >= 0 and given.high <= most:
            return given
        return Bounded(np.clip(given.value, 0, most), 0, most)

    def divisor(self, given: Bounded, node: Binary) -> Bounded:
        """`given`, with something else than 0 in lanes that do not run."""
        if not given.low <= 0 <= given.high:
            return given
        zero = np.asarray(given.value == 0)
        if np.any(zero if self.mask is None else zero & self.mask):
            raise self.broken("a division by zero", node)
        return given if isinstance(given.value, int) else looked_at(np.where(zero, 1, given.value))

    def select(self, node: Select) -> Bounded:
        cond, then, orelse = self.eval(node.cond), self.bounded(node.then), self.bounded(node.orelse)
        if isinstance(cond, bool):
            return then if cond else orelse
        return Bounded(np.where(cond, then.value, orelse.value), *hull(then, orelse))

    def call(self, node: Call) -> Bounded:
        for given, (_, dtype) in zip(node.args, node.intrinsic.params, strict=True):
            if given.dtype != dtype:
                raise self.broken(f"{node.intrinsic.name} wants {dtype.value}", given)
        result = np.asarray(node.intrinsic.meaning(*[np.asarray(self.eval(a)) for a in node.args]))
        dtype = node.intrinsic.result
        if not dtype.is_integer:
            return Bounded(result.astype(np.float32, copy=False))
        return self.checked(looked_at(result.astype(np.int64, copy=False)), dtype, node)

    def cast(self, node: Cast) -> Bounded:
        given = self.bounded(node.value)
        value = given.value
        if node.dtype is DType.F32:
            return Bounded(np.asarray(value).astype(np.float32))
        if not node.value.dtype.is_integer:
            return self.checked(looked_at(np.trunc(np.asarray(value, np.float64)).astype(np.int64)), node.dtype, node)
        value = int(value) if isinstance(value, bool) else value
        value = value.astype(np.int64) if isinstance(value, np.ndarray) and value.dtype == bool else value
        return self.checked(Bounded(value, given.low, given.high), node.dtype, node)

    def checked(self, given: Bounded, dtype: Type, node: object) -> Bounded:
        """An integer value, once it is found inside `dtype` in every lane that runs; in int64 nothing is looked for."""
        if dtype.min <= given.low and given.high <= dtype.max:
            return given
        if dtype is DType.I64:
            return Bounded(given.value, dtype.min, dtype.max)
        given = looked_at(given.value)
        if not self.holds(given, dtype.min, dtype.max, isinstance(dtype, Vec)):
            raise self.broken(f"overflow of {dtype.value}", node)
        return given

    def holds(self, given: Bounded, low: int, high: int, vector: bool = False) -> bool:
        """Whether an integer, or a `vector` of them, lies in low … high in every lane that runs."""
        if low <= given.low and given.high <= high:
            return True
        value = given.value
        if isinstance(value, int):
            return low <= value <= high
        mask = self.mask[..., None] if vector and self.mask is not None else self.mask
        return self.everywhere((value >= low) & (value <= high), mask)

    def everywhere(self, holds: Value, mask: np.ndarray | None) -> bool:
        """Whether something holds in every lane that runs, those of `mask`."""
        return bool(np.all(holds)) or (mask is not None and bool(np.all(holds | ~mask)))

    # ---- loops and branches

    def enter(self, loop: For, start: Bounded, stop: Bounded, number: Value, run: Callable[[Block], None]) -> None:
        """Runs the body of a loop in its iteration `number`, or in an array of them, in order, as an axis."""
        first, last = (number, number) if isinstance(number, int) else (int(number.flat[0]), int(number.flat[-1]))
        value = start.value + number * loop.step
        self.vars[loop.var] = Bounded(value, start.low + first * loop.step, start.high + last * loop.step)
        uniform = isinstance(start.value, int) and isinstance(stop.value, int)
        self.under(True if uniform else np.asarray(value < stop.value), loop.body, run)

    def branches(self, s: If) -> Iterator[tuple[Value, Block]]:
        """Both branches, each with the lanes that take it."""
        cond = self.eval(s.cond)
        yield cond, s.then
        if s.orelse:
            yield not cond if isinstance(cond, bool) else ~np.asarray(cond), s.orelse

    def under(self, mask: Value, block: Block, run: Callable[[Block], None]) -> None:
        """Runs a block in the lanes where `mask` holds."""
        if isinstance(mask, (bool, np.bool_)):
            if mask:
                run(block)
            return
        outer = self.mask
        inner = mask if outer is None else mask & outer
        if not inner.any():
            return
        self.mask = None if inner.all() else inner
        run(block)
        self.mask = outer

    # ---- memory

    def load(self, node: Load) -> Bounded:
        buffer = node.buffer
        if buffer.space in REGISTERS:
            return self.load_register(node)
        memory = self.memory[buffer]
        flat, live = self.place(buffer, node.index, node.lanes, node.active, node.apart)
        if buffer.space == "output":
            self.fresh(node, memory, flat, live)
        value: Value = memory.data[flat]
        if node.active is not None:
            assert live is not None
            value = np.where(live, value, 0).astype(value.dtype)
        value = int(value) if isinstance(flat, int) and buffer.dtype.is_integer else value
        return Bounded(value, min(memory.low, 0), max(memory.high, 0))

    def load_register(self, node: Load) -> Bounded:
        raise self.broken("a register where there are none", node)

    def fresh(self, node: Load, memory: Memory, flat: Value, live: np.ndarray | None) -> None:
        """An output is read only where it is written, and not by another iteration of a parallel loop."""
        if not self.everywhere(memory.written[flat], live):
            raise self.broken("an output read before it is written", node)
        for axis in self.axes:
            owners = axis.owners(node.buffer, flat)
            other = (owners != -1) & (owners != over_lanes(axis.iteration, node.lanes))
            if np.any(other if live is None else other & live):
                raise self.broken(f"an iteration of parallel {axis.var} reads what another wrote", node)

    def flat(self, buffer: Buffer, index: tuple[Expr, ...]) -> tuple[Value, Bounded]:
        """The number of an element, and its index in the last dimension."""
        if len(index) != len(buffer.shape):
            raise self.broken(f"{len(index)} indices for {buffer.name}{list(buffer.shape)}", index)
        flat: Value = 0
        at = Bounded(0)
        for node, size in zip(index, buffer.shape, strict=True):
            at = self.bounded(node)
            value = at.value
            if not (at.low >= 0 and at.high < size):
                if not self.holds(at, 0, size - 1):
                    raise self.broken(f"index outside {buffer.name}{list(buffer.shape)}", node)
                value = np.clip(value, 0, size - 1)
            flat = flat * size + value
        return flat, at

    def place(
        self, buffer: Buffer, index: tuple[Expr, ...], lanes: Vec | None, active: Expr | None, apart: int
    ) -> tuple[Value, np.ndarray | None]:
        """The element, or of a vector every lane's, and which of them take part: None for all."""
        flat, last = self.flat(buffer, index)
        if lanes is None:
            return flat, self.mask
        count = lanes.lanes if active is None else self.eval(active)
        reach = (np.minimum(count, lanes.lanes) - 1) * apart
        inside = last.high + (lanes.lanes - 1) * apart < buffer.shape[-1]
        if not inside and not self.everywhere(np.asarray(last.value) + reach < buffer.shape[-1], self.mask):
            raise self.broken(
                f"a vector that leaves the last dimension of {buffer.name}{list(buffer.shape)}", index[-1]
            )
        each = np.arange(lanes.lanes, dtype=np.int64)
        every = np.minimum(over_lanes(flat, lanes) + each * apart, buffer.elements - 1)
        live = None if active is None else each < over_lanes(count, lanes)
        if self.mask is not None:
            live = self.mask[..., None] if live is None else live & self.mask[..., None]
        return every, live


def over_lanes(value: Value, lanes: Vec | None) -> Value:
    """A scalar's value, shaped to lie beside a vector's."""
    return value if lanes is None else np.asarray(value)[..., None]


def fold_binary(node: Binary) -> Const:
    """A binary of two constants as one constant, by the interpreter's own rules."""
    assert isinstance(node.dtype, DType)
    return Const(_NOWHERE.eval(node), node.dtype)


_NOWHERE = Evaluator("constant")
