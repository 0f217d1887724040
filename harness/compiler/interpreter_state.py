"""What the interpreter remembers while it runs: memory, registers, and the parallel loops in progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.compiler.loops import Buffer
from harness.dtypes import DType, Type, Vec

# A Python int, or an int64, float32 or bool array whose leading axes are the parallel loops, inner first. A vector has
# its own lanes as one more axis, the last.
Value = Any


@dataclass
class Memory:
    data: np.ndarray  # flat; int64 or float32
    written: np.ndarray
    low: int  # bounds of integers
    high: int
    count: int = 0  # of elements that were written

    def claim(self, where: np.ndarray) -> bool:
        """Notes that elements are written; whether each was not before, and is there once."""
        before = self.count
        self.written[where] = True
        self.count = int(np.count_nonzero(self.written))
        return self.count - before == where.size

    @classmethod
    def blank(cls, buffer: Buffer) -> Memory:
        kind = np.int64 if buffer.dtype.is_integer else np.float32
        zeros = np.zeros(buffer.elements, kind)
        return cls(zeros, np.zeros(buffer.elements, bool), buffer.dtype.min, buffer.dtype.max)

    @classmethod
    def of(cls, buffer: Buffer, data: np.ndarray) -> Memory:
        flat = np.ascontiguousarray(data).reshape(-1)
        ones = np.ones(buffer.elements, bool)
        if not buffer.dtype.is_integer:
            return cls(flat.astype(np.float32), ones, 0, 0)
        return cls(flat.astype(np.int64), ones, int(flat.min()), int(flat.max()))


@dataclass
class Register:
    """A single value in every lane."""

    lanes: tuple[int, ...]  # shape of the lanes at the place of its Alloc
    value: Value  # the one it was given last
    written: Value = False  # in which lanes
    low: int = 0  # bounds of an integer, in every lane
    high: int = 0

    @classmethod
    def blank(cls, buffer: Buffer, lanes: tuple[int, ...]) -> Register:
        return cls(lanes, _kind(buffer.dtype)(0))


@dataclass
class RegisterArray:
    """Elements in every lane at the place of the Alloc, numbered from 0 on whatever the array's dimensions."""

    lanes: tuple[int, ...]
    values: np.ndarray  # (elements, *lanes), of vectors (elements, *lanes, lanes of a vector)
    written: np.ndarray  # (elements, *lanes)
    low: int = 0  # bounds of integers, in every lane of every element
    high: int = 0

    @classmethod
    def blank(cls, buffer: Buffer, lanes: tuple[int, ...]) -> RegisterArray:
        each = (*lanes, buffer.dtype.lanes) if isinstance(buffer.dtype, Vec) else lanes
        values = np.zeros((buffer.elements, *each), _kind(buffer.dtype))
        return cls(lanes, values, np.zeros((buffer.elements, *lanes), bool))


def _kind(dtype: Type) -> type[np.bool_ | np.int64 | np.float32]:
    """What numpy holds values of a dtype in."""
    return np.bool_ if dtype is DType.BOOL else np.int64 if dtype.is_integer else np.float32


@dataclass
class Axis:
    """One parallel loop in progress."""

    var: str
    iteration: np.ndarray  # number of the iteration along this axis, shaped to broadcast
    _owners: dict[Buffer, np.ndarray] = field(default_factory=dict)
    _waiting: dict[Buffer, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = field(default_factory=dict)

    def wrote(self, buffer: Buffer, where: np.ndarray, iterations: np.ndarray, live: np.ndarray) -> None:
        """Notes by lane which iteration wrote, and `where` those that are live did; few programs make anybody ask."""
        self._waiting.setdefault(buffer, []).append((where, iterations, live))

    def owners(self, buffer: Buffer, where: np.ndarray) -> np.ndarray:
        """Which iteration wrote the elements `where` last; -1: none."""
        if buffer not in self._owners:
            self._owners[buffer] = np.full(buffer.elements, -1, np.int64)
        for place, iterations, live in self._waiting.pop(buffer, ()):
            self._owners[buffer][place] = iterations[live]
        return self._owners[buffer][where]
