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
from math import prod

import numpy as np

from harness.compiler.interpreter_arithmetic import Bounded
from harness.compiler.interpreter_batch import Batch, batch_of, run_batch
from harness.compiler.interpreter_registers import Machine
from harness.compiler.interpreter_state import Axis, Memory
from harness.compiler.interpreter_values import over_lanes
from harness.compiler.loops import REGISTERS, Alloc, Block, For, If, Let, Program, Store
from harness.dtypes import Vec
from harness.errors import CompilerBug

LANES = 1 << 18  # most lanes held at once, so that arrays stay in cache; a longer parallel loop runs in such pieces


def run(program: Program, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs `program` on arrays named after its input buffers; gives one array per output buffer.

    Input arrays have the buffer's dtype and any shape with its number of elements. Raises CompilerBug where the program
    breaks a rule of the IR.
    """
    machine = _Interpreter(program)
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


class _Interpreter(Machine):
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
                self.vars[s.name] = self.bounded(s.value)
            elif isinstance(s, Alloc):
                self.allocate(s.buffer)
            elif isinstance(s, If):
                for mask, branch in self.branches(s):
                    self.under(mask, branch, self.block)

    def loop(self, s: For) -> None:
        start, stop = self.bounded(s.start), self.bounded(s.stop)
        trips = int(np.max(-((start.value - stop.value) // s.step)))
        if trips <= 0:
            return
        if not s.parallel:
            for i in range(self.at_once(s, start, stop, trips), trips):
                self.enter(s, start, stop, i, self.block)
            return
        outer = self.lanes
        piece = max(1, LANES // max(1, prod(outer)))
        axis = Axis(s.var, np.zeros(0, np.int64))
        self.axes.append(axis)
        for first in range(0, trips, piece):
            end = min(first + piece, trips)
            axis.iteration = np.arange(first, end, dtype=np.int64).reshape((-1,) + (1,) * len(outer))
            self.lanes = (end - first, *outer)
            self.enter(s, start, stop, axis.iteration, self.block)
        self.lanes = outer
        self.axes.pop()

    def at_once(self, loop: For, start: Bounded, stop: Bounded, trips: int) -> int:
        """Runs as many iterations of a serial loop as can run as one; how many."""
        if id(loop) not in self.batches:
            self.batches[id(loop)] = batch_of(loop)
        batch = self.batches[id(loop)]
        return 0 if batch is None else run_batch(self, batch, start, stop, trips, LANES)

    def store(self, s: Store) -> None:
        given = self.bounded(s.value)
        if s.value.dtype != s.buffer.dtype and not isinstance(s.value.dtype, Vec):
            raise self.broken("a store of another dtype", s)
        if s.buffer.space in REGISTERS:
            self.store_register(s, given)
            return
        if s.buffer.space != "output":
            raise self.broken("a store into read-only memory", s)
        lanes = s.value.dtype if isinstance(s.value.dtype, Vec) else None
        flat, mask = self.place(s.buffer, s.index, lanes, s.active, s.apart)
        shape = self.lanes if lanes is None else (*self.lanes, lanes.lanes)
        live = np.broadcast_to(True if mask is None else mask, shape)
        where, values = np.broadcast_to(flat, shape)[live], np.broadcast_to(given.value, shape)[live]
        low, high = s.buffer.dtype.min, s.buffer.dtype.max
        inside = lanes is None or (low <= given.low and given.high <= high) or not values.size
        if not inside and not low <= values.min() <= values.max() <= high:
            raise self.broken(f"overflow of {s.buffer.dtype.value}", s)
        memory = self.memory[s.buffer]
        before = None if memory.claim(where) else memory.data[where]
        memory.data[where] = values
        same = before is None or bool(np.all(memory.data[where] == values))
        for axis in self.axes:
            mine = np.broadcast_to(over_lanes(axis.iteration, lanes), shape)
            if before is not None:
                owners = axis.owners(s.buffer, where)
                earlier = (owners != -1) & (owners != mine[live]) & (before != values)
                if np.any(earlier) or not same:
                    raise self.broken(f"two iterations of parallel {axis.var} write different values to one element", s)
            axis.wrote(s.buffer, where, mine, live)
