"""A model of which the crash programs are taken to be the firmware."""

from __future__ import annotations

import numpy as np

from harness.board import Target
from harness.compiler.csource import CSource, Layer, Placement
from harness.compiler.graph import Graph, Tensor
from harness.dtypes import DType


def three_layers(**names: str) -> CSource:
    """A model of three layers, of which the second is the crash programs' function `outer`."""
    tensors = (
        Tensor("input", (16,), DType.I8),
        Tensor(names.get("tensor", "block1/pointwise"), (4, 2), DType.I32),
        Tensor("weights", (4,), DType.I8, data=np.zeros(4, np.int8)),
        Tensor("output", (8,), DType.I8),
    )
    layers = tuple(
        Layer(index, name, op, (index,), (0,), (output,), f"layers/{index:03}_{name}.c", 1)
        for index, (name, op, output) in enumerate(
            [("first", "ADD", 0), ("outer", "CONV_2D", 1), ("last", "SOFTMAX", 3)]
        )
    )
    graph = Graph("model", tensors, (), (0,), (3,), len(tensors))
    placements = {0: Placement(0, 16), 1: Placement(16, 32), 3: Placement(48, 8)}
    return CSource("model", Target("cortex-m3", frozenset()), graph, {}, layers, placements, 64, 64, 4)
