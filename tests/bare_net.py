"""What all nets of `tests.models` are made of: tensors with their quantisation, and operators that join them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite

from tests.tflite_writer import (
    BufferSpec,
    ModelSpec,
    OpcodeSpec,
    OperatorSpec,
    OptionsSpec,
    QuantSpec,
    SubGraphSpec,
    TensorSpec,
)

TensorIndex = int

_TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "int8": tflite.TensorType.INT8,
    "uint8": tflite.TensorType.UINT8,
    "int32": tflite.TensorType.INT32,
}
_INT8_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2}
_INT8_VERSIONS |= dict.fromkeys(("SOFTMAX", "ADD", "SUB", "MUL", "MINIMUM", "MAXIMUM"), 2)
_INT8_VERSIONS |= dict.fromkeys(
    ("RELU", "RELU6", "LEAKY_RELU", "LOGISTIC", "TANH", "QUANTIZE", "DEQUANTIZE", "MEAN"), 2
)


class BareNet:
    """A model under construction, as yet without methods for operators. What none of them reads is an output of it."""

    def __init__(self, seed: int = 0, dtype: str = "int8") -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype
        self.tensors: list[TensorSpec] = []
        self.buffers: list[BufferSpec] = [BufferSpec()]  # buffer 0 is empty by convention
        self.opcodes: list[OpcodeSpec] = []
        self.operators: list[OperatorSpec] = []
        self.inputs: list[TensorIndex] = []

    @property
    def spec(self) -> ModelSpec:
        read = {index for operator in self.operators for index in operator.inputs or ()}
        written = [index for operator in self.operators for index in operator.outputs or ()]
        outputs = tuple(index for index in written if index not in read)
        graph = SubGraphSpec(tuple(self.tensors), tuple(self.inputs), outputs, tuple(self.operators))
        return ModelSpec((graph,), tuple(self.opcodes), tuple(self.buffers))

    def build(self) -> bytes:
        return self.spec.pack()

    def shape(self, tensor: TensorIndex) -> tuple[int, ...]:
        shape = self.tensors[tensor].shape
        assert shape is not None
        return shape

    def input(
        self, shape: tuple[int, ...], *, name: str = "input", quant: tuple[float, int] | None = None
    ) -> TensorIndex:
        index = self._variable(name, shape, quant or (self._scale(0.02, 0.06), self._zero_point()))
        self.inputs.append(index)
        return index

    def constant(self, data: np.ndarray, *, name: str, quant: QuantSpec | None = None) -> TensorIndex:
        self.buffers.append(BufferSpec(data.tobytes()))
        spec = TensorSpec(name, data.shape, _TYPES[data.dtype.name], len(self.buffers) - 1, quant)
        self.tensors.append(spec)
        return len(self.tensors) - 1

    def _variable(
        self, name: str, shape: tuple[int, ...], quant: tuple[float, int], dtype: str | None = None
    ) -> TensorIndex:
        scale, zero_point = quant
        dtype = dtype or self.dtype
        quantised = dtype in ("int8", "uint8")
        spec = QuantSpec((float(np.float32(scale)),), (zero_point,)) if quantised else None
        self.tensors.append(TensorSpec(name, tuple(shape), _TYPES[dtype], 0, spec))
        return len(self.tensors) - 1

    def _quant(self, tensor: TensorIndex) -> tuple[float, int]:
        quant = self.tensors[tensor].quant
        return (quant.scales[0], quant.zero_points[0]) if quant else (1.0, 0)

    def _scale(self, low: float, high: float) -> float:
        return float(np.float32(self.rng.uniform(low, high)))

    def _zero_point(self) -> int:
        return int(self.rng.integers(-40, 41))

    def _operator(
        self,
        kind: str,
        inputs: tuple[TensorIndex, ...],
        shape: tuple[int, ...],
        quant: tuple[float, int],
        options: OptionsSpec | None,
        dtype: str | None = None,
    ) -> TensorIndex:
        (output,) = self._operators(kind, inputs, [shape], quant, options, dtype)
        return output

    def _operators(
        self,
        kind: str,
        inputs: tuple[TensorIndex, ...],
        shapes: Sequence[tuple[int, ...]],
        quant: tuple[float, int],
        options: OptionsSpec | None,
        dtype: str | None = None,
    ) -> tuple[TensorIndex, ...]:
        """An operator with an output of each of `shapes`, all of one quantisation."""
        version = 1 if self.dtype == "float32" else _INT8_VERSIONS.get(kind, 1)
        code = OpcodeSpec(getattr(tflite.BuiltinOperator, kind), version)
        if code not in self.opcodes:
            self.opcodes.append(code)
        name = f"{kind.lower()}_{len(self.operators)}"
        outputs = tuple(
            self._variable(f"{name}_{n}" if len(shapes) > 1 else name, shape, quant, dtype)
            for n, shape in enumerate(shapes)
        )
        self.operators.append(OperatorSpec(self.opcodes.index(code), inputs, outputs, options))
        return outputs


def fused(activation: str) -> dict[str, Any]:
    """The option of an operator with an activation at its end: a name of tflite.ActivationFunctionType."""
    return {"FusedActivationFunction": getattr(tflite.ActivationFunctionType, activation)}
