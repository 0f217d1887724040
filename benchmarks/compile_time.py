"""How long compiling takes: real models, and chains of layers that grow."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.board import core_target
from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph, Op, Quant, Tensor
from harness.compiler.ops.conv2d import Conv2D
from harness.compiler.pipeline import compile_graph
from harness.dtypes import DType

LENGTHS = (10, 30, 100, 300, 1000)  # layers
CORE = "cortex-m4"


@dataclass(frozen=True)
class Compiled:
    """Seconds of this process's own time from a graph to C, nothing remembered from before; `proving` of them."""

    name: str
    layers: int
    constant_bytes: int
    seconds: float
    without_proof: float


def of_model(name: str, path: Path) -> Compiled:
    return _timed(name, load_model(path))


def of_chain(layers: int, channels: int = 16) -> Compiled:
    """1x1 and 3x3 convolutions in turn on 8 x 8 pixels, no two with the same weights."""
    return _timed(f"chain of {layers}", chain(layers, channels))


def chain(layers: int, channels: int) -> Graph:
    rng = np.random.default_rng(layers)
    shape = (1, 8, 8, channels)
    quant = Quant((0.05,), (-3,))
    tensors = [Tensor("x_0", shape, DType.I8, quant)]
    ops: list[Op] = []
    x = 0
    for n in range(layers):
        size = 1 if n % 2 else 3
        weights = rng.integers(-127, 128, (channels, size, size, channels), np.int8)
        bias = rng.integers(-500, 500, channels, np.int32)
        scale = 0.4 / (size * np.sqrt(channels) * 127)
        across = Quant((scale,) * channels, (0,), 0)
        sums = Quant((0.05 * scale,) * channels, (0,), 0)
        first = len(tensors)
        tensors += [
            Tensor(f"weights_{n}", weights.shape, DType.I8, across, weights),
            Tensor(f"bias_{n}", bias.shape, DType.I32, sums, bias),
            Tensor(f"x_{n + 1}", shape, DType.I8, quant),
        ]
        attrs = Conv2D(stride=(1, 1), dilation=(1, 1), padding="SAME", activation="NONE")
        ops.append(Op("CONV_2D", (x, first, first + 1), (first + 2,), attrs, (n,)))
        x = first + 2
    return Graph(f"chain_{layers}", tuple(tensors), tuple(ops), (0,), (x,), len(tensors))


def _timed(name: str, graph: Graph) -> Compiled:
    target = core_target(CORE)
    start = time.process_time()
    compile_graph(graph, target, check=False)
    middle = time.process_time()
    source = compile_graph(graph, target)
    end = time.process_time()
    return Compiled(name, len(source.layers), source.constant_bytes, end - middle, middle - start)


def curve(lengths: Sequence[int] = LENGTHS) -> list[Compiled]:
    _timed("warming up", chain(2, 8))
    found = []
    for layers in lengths:
        found.append(of_chain(layers))
        print(f"{found[-1].name}: {found[-1].seconds:.2f} s", file=sys.stderr)
    return found
