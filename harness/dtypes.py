"""The one table of element types: what they are called in a model, in numpy and in C."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

_NumpyDType = np.dtype  # inside the class below, `np` is a property


class DType(Enum):
    """Element type of a tensor or of a value in a loop program. The enum's value is numpy's name of it."""

    I8 = "int8"
    U8 = "uint8"
    I16 = "int16"
    U16 = "uint16"
    I32 = "int32"
    U32 = "uint32"
    I64 = "int64"
    F32 = "float32"
    BOOL = "bool"

    # Plain attributes, from the table below: everything asks for them all the time.
    np: _NumpyDType
    c: str  # C11 type from <stdint.h>, or float
    bytes: int
    is_integer: bool
    min: int  # smallest and largest value of an integer type
    max: int
    __hash__ = object.__hash__  # a member is equal to itself alone; hashing its name took a tenth of all compiling

    @classmethod
    def of(cls, dtype: _NumpyDType | type) -> DType:
        return cls(_NumpyDType(dtype).name)


@dataclass(frozen=True)
class Vec:
    """Several lanes of one element type, held by one register of the core: `Vec(DType.I16, 2)` is a core register.

    What it says of range and element is its element's, so that code about values needs not care.
    """

    element: DType
    lanes: int

    @property
    def value(self) -> str:
        return f"{self.element.value}x{self.lanes}"

    @property
    def bytes(self) -> int:
        """Of the whole register."""
        return self.element.bytes * self.lanes

    @property
    def c(self) -> str:
        """uint32_t for what a core register holds, the type of <arm_mve.h> for what a vector register does."""
        if self.bytes == 4:
            return "uint32_t"
        return self.element.c.replace("_t", f"x{self.lanes}_t")

    @property
    def is_integer(self) -> bool:
        return self.element.is_integer

    @property
    def min(self) -> int:
        return self.element.min

    @property
    def max(self) -> int:
        return self.element.max


Type = DType | Vec

_TABLE = {
    DType.I8: ("int8_t", 1, True, -(1 << 7), (1 << 7) - 1),
    DType.U8: ("uint8_t", 1, True, 0, (1 << 8) - 1),
    DType.I16: ("int16_t", 2, True, -(1 << 15), (1 << 15) - 1),
    DType.U16: ("uint16_t", 2, True, 0, (1 << 16) - 1),
    DType.I32: ("int32_t", 4, True, -(1 << 31), (1 << 31) - 1),
    DType.U32: ("uint32_t", 4, True, 0, (1 << 32) - 1),
    DType.I64: ("int64_t", 8, True, -(1 << 63), (1 << 63) - 1),
    DType.F32: ("float", 4, False, 0, 0),
    DType.BOOL: ("bool", 1, True, 0, 1),
}
for _dtype, _row in _TABLE.items():
    _dtype.np = _NumpyDType(_dtype.value)
    _dtype.c, _dtype.bytes, _dtype.is_integer, _dtype.min, _dtype.max = _row
