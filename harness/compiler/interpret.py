"""Runs a loop program in Python, exactly, and checks every rule of the IR while it does.

A `parallel` loop is not iterated: its variable becomes a numpy axis and the body runs once for all iterations, so a
convolution of a real model takes milliseconds. Axes of inner loops come first in an array's shape, so values from
outside a loop broadcast into it without being touched. Branches and loops whose bounds differ between lanes run under a
mask.

Checked on every value: index inside its dimension, integer result inside its dtype, shift amount, division by zero,
register written before read, every output element written, and that no two iterations of a parallel loop touch one
element that one of them writes, except to write the same value.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.compiler.interpreter_state import Axis, Memory, Register, Value
from harness.compiler.loops import (
    COMPARISON,
    REGISTERS,
    Alloc,
    Binary,
    Block,
    Buffer,
    Call,
    Cast,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Program,
    Select,
    Store,
    Var,
)
from harness.dtypes import DType, Vec
from harness.errors import CompilerBug

LANES = 1 << 20  # most lanes held at once; a longer parallel loop runs in pieces of this size


def run(program: Program, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs `program` on arrays named after its input buffers; gives one array per output buffer.

    Input arrays have the buffer's dtype and any shape with its number of elements. Raises CompilerBug where the program
    breaks a rule of the IR.
    """
    machine = _Machine(program)
    for buffer in program.buffers:
        if buffer.space == "output":
            machine.memory[buffer] = Memory.blank(buffer)
        else:
            data = buffer.data if buffer.space == "const" else inputs[buffer.name]
            assert data is not None
            if data.size != buffer.elements or data.dtype != buffer.element.np:
                raise CompilerBug(
                    f"{buffer.name}: {data.dtype} x {data.size} for {buffer.dtype.value} x {buffer.elements}",
                    where=program.name,
                )
            machine.memory[buffer] = Memory.of(buffer, data)
    machine.block(program.body)
    outputs = {}
    for buffer in program.of_space("output"):
        memory = machine.memory[buffer]
        missing = int(np.count_nonzero(~memory.written))
        if missing:
            raise CompilerBug(f"{missing} elements of {buffer.name} are never written", where=program.name)
        outputs[buffer.name] = memory.data.astype(buffer.element.np).reshape(buffer.shape)
    return outputs


class _Machine:
    def __init__(self, program: Program) -> None:
        self.name = program.name
        self.memory: dict[Buffer, Memory] = {}
        self.registers: dict[Buffer, Register] = {}
        self.vars: dict[str, Value] = {}
        self.axes: list[Axis] = []
        self.lanes: tuple[int, ...] = ()
        self.mask: np.ndarray | None = None

    def broken(self, rule: str, node: object) -> CompilerBug:
        loops = ", ".join(axis.var for axis in self.axes)
        return CompilerBug(f"{rule}: {node}" + (f" (in parallel {loops})" if loops else ""), where=self.name)

    # ---- statements

    def block(self, block: Block) -> None:
        for s in block:
            if isinstance(s, For):
                self.loop(s)
            elif isinstance(s, Store):
                self.store(s)
            elif isinstance(s, Let):
                self.vars[s.name] = self.eval(s.value)
            elif isinstance(s, Alloc):
                self.registers[s.buffer] = Register(self.lanes)
            elif isinstance(s, If):
                self.branch(s)

    def under(self, mask: Value, block: Block) -> None:
        """Runs a block in the lanes where `mask` holds."""
        if isinstance(mask, (bool, np.bool_)):
            if mask:
                self.block(block)
            return
        outer = self.mask
        inner = mask if outer is None else mask & outer
        if not inner.any():
            return
        self.mask = None if inner.all() else inner
        self.block(block)
        self.mask = outer

    def branch(self, s: If) -> None:
        cond = self.eval(s.cond)
        self.under(cond, s.then)
        if s.orelse:
            self.under(not cond if isinstance(cond, bool) else ~np.asarray(cond), s.orelse)

    def loop(self, s: For) -> None:
        start, stop = self.eval(s.start), self.eval(s.stop)
        trips = int(np.max(-((start - stop) // s.step)))
        uniform = isinstance(start, int) and isinstance(stop, int)
        if trips <= 0:
            return
        if not s.parallel:
            for i in range(trips):
                value = start + i * s.step
                self.vars[s.var] = value
                self.under(True if uniform else np.asarray(value < stop), s.body)
            return
        axis = Axis(s.var, np.zeros(0, np.int64), len(self.lanes))
        outer = self.lanes
        piece = max(1, LANES // max(1, int(np.prod(outer, dtype=np.int64))))
        self.axes.append(axis)
        for first in range(0, trips, piece):
            iteration = np.arange(first, min(first + piece, trips), dtype=np.int64)
            axis.iteration = iteration.reshape((-1,) + (1,) * len(outer))
            value = start + axis.iteration * s.step
            self.lanes = (len(iteration), *outer)
            self.vars[s.var] = value
            self.under(True if uniform else np.asarray(value < stop), s.body)
        self.lanes = outer
        self.axes.pop()

    def store(self, s: Store) -> None:
        value = self.eval(s.value)
        if s.value.dtype != s.buffer.dtype and not isinstance(s.value.dtype, Vec):
            raise self.broken("a store of another dtype", s)
        if s.buffer.space in REGISTERS:
            self.store_register(s, value)
            return
        if s.buffer.space != "output":
            raise self.broken("a store into read-only memory", s)
        memory = self.memory[s.buffer]
        lanes = s.value.dtype if isinstance(s.value.dtype, Vec) else None
        flat, live = self.place(s.buffer, s.index, lanes, s.active, s.apart)
        shape = self.lanes if lanes is None else (*self.lanes, lanes.lanes)
        where = np.broadcast_to(flat, shape)
        values = np.broadcast_to(value, shape)
        active = np.broadcast_to(True if live is None else live, shape)
        where, values = where[active], values[active]
        if (
            lanes is not None
            and values.size
            and not s.buffer.dtype.min <= values.min() <= values.max() <= s.buffer.dtype.max
        ):
            raise self.broken(f"overflow of {s.buffer.dtype.value}", s)
        before = memory.data[where]
        memory.data[where] = values
        memory.written[where] = True
        same = memory.data[where] == values
        for axis in self.axes:
            owner = axis.owner.setdefault(s.buffer, np.full(s.buffer.elements, -1, np.int64))
            mine = np.broadcast_to(over_lanes(axis.iteration, lanes), shape)[active]
            previous = owner[where]
            owner[where] = mine
            earlier = (previous != -1) & (previous != mine) & (before != values)
            if np.any(earlier) or not np.all(same):
                raise self.broken(f"two iterations of parallel {axis.var} write different values to one element", s)

    def store_register(self, s: Store, value: Value) -> None:
        register = self.registers.get(s.buffer)
        if register is None:
            raise self.broken("a register outside its block", s)
        if register.lanes != self.lanes:
            raise self.broken("a register written by several iterations of a parallel loop", s)
        lanes = s.value.dtype if s.value.dtype != s.buffer.dtype else None
        if not isinstance(lanes, Vec):
            self.keep(register, self.register_index(s.buffer, s.index), s.buffer.dtype, value)
            return
        count = self.active(lanes, s.active)
        first = self.register_index(s.buffer, s.index, (count - 1) * s.apart + 1)
        for lane, index in enumerate(_following(first, count, s.apart)):
            self.keep(register, index, s.buffer.dtype, value[..., lane])

    def keep(self, register: Register, index: tuple[int, ...], dtype: DType | Vec, value: Value) -> None:
        if self.mask is not None:
            if index not in register.values:
                # Lanes that are masked off keep nothing they could read: give them the same bits, any bits do.
                value = np.broadcast_to(value, (*self.lanes, dtype.lanes) if isinstance(dtype, Vec) else self.lanes)
            else:
                value = np.where(self.mask_of(dtype), value, register.values[index])
        register.values[index] = value

    def active(self, lanes: Vec, active: Expr | None) -> int:
        """How many lanes of a vector in a register array take part."""
        count = lanes.lanes if active is None else self.eval(active)
        if not isinstance(count, int):
            raise self.broken("a part of a register array that differs between lanes", active)
        return min(count, lanes.lanes)

    def register_index(self, buffer: Buffer, index: tuple[Expr, ...], span: int = 1) -> tuple[int, ...]:
        values = tuple(self.eval(i) for i in index)
        if span > 1 and (not values or values[-1] + span > buffer.shape[-1]):
            raise self.broken(f"a vector that leaves the last dimension of {buffer.name}{list(buffer.shape)}", index)
        if len(values) != len(buffer.shape) or not all(isinstance(v, int) for v in values):
            raise self.broken(f"register {buffer.name} needs an index that is the same in all lanes", index)
        if not all(0 <= v < n for v, n in zip(values, buffer.shape, strict=True)):
            raise self.broken(f"index outside {buffer.name}{list(buffer.shape)}", index)
        return values

    def flat(self, buffer: Buffer, index: tuple[Expr, ...]) -> Value:
        if len(index) != len(buffer.shape):
            raise self.broken(f"{len(index)} indices for {buffer.name}{list(buffer.shape)}", index)
        flat: Value = 0
        for node, size in zip(index, buffer.shape, strict=True):
            value = self.eval(node)
            inside = (value >= 0) & (value < size)
            if not np.all(inside if self.mask is None else inside | ~self.mask):
                raise self.broken(f"index outside {buffer.name}{list(buffer.shape)}", node)
            if self.mask is not None:
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
        if not np.all(inside if self.mask is None else inside | ~self.mask):
            raise self.broken(
                f"a vector that leaves the last dimension of {buffer.name}{list(buffer.shape)}", index[-1]
            )
        each = np.arange(lanes.lanes, dtype=np.int64)
        every = np.minimum(over_lanes(flat, lanes) + each * apart, buffer.elements - 1)
        live = None if active is None else each < over_lanes(count, lanes)
        if self.mask is not None:
            live = self.mask[..., None] if live is None else live & self.mask[..., None]
        return every, live

    def mask_of(self, dtype: DType | Vec) -> Value:
        """The mask, shaped to lie beside a value of `dtype`."""
        return self.mask[..., None] if isinstance(dtype, Vec) and self.mask is not None else self.mask

    # ---- expressions

    def eval(self, node: Expr) -> Value:
        if isinstance(node, Const):
            return node.value if node.dtype.is_integer else np.float32(node.value)
        if isinstance(node, Var):
            if node.name not in self.vars:
                raise self.broken("a name without a value", node)
            return self.vars[node.name]
        if isinstance(node, Load):
            return self.load(node)
        if isinstance(node, Binary):
            left, right = self.eval(node.left), self.eval(node.right)
            if node.left.dtype is not node.right.dtype or isinstance(node.dtype, Vec):
                raise self.broken("operands of different dtypes, or vectors", node)
            return self.checked(_binary(node, left, right, self), node)
        if isinstance(node, Cast):
            return self.cast(node)
        if isinstance(node, Select):
            cond, then, orelse = self.eval(node.cond), self.eval(node.then), self.eval(node.orelse)
            return (then if cond else orelse) if isinstance(cond, bool) else np.where(cond, then, orelse)
        assert isinstance(node, Call)
        args = [self.eval(a) for a in node.args]
        for arg, given, (_, dtype) in zip(args, node.args, node.intrinsic.params, strict=True):
            if given.dtype != dtype:
                raise self.broken(f"{node.intrinsic.name} wants {dtype.value}", arg)
        kind = np.int64 if node.dtype.is_integer else np.float32
        result = node.intrinsic.meaning(*[np.asarray(a) for a in args])
        return self.checked(np.asarray(result).astype(kind), node)

    def load(self, node: Load) -> Value:
        buffer = node.buffer
        if buffer.space in REGISTERS:
            count = 1 if node.lanes is None else self.active(node.lanes, node.active)
            index = self.register_index(buffer, node.index, (count - 1) * node.apart + 1)
            register = self.registers.get(buffer)
            wanted = _following(index, count, node.apart)
            if register is None or not all(one in register.values for one in wanted):
                raise self.broken("a register read before it is written", node)
            if node.lanes is None:
                return register.values[index]
            zeros = [0] * (node.lanes.lanes - count)
            return np.stack(np.broadcast_arrays(*(register.values[one] for one in wanted), *zeros), axis=-1)
        memory = self.memory[buffer]
        flat, live = self.place(buffer, node.index, node.lanes, node.active, node.apart)
        if buffer.space == "output":
            fresh = memory.written[flat]
            if not np.all(fresh if live is None else fresh | ~live):
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

    def cast(self, node: Cast) -> Value:
        value = self.eval(node.value)
        if node.dtype.is_integer and node.value.dtype.is_integer:
            value = int(value) if isinstance(value, bool) else value
            value = value.astype(np.int64) if isinstance(value, np.ndarray) and value.dtype == bool else value
            return self.checked(value, node)
        if node.dtype is DType.F32:
            return np.asarray(value).astype(np.float32)
        return self.checked(np.trunc(np.asarray(value, np.float64)).astype(np.int64), node)

    def checked(self, value: Value, node: Expr) -> Value:
        dtype = node.dtype
        if not dtype.is_integer or dtype in (DType.BOOL, DType.I64):
            return value
        good = (value >= dtype.min) & (value <= dtype.max)
        if not np.all(good if self.mask is None else good | ~self.mask_of(dtype)):
            raise self.broken(f"overflow of {dtype.value}", node)
        return value


def _following(index: tuple[int, ...], count: int, apart: int) -> list[tuple[int, ...]]:
    """The elements of a register array that `count` lanes from `index` on cover."""
    return [index] if count == 1 else [(*index[:-1], index[-1] + lane * apart) for lane in range(count)]


def over_lanes(value: Value, lanes: Vec | None) -> Value:
    """A scalar's value, shaped to lie beside a vector's."""
    return value if lanes is None else np.asarray(value)[..., None]


def fold_binary(node: Binary) -> Const:
    """A binary of two constants as one constant, by the interpreter's own rules."""
    assert isinstance(node.dtype, DType)
    return Const(_Machine(Program("constant", (), ())).eval(node), node.dtype)


def _binary(node: Binary, a: Value, b: Value, machine: _Machine) -> Value:
    op = node.op
    if op in COMPARISON:
        result = {"lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b, "eq": a == b, "ne": a != b}[op]
        return bool(result) if isinstance(result, (bool, np.bool_)) else result
    if op in ("min", "max"):
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b) if op == "min" else max(a, b)
        return np.minimum(a, b) if op == "min" else np.maximum(a, b)
    if op in ("shl", "shr"):
        inside = (b >= 0) & (b < node.dtype.bytes * 8)
        if not np.all(inside if machine.mask is None else inside | ~machine.mask):
            raise machine.broken("a shift outside the width", node)
        return a << b if op == "shl" else a >> b
    if op in ("div", "rem") and node.dtype.is_integer:
        zero = np.asarray(b == 0)
        if np.any(zero if machine.mask is None else zero & machine.mask):
            raise machine.broken("a division by zero", node)
        divisor = np.where(zero, 1, b)
        quotient = np.sign(a) * np.sign(divisor) * (np.abs(a) // np.abs(divisor))
        result = quotient if op == "div" else a - quotient * divisor
        return int(result) if isinstance(a, int) and isinstance(b, int) else result
    if op == "div":
        return a / b
    return {
        "add": lambda: a + b,
        "sub": lambda: a - b,
        "mul": lambda: a * b,
        "and": lambda: a & b,
        "or": lambda: a | b,
    }[op]()
