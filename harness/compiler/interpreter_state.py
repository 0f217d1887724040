"""What the interpreter remembers while it runs: memory, registers, and the parallel loops in progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.compiler.loops import Buffer

# A Python int, or an int64, float32 or bool array whose leading axes are the parallel loops, inner first. A vector has
# its own lanes as one more axis, the last.
Value = Any


@dataclass
class Memory:
    data: np.ndarray  # flat; int64 or float32
    written: np.ndarray

    @classmethod
    def blank(cls, buffer: Buffer) -> Memory:
        kind = np.int64 if buffer.dtype.is_integer else np.float32
        return cls(np.zeros(buffer.elements, kind), np.zeros(buffer.elements, bool))

    @classmethod
    def of(cls, buffer: Buffer, data: np.ndarray) -> Memory:
        kind = np.int64 if buffer.dtype.is_integer else np.float32
        return cls(np.ascontiguousarray(data).reshape(-1).astype(kind), np.ones(buffer.elements, bool))


@dataclass
class Register:
    lanes: tuple[int, ...]  # shape of the lanes at the place of its Alloc
    values: dict[tuple[int, ...], Value] = field(default_factory=dict)


@dataclass
class Axis:
    """One parallel loop in progress."""

    var: str
    iteration: np.ndarray  # number of the iteration along this axis, shaped to broadcast
    depth: int  # how many axes were open before it
    owner: dict[Buffer, np.ndarray] = field(default_factory=dict)  # which iteration wrote an element, -1 none
