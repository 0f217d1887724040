"""Writes TFLite files from plain dataclasses and checks nothing: a malformed model is as easy to write as a good one.

A test builds or takes a `ModelSpec`, spoils one field with `dataclasses.replace`, and packs it. The dataclasses follow
the tables of TFLite's schema by name; what a field leaves as None is absent from the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite


@dataclass(frozen=True)
class QuantSpec:
    """Affine quantisation as the file holds it; an empty tuple leaves the vector out."""

    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    details_type: int = 0  # tflite.QuantizationDetails; anything but NONE points at an empty custom table


@dataclass(frozen=True)
class TensorSpec:
    name: str | bytes | None
    shape: tuple[int, ...] | None
    type: int = tflite.TensorType.INT8
    buffer: int = 0
    quant: QuantSpec | None = None
    is_variable: bool = False
    sparse: bool = False
    shape_signature: tuple[int, ...] | None = None


@dataclass(frozen=True)
class OptionsSpec:
    """A builtin options table: `OptionsSpec("Pool2DOptions", {"StrideW": 2})`. Values: int, float, bool or int list."""

    table: str
    values: Mapping[str, Any] = field(default_factory=dict)
    type: int | None = None  # tag of the union; None: the one that belongs to `table`


@dataclass(frozen=True)
class OperatorSpec:
    opcode: int  # index in ModelSpec.opcodes
    inputs: tuple[int, ...] | None
    outputs: tuple[int, ...] | None
    options: OptionsSpec | None = None
    large_custom_options: tuple[int, int] | None = None  # offset and size outside the flatbuffer


@dataclass(frozen=True)
class OpcodeSpec:
    builtin: int  # tflite.BuiltinOperator
    version: int = 1
    custom: str | None = None
    deprecated: int | None = None  # None: what a converter writes, min(builtin, 127)


@dataclass(frozen=True)
class BufferSpec:
    data: bytes | None = None  # None: no data vector
    external: tuple[int, int] | None = None  # offset and size outside the flatbuffer


@dataclass(frozen=True)
class SubGraphSpec:
    tensors: tuple[TensorSpec, ...]
    inputs: tuple[int, ...] | None
    outputs: tuple[int, ...] | None
    operators: tuple[OperatorSpec, ...]
    name: str = "main"


@dataclass(frozen=True)
class ModelSpec:
    subgraphs: tuple[SubGraphSpec, ...]
    opcodes: tuple[OpcodeSpec, ...]
    buffers: tuple[BufferSpec, ...]
    version: int = 3
    identifier: bytes = b"TFL3"
    description: str = "layerproof test model"

    @property
    def main(self) -> SubGraphSpec:
        return self.subgraphs[0]

    def pack(self) -> bytes:
        """The bytes of the file."""
        return _Packer().model(self)


class _Packer:
    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(4096)

    def table(self, name: str, values: Mapping[str, Any]) -> int:
        """Writes one table; offsets and scalars alike are passed to the generated Add functions, None is left out."""
        getattr(tflite, f"{name}Start")(self.builder)
        for key, value in values.items():
            if value is not None:
                getattr(tflite, f"{name}Add{key}")(self.builder, value)
        return int(getattr(tflite, f"{name}End")(self.builder))

    def numbers(self, values: Sequence[float] | None, dtype: Any) -> int | None:
        return None if values is None else int(self.builder.CreateNumpyVector(np.array(values, dtype)))

    def offsets(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def string(self, text: str | bytes | None) -> int | None:
        return None if text is None else int(self.builder.CreateString(text))

    def data(self, data: bytes | None) -> int | None:
        if data is None:
            return None
        self.builder.StartVector(1, len(data), 16)  # the schema's force_align: kernels read weights in place
        self.builder.head = self.builder.head - len(data)
        self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
        return int(self.builder.EndVector())

    def model(self, spec: ModelSpec) -> bytes:
        values = {
            "Version": spec.version,
            "OperatorCodes": self.offsets([self.opcode(code) for code in spec.opcodes]),
            "Subgraphs": self.offsets([self.subgraph(graph) for graph in spec.subgraphs]),
            "Description": self.string(spec.description),
            "Buffers": self.offsets([self.buffer(buffer) for buffer in spec.buffers]),
        }
        self.builder.Finish(self.table("Model", values), file_identifier=spec.identifier)
        return bytes(self.builder.Output())

    def opcode(self, spec: OpcodeSpec) -> int:
        values = {
            "DeprecatedBuiltinCode": min(spec.builtin, 127) if spec.deprecated is None else spec.deprecated,
            "CustomCode": self.string(spec.custom),
            "Version": spec.version,
            "BuiltinCode": spec.builtin,
        }
        return self.table("OperatorCode", values)

    def buffer(self, spec: BufferSpec) -> int:
        offset, size = spec.external or (None, None)
        return self.table("Buffer", {"Data": self.data(spec.data), "Offset": offset, "Size": size})

    def subgraph(self, spec: SubGraphSpec) -> int:
        values = {
            "Tensors": self.offsets([self.tensor(tensor) for tensor in spec.tensors]),
            "Inputs": self.numbers(spec.inputs, np.int32),
            "Outputs": self.numbers(spec.outputs, np.int32),
            "Operators": self.offsets([self.operator(operator) for operator in spec.operators]),
            "Name": self.string(spec.name),
        }
        return self.table("SubGraph", values)

    def tensor(self, spec: TensorSpec) -> int:
        values = {
            "Shape": self.numbers(spec.shape, np.int32),
            "Type": spec.type,
            "Buffer": spec.buffer,
            "Name": self.string(spec.name),
            "Quantization": None if spec.quant is None else self.quantization(spec.quant),
            "IsVariable": spec.is_variable,
            "Sparsity": self.table("SparsityParameters", {}) if spec.sparse else None,
            "ShapeSignature": self.numbers(spec.shape_signature, np.int32),
        }
        return self.table("Tensor", values)

    def quantization(self, spec: QuantSpec) -> int:
        values = {
            "Scale": self.numbers(spec.scales or None, np.float32),
            "ZeroPoint": self.numbers(spec.zero_points or None, np.int64),
            "DetailsType": spec.details_type,
            "Details": self.table("CustomQuantization", {}) if spec.details_type else None,
            "QuantizedDimension": spec.axis,
        }
        return self.table("QuantizationParameters", values)

    def operator(self, spec: OperatorSpec) -> int:
        offset, size = spec.large_custom_options or (None, None)
        values = {
            "OpcodeIndex": spec.opcode,
            "Inputs": self.numbers(spec.inputs, np.int32),
            "Outputs": self.numbers(spec.outputs, np.int32),
            "LargeCustomOptionsOffset": offset,
            "LargeCustomOptionsSize": size,
        }
        if spec.options is not None:
            tag = getattr(tflite.BuiltinOptions, spec.options.table) if spec.options.type is None else spec.options.type
            values |= {"BuiltinOptionsType": tag, "BuiltinOptions": self.options(spec.options)}
        return self.table("Operator", values)

    def options(self, spec: OptionsSpec) -> int:
        values = {
            key: self.numbers(value, np.int32) if isinstance(value, (list, tuple)) else value
            for key, value in spec.values.items()
        }
        return self.table(spec.table, values)
