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

from harness.compiler.interpreter_batch import Batch, batch_of, run_batch
from harness.compiler.interpreter_state import Axis, Memory, Register, Value
from harness.compiler.interpreter_values import Evaluator, following, over_lanes
from harness.compiler.loops import REGISTERS, Alloc, Block, For, If, Let, Program, Store
from harness.dtypes import Vec
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


class _Machine(Evaluator):
    def __init__(self, program: Program) -> None:
        super().__init__(program.name)
        self.batches: dict[int, Batch | None] = {}  # of a loop, by its identity

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
            for i in range(self.at_once(s, start, stop, trips), trips):
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

    def at_once(self, loop: For, start: Value, stop: Value, trips: int) -> int:
        """Runs as many iterations of a serial loop as can run as one; how many."""
        if id(loop) not in self.batches:
            self.batches[id(loop)] = batch_of(loop)
        batch = self.batches[id(loop)]
        return 0 if batch is None else run_batch(self, batch, start, stop, trips, LANES)

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
        for lane, index in enumerate(following(first, count, s.apart)):
            self.keep(register, index, s.buffer.dtype, value[..., lane])
