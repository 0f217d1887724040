"""Models with channels that no input changes, or that nobody reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph
from tests.models import Net
from tests.tflite_writer import BufferSpec

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


def spoilt(graph: Graph, seed: int, share: float = 0.4) -> Graph:
    """Some channels driven far into saturation by their bias, some weights zero."""
    rng = np.random.default_rng(seed)
    change = {}
    for op in graph.ops:
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            bias, weights = (graph.tensor(op.inputs[i]).data for i in (2, 1))
            assert bias is not None
            assert weights is not None
            far = rng.choice([-1, 1], bias.shape) * (1 << 26)
            change[op.inputs[2]] = np.where(rng.random(bias.shape) < share, far, bias).astype(np.int32)
            axis = 3 if op.kind == "CONV_2D" else 0  # input channels that a convolution does not look at
            zero = rng.random(weights.shape[axis]) < (share / 2 if axis == 3 else 0)
            shape = [1, 1, 1, 1]
            shape[axis] = -1
            change[op.inputs[1]] = np.where(zero.reshape(shape), 0, weights).astype(np.int8)
    return with_constants(graph, change)


def inputs_of(graph: Graph, seed: int) -> list[np.ndarray]:
    (x,) = graph.inputs
    shape = graph.tensor(x).shape
    rng = np.random.default_rng(seed)
    board = np.indices(shape).sum(axis=0) % 2
    flat = [np.full(shape, v, np.int8) for v in (-128, 127)]
    return [*flat, np.where(board, 127, -128).astype(np.int8), rng.integers(-128, 128, shape).astype(np.int8)]
