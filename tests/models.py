"""Makes tiny valid TFLite models with random weights, for any test that needs a model of a certain shape.

    conv2d((1, 8, 8, 3), (3, 3), 4, stride=(2, 2), activation="RELU", seed=7) -> bytes        one layer
    sequence((1, 8, 8, 3), [("conv2d", {"kernel": (3, 3), "out_channels": 4}), ("softmax", {})]) -> bytes     a chain
    net = Net(); x = net.input((1, 8)); net.add(x, net.fully_connected(x, 8)); net.build()                  a graph

All are deterministic in `seed`, load and run in tflite-runtime, and take `dtype="int8"` (the default) or `"float32"`.
int8 quantisation is chosen so that outputs use the whole range and some of them saturate. `Net.spec` is the model as
dataclasses of `tests.tflite_writer`, for tests that spoil it before packing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tflite

from tests.bare_net import TensorIndex, fused
from tests.elementwise_models import Elementwise
from tests.moving_models import Moving
from tests.tflite_writer import OptionsSpec, QuantSpec

Layers = Sequence[tuple[str, Mapping[str, Any]]]

_SIGMA = 3.0  # standard deviation of what a layer accumulates, in real numbers: RELU6 then clamps at two of them


class Net(Moving, Elementwise):
    """A model under construction. Each method adds one operator and gives the tensor index of its output.

    Operators: `activation` is a name of tflite.ActivationFunctionType, `padding` "SAME" or "VALID", pairs are (height,
    width). `quant=(scale, zero_point)` overrides the quantisation of an int8 output. What no operator reads is an
    output of the model.
    """

    def conv2d(
        self,
        x: TensorIndex,
        kernel: tuple[int, int] = (3, 3),
        out_channels: int = 4,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: str = "SAME",
        activation: str = "NONE",
        dilation: tuple[int, int] = (1, 1),
        per_channel: bool = True,
        quant: tuple[float, int] | None = None,
    ) -> TensorIndex:
        """x (n, h, w, c) → (n, h', w', out_channels); weights (out_channels, kh, kw, c)."""
        n, h, w, c = self.shape(x)
        weights = self._weights(x, (out_channels, *kernel, c), 0 if per_channel else None, kernel[0] * kernel[1] * c)
        biases = self._bias(x, weights, out_channels)  # tflite-runtime refuses a convolution without
        out = (n, *_extent((h, w), kernel, stride, padding, dilation), out_channels)
        quant = quant or self._accumulated(activation)
        options = _window(stride, padding) | _dilation(dilation) | fused(activation)
        return self._operator("CONV_2D", (x, weights, biases), out, quant, OptionsSpec("Conv2DOptions", options))

    def depthwise_conv2d(
        self,
        x: TensorIndex,
        kernel: tuple[int, int] = (3, 3),
        multiplier: int = 1,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: str = "SAME",
        activation: str = "NONE",
        dilation: tuple[int, int] = (1, 1),
        per_channel: bool = True,
        bias: bool = True,
        quant: tuple[float, int] | None = None,
    ) -> TensorIndex:
        """x (n, h, w, c) → (n, h', w', c·multiplier); weights (1, kh, kw, c·multiplier).

        Without bias only BUILTIN_REF runs it: tflite-runtime 2.14's optimised kernel segfaults.
        """
        n, h, w, c = self.shape(x)
        channels = c * multiplier
        weights = self._weights(x, (1, *kernel, channels), 3 if per_channel else None, kernel[0] * kernel[1])
        biases = (self._bias(x, weights, channels),) if bias else ()
        out = (n, *_extent((h, w), kernel, stride, padding, dilation), channels)
        quant = quant or self._accumulated(activation)
        options = _window(stride, padding) | _dilation(dilation) | fused(activation)
        options["DepthMultiplier"] = multiplier
        spec = OptionsSpec("DepthwiseConv2DOptions", options)
        return self._operator("DEPTHWISE_CONV_2D", (x, weights, *biases), out, quant, spec)

    def fully_connected(
        self,
        x: TensorIndex,
        units: int = 4,
        *,
        activation: str = "NONE",
        per_channel: bool = False,
        bias: bool = True,
        keep_num_dims: bool = False,
        quant: tuple[float, int] | None = None,
    ) -> TensorIndex:
        """x (…, depth) → (rows, units), or (…, units) with keep_num_dims; weights (units, depth)."""
        *rows, depth = self.shape(x)
        weights = self._weights(x, (units, depth), 0 if per_channel else None, depth)
        biases = self._bias(x, weights, units) if bias else -1
        out = (*rows, units) if keep_num_dims else (int(np.prod(rows)), units)
        quant = quant or self._accumulated(activation)
        spec = OptionsSpec("FullyConnectedOptions", {**fused(activation), "KeepNumDims": keep_num_dims})
        return self._operator("FULLY_CONNECTED", (x, weights, biases), out, quant, spec)

    def average_pool(self, x: TensorIndex, window: tuple[int, int] = (2, 2), **options: Any) -> TensorIndex:
        """x (n, h, w, c) → (n, h', w', c). Options: stride (default: the window), padding, activation."""
        return self._pool("AVERAGE_POOL_2D", x, window, **options)

    def max_pool(self, x: TensorIndex, window: tuple[int, int] = (2, 2), **options: Any) -> TensorIndex:
        """x (n, h, w, c) → (n, h', w', c). Options: stride (default: the window), padding, activation."""
        return self._pool("MAX_POOL_2D", x, window, **options)

    def softmax(self, x: TensorIndex, *, beta: float = 1.0) -> TensorIndex:
        """Along the last dimension; the int8 output is quantised as TFLite demands."""
        spec = OptionsSpec("SoftmaxOptions", {"Beta": beta})
        return self._operator("SOFTMAX", (x,), self.shape(x), (1 / 256, -128), spec)

    def mean(
        self,
        x: TensorIndex,
        *,
        axes: tuple[int, ...] = (1, 2),
        keep_dims: bool = False,
        quant: tuple[float, int] | None = None,
    ) -> TensorIndex:
        shape = self.shape(x)
        averaged = {axis % len(shape) for axis in axes}
        out = tuple(1 if i in averaged else n for i, n in enumerate(shape) if keep_dims or i not in averaged)
        constant = self.constant(np.array(axes, np.int32), name=f"axes_{len(self.tensors)}")
        quant = quant or (self._quant(x)[0] * self._scale(0.3, 1), self._zero_point())
        spec = OptionsSpec("ReducerOptions", {"KeepDims": keep_dims})
        return self._operator("MEAN", (x, constant), out, quant, spec)

    def _weights(self, x: TensorIndex, shape: tuple[int, ...], axis: int | None, products: int) -> TensorIndex:
        """Weights with which a sum of `products` products has a standard deviation of about _SIGMA."""
        name = f"weights_{len(self.tensors)}"
        if self.dtype == "float32":
            return self.constant(self.rng.uniform(-1, 1, shape).astype(np.float32), name=name)
        count = 1 if axis is None else shape[axis]
        x_scale, x_zero_point = self._quant(x)
        spread = np.sqrt(products) * 73 * np.hypot(74, x_zero_point)  # of the integer sum
        scales = tuple(_SIGMA / (spread * x_scale) * self._scale(0.6, 1.4) for _ in range(count))
        data = self.rng.integers(-127, 128, shape, np.int8)
        return self.constant(data, name=name, quant=QuantSpec(_float32(scales), (0,) * count, axis or 0))

    def _bias(self, x: TensorIndex, weights: TensorIndex, channels: int) -> TensorIndex:
        name = f"bias_{len(self.tensors)}"
        if self.dtype == "float32":
            return self.constant(self.rng.uniform(-1, 1, channels).astype(np.float32), name=name)
        weight_quant = self.tensors[weights].quant
        assert weight_quant is not None
        scales = _float32(np.float32(self._quant(x)[0]) * np.array(weight_quant.scales, np.float32))
        data = (self.rng.normal(0, _SIGMA / 2, channels) / scales).astype(np.int32)
        return self.constant(data, name=name, quant=QuantSpec(scales, (0,) * len(scales)))

    def _accumulated(self, activation: str) -> tuple[float, int]:
        """A quantisation whose int8 range holds about two standard deviations of an accumulated sum."""
        rectified = activation.startswith("RELU") and activation != "RELU_N1_TO_1"
        zero_point = int(self.rng.integers(-128, -100)) if rectified else self._zero_point()
        return _SIGMA / 60 * self._scale(0.9, 1.1), zero_point

    def _pool(
        self,
        kind: str,
        x: TensorIndex,
        window: tuple[int, int],
        *,
        stride: tuple[int, int] | None = None,
        padding: str = "VALID",
        activation: str = "NONE",
    ) -> TensorIndex:
        n, h, w, c = self.shape(x)
        stride = stride or window
        out = (n, *_extent((h, w), window, stride, padding, (1, 1)), c)
        options = _window(stride, padding) | fused(activation)
        options |= {"FilterHeight": window[0], "FilterWidth": window[1]}
        return self._operator(kind, (x,), out, self._quant(x), OptionsSpec("Pool2DOptions", options))


def _float32(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values, np.float32))


def _window(stride: tuple[int, int], padding: str) -> dict[str, Any]:
    return {"StrideH": stride[0], "StrideW": stride[1], "Padding": getattr(tflite.Padding, padding)}


def _dilation(dilation: tuple[int, int]) -> dict[str, Any]:
    return {"DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}


def _extent(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: str, dilation: tuple[int, int]
) -> list[int]:
    reach = [0 if padding == "SAME" else (k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    extent = [-(-(length - back) // step) for length, back, step in zip(size, reach, stride, strict=True)]
    assert min(extent) > 0, f"window {kernel} does not fit {size}"
    return extent


# --- one call, one model ----------------------------------------------------------------------------------------------


def sequence(in_shape: tuple[int, ...], layers: Layers, *, seed: int = 0, dtype: str = "int8") -> bytes:
    """A chain: each layer is (name of a Net method, its arguments) and reads the layer before it.

    For "add", `other` says what is added: 0 is the model's input, k the output of the k-th layer.
    """
    net = Net(seed, dtype)
    values = [net.input(in_shape)]
    for name, arguments in layers:
        arguments = dict(arguments)
        if name == "add":
            values.append(net.add(values[-1], values[arguments.pop("other")], **arguments))
        else:
            values.append(getattr(net, name)(values[-1], **arguments))
    return net.build()


def classifier(*, seed: int = 5, dtype: str = "int8") -> Net:
    """A net of four layers. Tensors: 0 input (1, 4, 4, 2); 1-3 convolution with RELU (weights, bias, output (1, 4, 4,
    3)); 4-5 reshape (shape, output); 6-8 fully connected (weights, bias, output (1, 4)); 9 softmax."""
    net = Net(seed, dtype)
    x = net.conv2d(net.input((1, 4, 4, 2)), (3, 3), 3, activation="RELU")
    net.softmax(net.fully_connected(net.reshape(x), 4))
    return net


def conv2d(
    in_shape: tuple[int, ...],
    kernel: tuple[int, int] = (3, 3),
    out_channels: int = 4,
    *,
    seed: int = 0,
    dtype: str = "int8",
    **options: Any,
) -> bytes:
    return sequence(
        in_shape, [("conv2d", {"kernel": kernel, "out_channels": out_channels, **options})], seed=seed, dtype=dtype
    )


def depthwise_conv2d(
    in_shape: tuple[int, ...],
    kernel: tuple[int, int] = (3, 3),
    multiplier: int = 1,
    *,
    seed: int = 0,
    dtype: str = "int8",
    **options: Any,
) -> bytes:
    layer = ("depthwise_conv2d", {"kernel": kernel, "multiplier": multiplier, **options})
    return sequence(in_shape, [layer], seed=seed, dtype=dtype)


def fully_connected(
    in_shape: tuple[int, ...], units: int = 4, *, seed: int = 0, dtype: str = "int8", **options: Any
) -> bytes:
    return sequence(in_shape, [("fully_connected", {"units": units, **options})], seed=seed, dtype=dtype)


def average_pool(in_shape: tuple[int, ...], *, seed: int = 0, dtype: str = "int8", **options: Any) -> bytes:
    return sequence(in_shape, [("average_pool", options)], seed=seed, dtype=dtype)


def max_pool(in_shape: tuple[int, ...], *, seed: int = 0, dtype: str = "int8", **options: Any) -> bytes:
    return sequence(in_shape, [("max_pool", options)], seed=seed, dtype=dtype)


def reshape(in_shape: tuple[int, ...], shape: tuple[int, ...], *, seed: int = 0, dtype: str = "int8") -> bytes:
    return sequence(in_shape, [("reshape", {"shape": shape})], seed=seed, dtype=dtype)


def softmax(in_shape: tuple[int, ...], *, beta: float = 1.0, seed: int = 0, dtype: str = "int8") -> bytes:
    return sequence(in_shape, [("softmax", {"beta": beta})], seed=seed, dtype=dtype)


def add(
    in_shape: tuple[int, ...],
    other: tuple[int, ...] | None = None,
    *,
    seed: int = 0,
    dtype: str = "int8",
    **options: Any,
) -> bytes:
    """Two inputs, the second of shape `other` (default: the same shape)."""
    net = Net(seed, dtype)
    net.add(net.input(in_shape, name="a"), net.input(other or in_shape, name="b"), **options)
    return net.build()
