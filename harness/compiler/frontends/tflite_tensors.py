"""Tensors of a TFLite file: type, shape, quantisation and constant data, each checked against the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tflite

from harness.compiler.graph import Quant, Tensor
from harness.dtypes import DType
from harness.errors import ModelError

MAX_RANK = 8
MAX_TENSOR_BYTES = 1 << 28  # far above any microcontroller, far below what would hurt the machine that compiles
MAX_TOTAL_BYTES = 1 << 30  # of all tensors together: many tensors may claim one buffer

_TYPE_NAMES = {value: name for name, value in vars(tflite.TensorType).items() if isinstance(value, int)}
_DTYPES = {
    tflite.TensorType.INT8: DType.I8,
    tflite.TensorType.UINT8: DType.U8,
    tflite.TensorType.INT16: DType.I16,
    tflite.TensorType.UINT16: DType.U16,
    tflite.TensorType.INT32: DType.I32,
    tflite.TensorType.UINT32: DType.U32,
    tflite.TensorType.INT64: DType.I64,
    tflite.TensorType.FLOAT32: DType.F32,
    tflite.TensorType.BOOL: DType.BOOL,
}


def printable(name: bytes | None) -> str:
    """A name as text that any UTF-8 stream takes: bytes that are not UTF-8 become `\\xNN`. It still needs escaping
    before it reaches C, HTML, a shell or a path."""
    return (name or b"").decode("utf-8", "backslashreplace")


def describe(index: int, name: str) -> str:
    """A tensor for an error message: on one line, quoted, with control characters escaped."""
    return f"tensor {index} {name if len(name) <= 80 else name[:77] + '...'!r}"


def as_list(vector: Any) -> list[Any]:
    """The elements of a scalar vector; the accessors of the `tflite` package give 0 for an absent one."""
    return [] if isinstance(vector, int) else list(vector.tolist())


def read_tensors(model: tflite.Model, subgraph: tflite.SubGraph, where: str) -> tuple[Tensor, ...]:
    """All tensors of a verified subgraph, in file order. Constant data are read-only views of the file.

    Raises `ModelError` for what does not fit together; the message starts with `where`.
    """
    tensors = []
    total = 0
    for index in range(subgraph.TensorsLength()):
        table = subgraph.Tensors(index)
        name = printable(table.Name())
        tensor = _Reader(model, table, f"{where}, {describe(index, name)}").read(name)
        total += tensor.bytes
        if total > MAX_TOTAL_BYTES:
            raise ModelError(f"the tensors up to {index} take {total} bytes, more than {MAX_TOTAL_BYTES}", where=where)
        tensors.append(tensor)
    return tuple(tensors)


class _Reader:
    def __init__(self, model: tflite.Model, table: tflite.Tensor, where: str) -> None:
        self.model = model
        self.table = table
        self.where = where

    def error(self, what: str, hint: str = "") -> ModelError:
        return ModelError(what, where=self.where, hint=hint)

    def read(self, name: str) -> Tensor:
        if self.table.IsVariable():
            raise self.error("is a variable: state kept from one inference to the next is not supported")
        if self.table.Sparsity() is not None:
            raise self.error("is sparse, which is not supported", "Export the model with dense weights.")
        dtype = self.dtype()
        shape = self.shape(dtype)
        data = self.data(dtype, shape)
        quant = self.quant(dtype, shape)
        return Tensor(name, shape, dtype, quant, data)

    def dtype(self) -> DType:
        code = self.table.Type()
        if code not in _DTYPES:
            supported = ", ".join(sorted(dtype.value for dtype in _DTYPES.values()))
            raise self.error(f"unsupported type {_TYPE_NAMES.get(code, code)}", f"Types that can be read: {supported}.")
        return _DTYPES[code]

    def shape(self, dtype: DType) -> tuple[int, ...]:
        if self.table.ShapeLength() > MAX_RANK:
            raise self.error(f"has {self.table.ShapeLength()} dimensions; at most {MAX_RANK} are supported")
        shape = tuple(as_list(self.table.ShapeAsNumpy()))
        if any(extent < 1 for extent in shape):
            raise self.error(f"impossible shape {shape}", "Export the model with every dimension fixed and positive.")
        if math.prod(shape) * dtype.bytes > MAX_TENSOR_BYTES:
            raise self.error(f"shape {shape} of {dtype.value} takes more than {MAX_TENSOR_BYTES} bytes")
        return shape

    def data(self, dtype: DType, shape: tuple[int, ...]) -> np.ndarray | None:
        index = self.table.Buffer()
        if index >= self.model.BuffersLength():
            raise self.error(f"refers to buffer {index} of {self.model.BuffersLength()}")
        buffer = self.model.Buffers(index)
        if buffer.Offset() > 1 or buffer.Size() > 1:  # 0 and 1 mark a buffer that lies in the flatbuffer
            raise self.error(
                f"its data lie outside the flatbuffer, at byte {buffer.Offset()}",
                "Files over 2 GB are written that way; such a model is too large for a microcontroller.",
            )
        if buffer.DataLength() == 0:
            return None
        wanted = math.prod(shape) * dtype.bytes
        if buffer.DataLength() != wanted:
            held = f"buffer {index} holds {buffer.DataLength()} bytes"
            raise self.error(f"shape {shape} of {dtype.value} takes {wanted} bytes, but {held}")
        raw: np.ndarray = buffer.DataAsNumpy()
        data = raw.view(dtype.np.newbyteorder("<")).reshape(shape)
        data = np.require(data, dtype.np, ["C", "A"])  # copies only what the file holds unaligned
        data.flags.writeable = False
        if dtype is DType.F32 and not np.isfinite(data).all():
            position = tuple(int(i) for i in np.argwhere(~np.isfinite(data))[0])
            raise self.error(f"element {position} is {data[position]}, which is not a finite number")
        return data

    def quant(self, dtype: DType, shape: tuple[int, ...]) -> Quant | None:
        table = self.table.Quantization()
        if table is None or dtype is DType.F32:  # converters leave calibration ranges behind in float tensors
            return None
        if table.DetailsType() != tflite.QuantizationDetails.NONE:
            raise self.error(f"quantisation of kind {table.DetailsType()} is not supported; only affine is")
        scales = as_list(table.ScaleAsNumpy())
        zero_points = as_list(table.ZeroPointAsNumpy())
        if not scales:
            return None
        if len(zero_points) != len(scales):
            raise self.error(f"has {len(scales)} scales but {len(zero_points)} zero points")
        for scale in scales:
            if not (math.isfinite(scale) and scale > 0):
                raise self.error(f"scale {scale} is not a positive number")
        for zero_point in zero_points:
            if not dtype.min <= zero_point <= dtype.max:
                raise self.error(f"zero point {zero_point} is not an {dtype.value}")
        if len(scales) == 1:
            return Quant(tuple(scales), tuple(zero_points))
        axis = table.QuantizedDimension()
        if not 0 <= axis < len(shape) or shape[axis] != len(scales):
            raise self.error(f"{len(scales)} scales along dimension {axis} do not fit shape {shape}")
        return Quant(tuple(scales), tuple(zero_points), axis)
