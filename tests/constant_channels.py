"""Models with channels that no input changes, or that nobody reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph
from tests.models import Net
from tests.tflite_writer import BufferSpec, QuantSpec

FAR = 1 << 26  # a bias far beyond what the weights of a small layer can make up for


def saturate(net: Net, tensor: int, biases: dict[int, int]) -> None:
    """Give channels of a convolution's output `tensor` these biases."""
    (operator,) = (o for o in net.operators if o.outputs == (tensor,))
    assert operator.inputs is not None
    buffer = net.tensors[operator.inputs[2]].buffer
    data = np.frombuffer(net.buffers[buffer].data or b"", np.int32).copy()
    for channel, bias in biases.items():
        data[channel] = bias
    net.buffers[buffer] = BufferSpec(data.tobytes())


def chain(seed: int, padding: str, kernels: list[str]) -> Graph:
    """Convolutions one after another ("1x1", "3x3" or "depthwise"), a pool behind them that reads every channel."""
    net = Net(seed)
    x = net.input((1, 5, 6, 3))
    for kind in kernels:
        if kind == "depthwise":
            x = net.depthwise_conv2d(x, (3, 3), padding=padding, activation="RELU6")
        else:
            size = int(kind[0])
            x = net.conv2d(x, (size, size), 6, padding=padding, activation="RELU")
    net.average_pool(x, (1, 1))
    return parse_model(net.build(), "chain.tflite")


def with_constants(graph: Graph, change: dict[int, np.ndarray]) -> Graph:
    tensors = [replace(t, data=change[i]) if i in change else t for i, t in enumerate(graph.tensors)]
    return replace(graph, tensors=tuple(tensors))


def links(seed: int, padding: str, kinds: list[str]) -> Graph:
    """A net of the links named, one after another; one that does not fit what came before it is left out.

    "1x1", "3x3", "depthwise", "multiplied" (two output channels for each), "max", "average"; "residual", a convolution
    added to its own input; "table", a constant added; "scalar", a constant of one channel added; "branch", what came
    before is an output, too; "flatten", after which only "units", "units_each" (scales by unit) and constants fit;
    "softmax", which says nothing of channels. A convolution or product of three channels ends it.
    """
    net = Net(seed)
    x = net.input((1, 5, 6, 3))
    for kind in kinds:
        shape = net.shape(x)
        flat, act = len(shape) == 2, {"activation": "RELU"}
        fits = not flat and (padding == "SAME" or min(shape[1:3]) >= 3)
        if kind in ("1x1", "3x3") and fits:
            x = net.conv2d(x, (int(kind[0]), int(kind[0])), 5, padding=padding, **act)
        elif kind in ("depthwise", "multiplied") and fits and shape[3] < 20:
            x = net.depthwise_conv2d(x, (3, 3), 1 + (kind == "multiplied"), padding=padding, activation="RELU6")
        elif kind in ("max", "average") and fits:
            x = getattr(net, f"{kind}_pool")(x, (2, 2), stride=(1, 1), padding=padding)
        elif kind == "residual" and not flat:
            x = net.add(x, net.conv2d(x, (1, 1), shape[3], **act), **act)
        elif kind in ("table", "scalar"):
            width = shape[-1] if kind == "table" else 1
            data = net.rng.integers(-128, 128, (1,) * (len(shape) - 1) + (width,), np.int8)
            quant = QuantSpec((0.04,), (int(net.rng.integers(-20, 20)),))
            x = net.add(x, net.constant(data, name=f"{kind}_{x}", quant=quant), **act)
        elif kind == "flatten" and not flat:
            x = net.reshape(x)
        elif kind in ("units", "units_each") and flat:
            x = net.fully_connected(x, 4, per_channel=kind == "units_each", **act)
        elif kind == "branch":
            net.max_pool(x, (1, 1)) if not flat else net.softmax(x)
        elif kind == "softmax":
            x = net.softmax(x)
    if len(net.shape(x)) == 2:
        net.fully_connected(x, 3)
    else:
        net.conv2d(x, (1, 1), 3)
    return parse_model(net.build(), "links.tflite")


def spoilt(graph: Graph, seed: int, share: float = 0.4) -> Graph:
    """Some channels driven far into saturation by their bias, some weights zero."""
    rng = np.random.default_rng(seed)
    change = {}
    for op in graph.ops:
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            bias, weights = (graph.tensor(op.inputs[i]).data for i in (2, 1))
            assert bias is not None
            assert weights is not None
            far = rng.choice([-1, 1], bias.shape) * FAR
            change[op.inputs[2]] = np.where(rng.random(bias.shape) < share, far, bias).astype(np.int32)
            # Input channels that an operator does not look at; of a flattened input the same ones in every pixel.
            count = graph.tensor(op.inputs[0]).shape[-1]
            depthwise = op.kind == "DEPTHWISE_CONV_2D"
            period = next((p for p in (5, 3) if count % p == 0), count)
            zero = np.tile(rng.random(period) < (0 if depthwise else share / 2), count // period)
            change[op.inputs[1]] = weights if depthwise else np.where(zero, 0, weights).astype(np.int8)
    return with_constants(graph, change)


def inputs_of(graph: Graph, seed: int) -> list[np.ndarray]:
    (x,) = graph.inputs
    shape = graph.tensor(x).shape
    rng = np.random.default_rng(seed)
    board = np.indices(shape).sum(axis=0) % 2
    flat = [np.full(shape, v, np.int8) for v in (-128, 127)]
    return [*flat, np.where(board, 127, -128).astype(np.int8), rng.integers(-128, 128, shape).astype(np.int8)]
