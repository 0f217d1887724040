"""Registers and arrays of them: every lane at the place of an Alloc has its own.

What is read was written before, in every lane that runs. An element of an array has one number for all lanes; where
serial loops run as axes of their own (`along`), one for each of their iterations.
"""

from __future__ import annotations

from math import prod

import numpy as np

from harness.compiler.interpreter_arithmetic import Bounded
from harness.compiler.interpreter_state import Register, RegisterArray, Value
from harness.compiler.interpreter_values import Evaluator, over_lanes
from harness.compiler.loops import Buffer, Expr, Load, Store
from harness.dtypes import Type, Vec


class Machine(Evaluator):
    """An evaluator with registers.

    `along` has the numbers of iterations of the serial loops that run as the first axes, inner loops first.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.registers: dict[Buffer, Register] = {}
        self.arrays: dict[Buffer, RegisterArray] = {}
        self.along: tuple[int, ...] = ()

    def allocate(self, buffer: Buffer) -> None:
        if buffer.shape:
            self.arrays[buffer] = RegisterArray.blank(buffer, self.lanes)
        else:
            self.registers[buffer] = Register.blank(buffer, self.lanes)

    def lanes_of(self, buffer: Buffer) -> tuple[int, ...] | None:
        """Those at the place of a register's Alloc; None where there was none."""
        held = self.arrays.get(buffer) if buffer.shape else self.registers.get(buffer)
        return None if held is None else held.lanes

    def load_register(self, node: Load) -> Bounded:
        buffer = node.buffer
        if node.lanes is not None:
            return self.load_lanes(node, node.lanes)
        at = self.register_place(buffer, node.index)
        if not buffer.shape:
            register = self.registers.get(buffer)
            if register is None or not (register.written is True or self.everywhere(register.written, self.mask)):
                raise self.broken("a register read before it is written", node)
            return Bounded(register.value, register.low, register.high)
        array = self.array_of(buffer, at, np.shape(at), node)
        value: Value = array.values[at]
        if not isinstance(at, int):
            value = self.beside(at.shape, value, isinstance(buffer.dtype, Vec))
        elif isinstance(value, np.ndarray):
            value = value.copy()  # the element may be overwritten
        elif buffer.dtype.is_integer:
            value = value.item()
        return Bounded(value, array.low, array.high)

    def load_lanes(self, node: Load, lanes: Vec) -> Bounded:
        """A vector from a register array."""
        count = self.active(lanes, node.active)
        at = self.register_place(node.buffer, node.index, (count - 1) * node.apart + 1)
        along = np.shape(at)
        every = over_lanes(at, lanes) + np.arange(count) * node.apart
        array = self.array_of(node.buffer, every, along, node)
        value = _last(array.values[every], len(along))
        if count < lanes.lanes:
            value = np.pad(value, [(0, 0)] * (value.ndim - 1) + [(0, lanes.lanes - count)])
        return Bounded(self.beside(along, value, True) if along else value, array.low, array.high)

    def array_of(self, buffer: Buffer, at: Value, along: tuple[int, ...], node: object) -> RegisterArray:
        """The array of registers, once what lies `at` these places is found written in every lane that runs."""
        array = self.arrays.get(buffer)
        if array is not None:
            written = array.written[at]
            if written.all():
                return array
            if np.ndim(at) > len(along):
                written = written.all(axis=len(along))
            if self.everywhere(self.beside(along, written, False) if along else written, self.mask):
                return array
        raise self.broken("a register read before it is written", node)

    def beside(self, along: tuple[int, ...], value: np.ndarray, vectors: bool) -> np.ndarray:
        """What was held by lanes outside, one for each iteration `along`, shaped to lie beside values of all lanes."""
        missing = len(self.lanes) + vectors - value.ndim
        return value.reshape(*along, *(1,) * missing, *value.shape[len(along) :])

    def store_register(self, s: Store, given: Bounded) -> None:
        buffer = s.buffer
        held = self.lanes_of(buffer)
        if held is None:
            raise self.broken("a register outside its block", s)
        if held != self.lanes:
            raise self.broken("a register written by several iterations of a parallel loop", s)
        lanes = s.value.dtype if s.value.dtype != buffer.dtype else None
        if isinstance(lanes, Vec):
            self.store_lanes(s, lanes, given)
            return
        at = self.register_place(buffer, s.index)
        if buffer.shape:
            self.keep_elements(buffer, at, given)
        else:
            self.keep(self.registers[buffer], given, buffer.dtype)

    def store_lanes(self, s: Store, lanes: Vec, given: Bounded) -> None:
        """A vector into a register array."""
        if not s.buffer.shape:
            raise self.broken("a vector in a register by itself", s)
        count = self.active(lanes, s.active)
        at = self.register_place(s.buffer, s.index, (count - 1) * s.apart + 1)
        taking_part = np.broadcast_to(given.value, (*self.lanes, lanes.lanes))[..., :count]
        given = self.narrowed(s, lanes, given._replace(value=taking_part))
        parts = np.moveaxis(given.value, -1, 0)
        self.keep_elements(s.buffer, at + np.arange(count) * s.apart, given._replace(value=parts))

    def keep(self, register: Register, given: Bounded, dtype: Type) -> None:
        """Writes a register in the lanes that run."""
        mask = self.mask
        if mask is None:
            register.value, register.low, register.high = given
            register.written = True
            return
        over = mask[..., None] if isinstance(dtype, Vec) else mask
        register.value = np.where(over, given.value, register.value)
        register.low, register.high = min(given.low, register.low), max(given.high, register.high)
        if register.written is not True:
            register.written = register.written | mask

    def keep_elements(self, buffer: Buffer, at: Value, given: Bounded, mask: np.ndarray | None = None) -> None:
        """Writes an element in the lanes that run, or in those of `mask`; or elements, with one for each in front."""
        array = self.arrays[buffer]
        mask = self.mask if mask is None else mask
        array.low, array.high = min(array.low, given.low), max(array.high, given.high)
        if mask is None:
            array.values[at] = given.value
            array.written[at] = True
            return
        over = mask[..., None] if isinstance(buffer.dtype, Vec) else mask
        array.values[at] = np.where(over, given.value, array.values[at])
        array.written[at] |= mask

    def narrowed(self, s: Store, lanes: Vec, given: Bounded) -> Bounded:
        """The elements that a store makes of a vector's lanes."""
        return self.checked(given, Vec(s.buffer.element, lanes.lanes), s) if lanes.is_integer else given

    def active(self, lanes: Vec, active: Expr | None) -> int:
        """How many lanes of a vector in a register array take part."""
        count = lanes.lanes if active is None else self.eval(active)
        if not isinstance(count, int):
            raise self.broken("a part of a register array that differs between lanes", active)
        return min(count, lanes.lanes)

    def register_place(self, buffer: Buffer, index: tuple[Expr, ...], span: int = 1) -> Value:
        """The number of the one element that all lanes mean, `span` elements from which lie in the last dimension.

        Where it differs along the iterations of a loop, an array (*along) of them.
        """
        shape = buffer.shape
        if len(index) != len(shape):
            raise self.broken(f"{len(index)} indices for register {buffer.name}{list(shape)}", index)
        flat: Value = 0
        at = Bounded(0)
        for node, size in zip(index, shape, strict=True):
            at = self.bounded(node)
            value = at.value
            if not isinstance(value, int):
                iterations = np.shape(value)[: len(self.along)]
                deep = np.ndim(value) == len(self.lanes) and value.size == prod(iterations)
                if not self.along or not deep or len(self.lanes_of(buffer) or ()) > np.ndim(value) - len(self.along):
                    raise self.broken(f"register {buffer.name} needs an index that is the same in all lanes", index)
                value = value.reshape(iterations)
            if not (at.low >= 0 and at.high < size) and not bool(np.all((value >= 0) & (value < size))):
                raise self.broken(f"index outside {buffer.name}{list(shape)}", index)
            flat = flat * size + value
        leaves = span > 1 and (not shape or (at.high + span > shape[-1] and np.max(at.value) + span > shape[-1]))
        if leaves:
            raise self.broken(f"a vector that leaves the last dimension of {buffer.name}{list(shape)}", index)
        return flat


def _last(value: np.ndarray, axis: int) -> np.ndarray:
    """`value` with one of its axes moved to the end."""
    axes = range(value.ndim)
    return value.transpose(*axes[:axis], *axes[axis + 1 :], axis)
