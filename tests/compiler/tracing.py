"""Runs a loop program statement by statement, in the order in which its C does, and sees every access."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from harness.compiler.interpret import _Interpreter
from harness.compiler.interpreter_arithmetic import Bounded
from harness.compiler.interpreter_state import Memory
from harness.compiler.loops import Block, Buffer, For, If, Load, Program, Store
from harness.compiler.pipeline import random_inputs
from harness.dtypes import Vec

FAR = 1 << 40
M = TypeVar("M", bound=_Interpreter)


def sequential(block: Block) -> Block:
    """No loop is parallel: the interpreter runs one iteration after the other."""
    result = []
    for s in block:
        if isinstance(s, For):
            s = replace(s, parallel=False, body=sequential(s.body))
        elif isinstance(s, If):
            s = If(s.cond, sequential(s.then), sequential(s.orelse))
        result.append(s)
    return tuple(result)


@dataclass
class Extremes:
    """Of one output and one input: the differences of addresses between which some value is lost."""

    low: int = FAR
    high: int = -FAR


class Tracer(_Interpreter):
    """Notes every byte that is stored and, of every byte that is read, which were stored before."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.stored: dict[Buffer, tuple[int, int]] = {}
        self.extremes: dict[tuple[str, str], Extremes] = {}

    def load(self, node: Load) -> Bounded:
        if node.buffer.space == "input":
            first, last = self.touched(node)
            for y, (low, high) in self.stored.items():
                found = self.extremes.setdefault((y.name, node.buffer.name), Extremes())
                found.low = min(found.low, first - high - 1)
                found.high = max(found.high, last - low + 1)
        return super().load(node)

    def store(self, s: Store) -> None:
        super().store(s)
        if s.buffer.space == "output":
            first, last = self.touched(s)
            low, high = self.stored.get(s.buffer, (FAR, -FAR))
            self.stored[s.buffer] = (min(low, first), max(high, last))

    def touched(self, node: Load | Store) -> tuple[int, int]:
        lanes = node.lanes if isinstance(node, Load) else node.value.dtype
        vector = lanes if isinstance(lanes, Vec) and lanes != node.buffer.dtype else None
        flat, live = self.place(node.buffer, node.index, vector, node.active, node.apart)
        flat = np.atleast_1d(flat)
        if live is not None:
            flat = flat[np.broadcast_to(live, flat.shape)]
        width = node.buffer.element.bytes
        return int(flat.min()) * width, int(flat.max()) * width + width - 1


def extremes(program: Program) -> dict[tuple[str, str], Extremes]:
    """What `harness.compiler.overlap.gaps` bounds, found by looking at every access."""
    tracer = _loaded(Tracer(program), program)
    tracer.block(sequential(program.body))
    return tracer.extremes


@dataclass
class Arena:
    """Bytes in which buffers lie where a plan put them."""

    memory: np.ndarray
    offsets: dict[Buffer, int] = field(default_factory=dict)

    def view(self, buffer: Buffer) -> np.ndarray:
        at = self.offsets[buffer]
        return self.memory[at : at + buffer.elements * buffer.element.bytes].view(buffer.element.np)


class InArena(_Interpreter):
    """Reads inputs from, and writes outputs to, one array of bytes: what lies over another is lost."""

    def __init__(self, program: Program, arena: Arena) -> None:
        super().__init__(program)
        self.arena = arena

    def load(self, node: Load) -> Bounded:
        if node.buffer in self.arena.offsets:
            memory = self.memory[node.buffer]
            kind, element = memory.data.dtype, node.buffer.element
            memory.data = self.arena.view(node.buffer).astype(kind)
            memory.low, memory.high = element.min, element.max
        return super().load(node)

    def store(self, s: Store) -> None:
        if s.buffer in self.arena.offsets:
            memory = self.memory[s.buffer]
            memory.data = self.arena.view(s.buffer).astype(memory.data.dtype)
            super().store(s)
            self.arena.view(s.buffer)[...] = memory.data.astype(s.buffer.element.np)
        else:
            super().store(s)


def run_in_arena(program: Program, difference: int) -> dict[str, np.ndarray]:
    """The outputs of a program of one input and one output that lies `difference` bytes above it."""
    (x,), (y,) = program.of_space("input"), program.of_space("output")
    sizes = [b.elements * b.element.bytes for b in (x, y)]
    low = max(0, -difference)
    arena = Arena(np.zeros(sum(sizes) + abs(difference), np.uint8), {x: low, y: low + difference})
    machine = _loaded(InArena(program, arena), program)
    arena.view(x)[...] = random_inputs(program)[x.name].reshape(-1)
    machine.block(sequential(program.body))
    return {y.name: arena.view(y).reshape(y.shape).copy()}


def _loaded(machine: M, program: Program) -> M:
    inputs = random_inputs(program)
    for buffer in program.buffers:
        if buffer.space == "output":
            machine.memory[buffer] = Memory.blank(buffer)
        else:
            data = buffer.data if buffer.space == "const" else inputs[buffer.name]
            assert data is not None
            machine.memory[buffer] = Memory.of(buffer, data)
    return machine
