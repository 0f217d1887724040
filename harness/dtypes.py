"""The one table of element types: what they are called in a model, in numpy and in C."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

_NumpyDType = np.dtype  # inside the class below, `np` is a property


@dataclass(frozen=True)
class _Info:
    c: str  # C11 type from <stdint.h>, or float
    bytes: int
    integer: bool


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

    @property
    def np(self) -> _NumpyDType:
        return _NumpyDType(self.value)

    @property
    def c(self) -> str:
        return _TABLE[self].c

    @property
    def bytes(self) -> int:
        return _TABLE[self].bytes

    @property
    def is_integer(self) -> bool:
        return _TABLE[self].integer

    @property
    def min(self) -> int:
        """Smallest value of an integer type."""
        return 0 if self is DType.BOOL else int(np.iinfo(self.np).min)

    @property
    def max(self) -> int:
        """Largest value of an integer type."""
        return 1 if self is DType.BOOL else int(np.iinfo(self.np).max)

    @classmethod
    def of(cls, dtype: _NumpyDType | type) -> DType:
        return cls(_NumpyDType(dtype).name)


_TABLE = {
    DType.I8: _Info("int8_t", 1, True),
    DType.U8: _Info("uint8_t", 1, True),
    DType.I16: _Info("int16_t", 2, True),
    DType.U16: _Info("uint16_t", 2, True),
    DType.I32: _Info("int32_t", 4, True),
    DType.U32: _Info("uint32_t", 4, True),
    DType.I64: _Info("int64_t", 8, True),
    DType.F32: _Info("float", 4, False),
    DType.BOOL: _Info("bool", 1, True),
}
