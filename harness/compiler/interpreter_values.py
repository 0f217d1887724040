"""What an expression of a loop program is worth: exact, and every rule of the IR about values checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.compiler.interpreter_state import Axis, Memory, Register, Value
from harness.compiler.loops import REGISTERS, Binary, Buffer, Call, Cast, Const, Expr, Load, Select, Var
from harness.dtypes import DType, Type, Vec
from harness.errors import CompilerBug

_Place = tuple[int, ...]


class Evaluator:
    """Memory, registers and variables as they are at one moment, and the lanes that run.

    `along` is the number of iterations where those of a serial loop lie along the first axis, 0 where none do.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.memory: dict[Buffer, Memory] = {}
        self.registers: dict[Buffer, Register] = {}
        self.vars: dict[str, Value] = {}
        self.axes: list[Axis] = []
        self.lanes: tuple[int, ...] = ()
        self.mask: np.ndarray | None = None
        self.along = 0
        self._worth: dict[type, Callable[[Any], Value]] = {
            Const: _constant,
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
        return self._worth[type(node)](node)

    def variable(self, node: Var) -> Value:
        if node.name not in self.vars:
            raise self.broken("a name without a value", node)
        return self.vars[node.name]

    def binary(self, node: Binary) -> Value:
        left, right = self.eval(node.left), self.eval(node.right)
        dtype = node.left.dtype
        if dtype is not node.right.dtype or isinstance(dtype, Vec):
            raise self.broken("operands of different dtypes, or vectors", node)
        rule = _COMPARED.get(node.op)
        if rule is not None:
            result = rule(left, right)
            return bool(result) if isinstance(result, (bool, np.bool_)) else result
        rule = _PLAIN.get(node.op)
        if rule is None:
            return self.checked(_divided_or_shifted(node, left, right, self), dtype, node)
        return self.checked(rule(left, right), dtype, node)

    def select(self, node: Select) -> Value:
        cond, then, orelse = self.eval(node.cond), self.eval(node.then), self.eval(node.orelse)
        return (then if cond else orelse) if isinstance(cond, bool) else np.where(cond, then, orelse)

    def call(self, node: Call) -> Value:
        for given, (_, dtype) in zip(node.args, node.intrinsic.params, strict=True):
            if given.dtype != dtype:
                raise self.broken(f"{node.intrinsic.name} wants {dtype.value}", given)
        result = np.asarray(node.intrinsic.meaning(*[np.asarray(self.eval(a)) for a in node.args]))
        dtype = node.intrinsic.result
        kind = np.int64 if dtype.is_integer else np.float32
        return self.checked(result.astype(kind, copy=False), dtype, node)

    def cast(self, node: Cast) -> Value:
        value = self.eval(node.value)
        if node.dtype.is_integer and node.value.dtype.is_integer:
            value = int(value) if isinstance(value, bool) else value
            value = value.astype(np.int64) if isinstance(value, np.ndarray) and value.dtype == bool else value
            return self.checked(value, node.dtype, node)
        if node.dtype is DType.F32:
            return np.asarray(value).astype(np.float32)
        return self.checked(np.trunc(np.asarray(value, np.float64)).astype(np.int64), node.dtype, node)

    def checked(self, value: Value, dtype: Type, node: object) -> Value:
        """`value`, once it is found inside `dtype` in every lane that runs."""
        if not dtype.is_integer or dtype is DType.BOOL or dtype is DType.I64:
            return value
        low, high = dtype.min, dtype.max
        if isinstance(value, int):
            if low <= value <= high:
                return value
        elif low <= value.min() and value.max() <= high:
            return value
        if not self.everywhere((value >= low) & (value <= high), self.mask_of(dtype)):
            raise self.broken(f"overflow of {dtype.value}", node)
        return value

    def everywhere(self, holds: Value, mask: np.ndarray | None) -> bool:
        """Whether something holds in every lane that runs, those of `mask`."""
        return bool(np.all(holds)) or (mask is not None and bool(np.all(holds | ~mask)))

    def mask_of(self, dtype: Type) -> np.ndarray | None:
        """The mask, shaped to lie beside a value of `dtype`."""
        return self.mask[..., None] if isinstance(dtype, Vec) and self.mask is not None else self.mask

    # ---- memory

    def load(self, node: Load) -> Value:
        buffer = node.buffer
        if buffer.space in REGISTERS:
            return self.load_register(node)
        memory = self.memory[buffer]
        flat, live = self.place(buffer, node.index, node.lanes, node.active, node.apart)
        if buffer.space == "output":
            if not self.everywhere(memory.written[flat], live):
                raise self.broken("an output read before it is written", node)
            for axis in self.axes:
                owner = axis.owner.get(buffer)
                if owner is not None:
                    other = (owner[flat] != -1) & (owner[flat] != over_lanes(axis.iteration, node.lanes))
                    if np.any(other if live is None else other & live):
                        raise self.broken(f"an iteration of parallel {axis.var} reads what another wrote", node)
        value = memory.data[flat]
        if node.active is not None:
            assert live is not None
            value = np.where(live, value, 0).astype(value.dtype)
        return int(value) if isinstance(flat, int) and buffer.dtype.is_integer else value

    def flat(self, buffer: Buffer, index: tuple[Expr, ...]) -> Value:
        if len(index) != len(buffer.shape):
            raise self.broken(f"{len(index)} indices for {buffer.name}{list(buffer.shape)}", index)
        flat: Value = 0
        for node, size in zip(index, buffer.shape, strict=True):
            value = self.eval(node)
            if not _inside(value, size):
                if not self.everywhere((value >= 0) & (value < size), self.mask):
                    raise self.broken(f"index outside {buffer.name}{list(buffer.shape)}", node)
                value = np.clip(value, 0, size - 1)
            flat = flat * size + value
        return flat

    def place(
        self, buffer: Buffer, index: tuple[Expr, ...], lanes: Vec | None, active: Expr | None, apart: int
    ) -> tuple[Value, np.ndarray | None]:
        """The element, or of a vector every lane's, and which of them take part: None for all."""
        flat = self.flat(buffer, index)
        if lanes is None:
            return flat, self.mask
        count = lanes.lanes if active is None else self.eval(active)
        last = self.eval(index[-1])
        inside = (np.asarray(last) + (np.minimum(count, lanes.lanes) - 1) * apart) < buffer.shape[-1]
        if not self.everywhere(inside, self.mask):
            raise self.broken(
                f"a vector that leaves the last dimension of {buffer.name}{list(buffer.shape)}", index[-1]
            )
        each = np.arange(lanes.lanes, dtype=np.int64)
        every = np.minimum(over_lanes(flat, lanes) + each * apart, buffer.elements - 1)
        live = None if active is None else each < over_lanes(count, lanes)
        if self.mask is not None:
            live = self.mask[..., None] if live is None else live & self.mask[..., None]
        return every, live

    # ---- registers

    def load_register(self, node: Load) -> Value:
        buffer = node.buffer
        count = 1 if node.lanes is None else self.active(node.lanes, node.active)
        places = self.register_places(buffer, node.index, (count - 1) * node.apart + 1)
        register = self.registers.get(buffer)
        wanted = [one for place in places for one in following(place, count, node.apart)]
        if register is None or not all(one in register.values for one in wanted):
            raise self.broken("a register read before it is written", node)
        parts = [register.values[one] for one in wanted]
        if len(places) > 1:
            return self.stacked(node, parts, len(places), count)
        if node.lanes is None:
            return parts[0]
        zeros = [0] * (node.lanes.lanes - count)
        return np.stack(np.broadcast_arrays(*parts, *zeros), axis=-1)

    def stacked(self, node: Load, parts: list[Value], iterations: int, count: int) -> np.ndarray:
        """Values of a register array, `count` lanes for each iteration in turn, with the iterations as first axis."""
        if len({np.shape(part) for part in parts}) > 1:
            parts = np.broadcast_arrays(*parts)
        value = np.stack(parts)
        depth = len(self.lanes) - 1 + isinstance(node.buffer.dtype, Vec)
        value = value.reshape(iterations, count, *(1,) * (depth - value.ndim + 1), *value.shape[1:])
        if node.lanes is None:
            return value[:, 0]
        value = np.moveaxis(value, 1, -1)
        missing = node.lanes.lanes - count
        return np.pad(value, [(0, 0)] * (value.ndim - 1) + [(0, missing)]) if missing else value

    def keep(self, register: Register, index: tuple[int, ...], dtype: Type, value: Value) -> None:
        if self.mask is not None:
            if index not in register.values:
                # Lanes that are masked off keep nothing they could read: give them the same bits, any bits do.
                value = np.broadcast_to(value, (*self.lanes, dtype.lanes) if isinstance(dtype, Vec) else self.lanes)
            else:
                over = self.mask[..., None] if isinstance(dtype, Vec) else self.mask
                value = np.where(over, value, register.values[index])
        register.values[index] = value

    def active(self, lanes: Vec, active: Expr | None) -> int:
        """How many lanes of a vector in a register array take part."""
        count = lanes.lanes if active is None else self.eval(active)
        if not isinstance(count, int):
            raise self.broken("a part of a register array that differs between lanes", active)
        return min(count, lanes.lanes)

    def register_index(self, buffer: Buffer, index: tuple[Expr, ...], span: int = 1) -> _Place:
        """The one element that all lanes mean, `span` elements from which lie in the last dimension."""
        places = self.register_places(buffer, index, span)
        if len(places) > 1:
            raise self.broken(f"register {buffer.name} needs an index that is the same in all lanes", index)
        return places[0]

    def register_places(self, buffer: Buffer, index: tuple[Expr, ...], span: int = 1) -> list[_Place]:
        """The element that all lanes mean, or, where it differs along the iterations of a loop, that of each."""
        values = tuple([self.eval(i) for i in index])
        shape = buffer.shape
        if len(values) != len(shape):
            raise self.broken(f"{len(values)} indices for register {buffer.name}{list(shape)}", index)
        if span > 1 and (not values or np.max(values[-1]) + span > shape[-1]):
            raise self.broken(f"a vector that leaves the last dimension of {buffer.name}{list(shape)}", index)
        uniform = True
        for value, size in zip(values, shape, strict=True):
            if not isinstance(value, int):
                uniform = False
                if not self.along or not value.size == value.shape[0] == self.along:
                    raise self.broken(f"register {buffer.name} needs an index that is the same in all lanes", index)
            if not _inside(value, size):
                raise self.broken(f"index outside {buffer.name}{list(shape)}", index)
        if uniform:
            return [values]
        each = [[v] * self.along if isinstance(v, int) else v.reshape(-1).tolist() for v in values]
        return list(zip(*each, strict=True))


def following(index: _Place, count: int, apart: int) -> list[_Place]:
    """The elements of a register array that `count` lanes from `index` on cover."""
    return [index] if count == 1 else [(*index[:-1], index[-1] + lane * apart) for lane in range(count)]


def over_lanes(value: Value, lanes: Vec | None) -> Value:
    """A scalar's value, shaped to lie beside a vector's."""
    return value if lanes is None else np.asarray(value)[..., None]


def fold_binary(node: Binary) -> Const:
    """A binary of two constants as one constant, by the interpreter's own rules."""
    assert isinstance(node.dtype, DType)
    return Const(_NOWHERE.binary(node), node.dtype)


def _constant(node: Const) -> Value:
    return node.value if node.dtype.is_integer else np.float32(node.value)


def _inside(value: Value, size: int) -> bool:
    """Whether an index is inside its dimension in all lanes."""
    if isinstance(value, int):
        return 0 <= value < size
    return bool(value.min() >= 0 and value.max() < size)


def _least(a: Value, b: Value) -> Value:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else np.minimum(a, b)


def _greatest(a: Value, b: Value) -> Value:
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else np.maximum(a, b)


_Rule = Callable[[Value, Value], Value]
_COMPARED: dict[str, _Rule] = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}
_PLAIN: dict[str, _Rule] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "min": _least,
    "max": _greatest,
}


def _divided_or_shifted(node: Binary, a: Value, b: Value, machine: Evaluator) -> Value:
    op = node.op
    assert isinstance(node.dtype, DType)
    if op in ("shl", "shr"):
        if not machine.everywhere((b >= 0) & (b < node.dtype.bytes * 8), machine.mask):
            raise machine.broken("a shift outside the width", node)
        return a << b if op == "shl" else a >> b
    if op not in ("div", "rem") or (op == "rem" and not node.dtype.is_integer):
        raise machine.broken("no such operation", node)
    if not node.dtype.is_integer:
        return a / b
    zero = np.asarray(b == 0)
    if np.any(zero if machine.mask is None else zero & machine.mask):
        raise machine.broken("a division by zero", node)
    divisor = np.where(zero, 1, b)
    quotient = np.sign(a) * np.sign(divisor) * (np.abs(a) // np.abs(divisor))
    result = quotient if op == "div" else a - quotient * divisor
    return int(result) if isinstance(a, int) and isinstance(b, int) else result


_NOWHERE = Evaluator("constant")
