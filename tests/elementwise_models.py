"""The operators of `tests.models.Net` that compute each element for itself, or from one of each operand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.bare_net import BareNet, TensorIndex, fused
from tests.tflite_writer import OptionsSpec


class Elementwise(BareNet):
    """Each method adds one operator and gives the tensor index of its output."""

    def add(
        self, a: TensorIndex, b: TensorIndex, *, activation: str = "NONE", quant: tuple[float, int] | None = None
    ) -> TensorIndex:
        """Sum with broadcasting; a == b is legal."""
        scale = 1.2 * (self._quant(a)[0] + self._quant(b)[0]) / 2
        return self._binary("ADD", a, b, quant or (scale, self._zero_point()), "AddOptions", fused(activation))

    def sub(
        self, a: TensorIndex, b: TensorIndex, *, activation: str = "NONE", quant: tuple[float, int] | None = None
    ) -> TensorIndex:
        """Difference with broadcasting."""
        scale = 1.2 * (self._quant(a)[0] + self._quant(b)[0]) / 2
        return self._binary("SUB", a, b, quant or (scale, self._zero_point()), "SubOptions", fused(activation))

    def mul(
        self, a: TensorIndex, b: TensorIndex, *, activation: str = "NONE", quant: tuple[float, int] | None = None
    ) -> TensorIndex:
        """Product with broadcasting."""
        scale = 40 * self._scale(0.5, 2) * self._quant(a)[0] * self._quant(b)[0]
        return self._binary("MUL", a, b, quant or (scale, self._zero_point()), "MulOptions", fused(activation))

    def minimum(self, a: TensorIndex, b: TensorIndex, *, quant: tuple[float, int] | None = None) -> TensorIndex:
        """The smaller element of each pair, with broadcasting."""
        return self._binary("MINIMUM", a, b, quant or self._quant(a), "MaximumMinimumOptions", {})

    def maximum(self, a: TensorIndex, b: TensorIndex, *, quant: tuple[float, int] | None = None) -> TensorIndex:
        """The larger element of each pair, with broadcasting."""
        return self._binary("MAXIMUM", a, b, quant or self._quant(a), "MaximumMinimumOptions", {})

    def relu(self, x: TensorIndex, *, quant: tuple[float, int] | None = None) -> TensorIndex:
        return self._unary("RELU", x, quant)

    def relu6(self, x: TensorIndex, *, quant: tuple[float, int] | None = None) -> TensorIndex:
        return self._unary("RELU6", x, quant)

    def relu_n1_to_1(self, x: TensorIndex, *, quant: tuple[float, int] | None = None) -> TensorIndex:
        return self._unary("RELU_N1_TO_1", x, quant)

    def leaky_relu(self, x: TensorIndex, *, alpha: float = 0.2, quant: tuple[float, int] | None = None) -> TensorIndex:
        return self._unary("LEAKY_RELU", x, quant, OptionsSpec("LeakyReluOptions", {"Alpha": alpha}))

    def logistic(self, x: TensorIndex, *, quant: tuple[float, int] = (1 / 256, -128)) -> TensorIndex:
        return self._unary("LOGISTIC", x, quant)

    def tanh(self, x: TensorIndex, *, quant: tuple[float, int] = (1 / 128, 0)) -> TensorIndex:
        return self._unary("TANH", x, quant)

    def hard_swish(self, x: TensorIndex, *, quant: tuple[float, int] | None = None) -> TensorIndex:
        return self._unary("HARD_SWISH", x, quant)

    def quantize(self, x: TensorIndex, *, quant: tuple[float, int] | None = None, to: str | None = None) -> TensorIndex:
        """To the type `to`, by default that of the net."""
        return self._unary("QUANTIZE", x, quant, dtype=to)

    def dequantize(self, x: TensorIndex) -> TensorIndex:
        return self._unary("DEQUANTIZE", x, None, dtype="float32")

    def _unary(
        self,
        kind: str,
        x: TensorIndex,
        quant: tuple[float, int] | None,
        options: OptionsSpec | None = None,
        dtype: str | None = None,
    ) -> TensorIndex:
        quant = quant or (self._quant(x)[0] * self._scale(0.6, 1.3), self._zero_point())
        return self._operator(kind, (x,), self.shape(x), quant, options, dtype)

    def _binary(
        self,
        kind: str,
        a: TensorIndex,
        b: TensorIndex,
        quant: tuple[float, int],
        options: str,
        values: Mapping[str, Any],
    ) -> TensorIndex:
        out = np.broadcast_shapes(self.shape(a), self.shape(b))
        return self._operator(kind, (a, b), out, quant, OptionsSpec(options, values))
