"""A device made of the operators' references and one shared arena, with faults put in, for tests of comparisons.

The arena has two places that the layers of `chain` use in turn, so that every tensor is overwritten two layers later: a
comparison that read a layer's inputs too late would see the wrong ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.board import Target
from harness.compiler.csource import CSource, Layer, Placement
from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph
from harness.compiler.ops import reference, run_reference
from harness.debug.compare import compare
from harness.debug.comparison import Comparison, Status
from harness.oracle import Expected, draw_inputs
from tests.models import Net

Fault = Callable[[np.ndarray], np.ndarray]
PLACE = 1024  # bytes of each of the two places


@dataclass(frozen=True)
class Done:
    index: int
    crc32: int


@dataclass
class Device:
    """A session whose target is numpy. `faults` change what a layer computes, `stops` are raised by it."""

    source: CSource
    faults: dict[int, Fault] = field(default_factory=dict)
    stops: dict[int, Exception] = field(default_factory=dict)
    spills: dict[int, int] = field(default_factory=dict)  # layer: the tensor whose first byte it writes over
    whole_model_stops: Exception | None = None
    whole_model_fault: Fault | None = None
    memory: bytearray = field(default_factory=lambda: bytearray(2 * PLACE))
    reads: list[int] = field(default_factory=list)
    resets: int = 0
    runs: int = 0  # of single layers

    def write_tensor(self, tensor: int, values: np.ndarray) -> None:
        place = self.source.placements[tensor]
        assert values.nbytes == place.bytes
        self.memory[place.offset : place.offset + place.bytes] = values.tobytes()

    def read_tensor(self, tensor: int) -> np.ndarray:
        self.reads.append(tensor)
        return self._tensor(tensor)

    def run_layers(self, first: int = 0, end: int | None = None) -> Sequence[Done]:
        end = len(self.source.layers) if end is None else end
        return [self._run(layer) for layer in self.source.layers[first:end]]

    def run(self) -> None:
        if self.whole_model_stops is not None:
            raise self.whole_model_stops
        self.run_layers()
        if self.whole_model_fault is not None:
            output = self.source.graph.outputs[0]
            self.write_tensor(output, self.whole_model_fault(self._tensor(output)))

    def reset(self) -> None:
        self.resets += 1
        self.memory[:] = bytes(len(self.memory))

    def _run(self, layer: Layer) -> Done:
        self.runs += 1
        if layer.index in self.stops:
            raise self.stops[layer.index]
        graph = self.source.graph
        op = graph.ops[layer.index]
        operands = [None if graph.tensor(t).data is not None else self._tensor(t) for t in op.inputs]
        (made,) = reference(graph, op, operands)
        if layer.index in self.faults:
            made = self.faults[layer.index](made)
        self.write_tensor(op.outputs[0], made)
        if layer.index in self.spills:
            self.memory[self.source.placements[self.spills[layer.index]].offset] ^= 0x40
        return Done(layer.index, zlib.crc32(made.tobytes()))

    def _tensor(self, tensor: int) -> np.ndarray:
        place, t = self.source.placements[tensor], self.source.graph.tensor(tensor)
        data = bytes(self.memory[place.offset : place.offset + place.bytes])
        return np.frombuffer(data, t.dtype.np).reshape(t.shape)


def chain(folder: Path, dtype: str) -> CSource:
    """Six layers, each reading the one before."""
    net = Net(seed=5, dtype=dtype)
    x = net.conv2d(net.input((1, 6, 6, 2)), out_channels=4)
    x = net.depthwise_conv2d(x)
    x = net.conv2d(x, (1, 1), 3)
    x = net.average_pool(x)
    x = net.reshape(x)
    net.fully_connected(x, 5)
    path = folder / f"chain_{dtype}.tflite"
    path.write_bytes(net.build())
    graph = load_model(path)
    layers = tuple(
        Layer(i, f"layer_{i}", op.kind, (i,), (_variable(graph, op.inputs),), op.outputs, f"layers/{i:03}.c", 0)
        for i, op in enumerate(graph.ops)
    )
    chained = [graph.inputs[0], *(layer.outputs[0] for layer in layers)]
    placements = {t: Placement(i % 2 * PLACE, graph.tensor(t).bytes) for i, t in enumerate(chained)}
    return CSource(graph.name, Target("host", frozenset()), graph, {}, layers, placements, 2 * PLACE, 2 * PLACE, 0)


def _variable(graph: Graph, tensors: Sequence[int]) -> int:
    (only,) = (t for t in tensors if graph.tensor(t).data is None)
    return only


def branched(folder: Path) -> CSource:
    """Layer 3 adds what layers 0 and 2 made; layer 1 has an output of the model. Every tensor has its own place."""
    net = Net(seed=6)
    start = net.conv2d(net.input((1, 4, 4, 2)), (1, 1), 3)
    net.max_pool(start)
    net.add(start, net.conv2d(start, (1, 1), 3))
    path = folder / "branched.tflite"
    path.write_bytes(net.build())
    graph = load_model(path)
    variable = [*graph.inputs, *(t for op in graph.ops for t in op.outputs)]
    reads = [tuple(t for t in op.inputs if t in variable) for op in graph.ops]
    layers = tuple(
        Layer(i, f"layer_{i}", op.kind, (i,), reads[i], op.outputs, f"layers/{i:03}.c", 0)
        for i, op in enumerate(graph.ops)
    )
    places = {t: Placement(128 * i, graph.tensor(t).bytes) for i, t in enumerate(variable)}
    return CSource(graph.name, Target("host", frozenset()), graph, {}, layers, places, 2 * PLACE, 2 * PLACE, 0)


def judged(device: Device, samples: int = 1, **options: object) -> Comparison:
    graph = device.source.graph
    inputs = draw_inputs(graph, 0, samples)
    runs = [run_reference(graph, [array[k] for array in inputs]) for k in range(samples)]
    tensors = {t: np.stack([run[t] for run in runs]) for op in graph.ops for t in op.outputs}
    return compare(device, device.source, Expected("numpy", tensors), inputs, **options)  # type: ignore[arg-type]


def statuses(comparison: Comparison) -> list[Status]:
    return [result.status for result in comparison.layers]


def bump(values: np.ndarray) -> np.ndarray:
    """One element wrong by one."""
    changed = values.copy()
    changed.reshape(-1)[0] += 1 if changed.reshape(-1)[0] < 100 else -1
    return changed


def scramble(values: np.ndarray) -> np.ndarray:
    """Every element wrong, and differently for different inputs."""
    return (values.astype(np.int16) ^ 0x35).astype(values.dtype)
