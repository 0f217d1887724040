"""Judging layers of which channels are not computed: what a pass said of them is held to the oracle as well."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from harness.board import Target
from harness.compiler.csource import CSource, Layer, Placement
from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph, Kept
from harness.compiler.ops import reference, run_reference
from harness.compiler.passes.drop_channels import DropChannels
from harness.debug.compare import compare
from harness.debug.comparison import Comparison, Status
from harness.oracle import Expected, draw_inputs
from harness.verdict import Verdict
from harness.verification import verify
from tests.constant_channels import FAR, chain, saturate, with_constants
from tests.debug.numpy_device import Device, Done, bump, statuses
from tests.models import Net

MATCH, LOCAL, PROPAGATED = Status.MATCH, Status.LOCAL, Status.PROPAGATED


@dataclass
class SmallDevice(Device):
    """Runs the graph with fewer channels, and shows its tensors as a session does."""

    small: Graph | None = None

    def write_tensor(self, tensor: int, values: np.ndarray) -> None:
        kept = self.source.kept.get(tensor)
        super().write_tensor(tensor, values if kept is None else kept.project(values))

    def _run(self, layer: Layer) -> Done:
        assert self.small is not None
        op = self.small.ops[layer.index]
        operands = [None if self.small.tensor(t).data is not None else self._held(t) for t in op.inputs]
        (made,) = reference(self.small, op, operands)
        if layer.index in self.faults:
            made = self.faults[layer.index](made)
        super().write_tensor(op.outputs[0], made)
        return Done(layer.index, zlib.crc32(made.tobytes()))

    def _held(self, tensor: int) -> np.ndarray:
        assert self.small is not None
        place, t = self.source.placements[tensor], self.small.tensor(tensor)
        data = bytes(self.memory[place.offset : place.offset + place.bytes])
        return np.frombuffer(data, t.dtype.np).reshape(t.shape)

    def _tensor(self, tensor: int) -> np.ndarray:
        kept = self.source.kept.get(tensor)
        return self._held(tensor) if kept is None else kept.restore(self._held(tensor))


def dropped() -> tuple[Graph, Graph, int]:
    """A chain of two convolutions and a pool. Of the first one's output, the tensor named, channel 2 always has one
    value and channel 4 meets zero weights only."""
    graph = chain(3, "VALID", ["1x1", "3x3"])
    bias, weights = graph.tensor(graph.ops[0].inputs[2]).data, graph.tensor(graph.ops[1].inputs[1]).data
    assert bias is not None
    assert weights is not None
    unread = np.where(np.arange(6) == 4, 0, weights).astype(np.int8)
    constant = np.where(np.arange(6) == 2, FAR, bias).astype(np.int32)
    graph = with_constants(graph, {graph.ops[0].inputs[2]: constant, graph.ops[1].inputs[1]: unread})
    return graph, DropChannels().run(graph), graph.ops[0].outputs[0]


def judged(graph: Graph, small: Graph, kept: dict[int, Kept], samples: int = 1, **faults: object) -> Comparison:
    layers = tuple(
        Layer(i, f"layer_{i}", op.kind, (i,), (op.inputs[0],), op.outputs, f"layers/{i:03}.c", 0)
        for i, op in enumerate(graph.ops)
    )
    variable = [*graph.inputs, *(layer.outputs[0] for layer in layers)]
    places = {t: Placement(i % 2 * 1024, small.tensor(t).bytes) for i, t in enumerate(variable)}
    source = CSource(graph.name, Target("host", frozenset()), graph, {}, layers, places, 2048, 2048, 0, kept)
    device = SmallDevice(source, {0: bump} if faults.get("fault") else {}, small=small)
    inputs = draw_inputs(graph, 0, samples)
    runs = [run_reference(graph, [array[k] for array in inputs]) for k in range(samples)]
    tensors = {t: np.stack([run[t] for run in runs]) for op in graph.ops for t in op.outputs}
    return compare(device, source, Expected("numpy", tensors), inputs, isolated=bool(faults.get("isolated")))


def mistaken(kept: Kept, channel: int) -> Kept:
    """The same with a channel's value off by one."""
    values = tuple(v - 1 if c == channel else v for c, v in enumerate(kept.values))
    return replace(kept, values=values)


def test_what_nobody_reads_is_not_counted_as_compared() -> None:
    graph, small, tensor = dropped()
    comparison = judged(graph, small, dict(small.kept))
    assert comparison.verdict is Verdict.MATCH
    assert small.kept[tensor].assumed == (2,)
    assert small.kept[tensor].unread == (4,)
    first = comparison.layers[0]
    assert first.difference.elements == 30 * 4
    assert first.constants.elements == 30
    assert first.whole.elements == 30 * 5
    assert (first.whole.mismatches, first.note) == (0, "")


def test_a_wrong_constant_is_found_although_every_checksum_is_right() -> None:
    """Nothing on the device shows it: the code is right, what is said of the model is not."""
    graph, small, tensor = dropped()
    comparison = judged(graph, small, {tensor: mistaken(small.kept[tensor], 2)}, samples=2)
    assert statuses(comparison) == [LOCAL, MATCH, MATCH]
    assert comparison.verdict is Verdict.MISMATCH
    first = comparison.layers[0]
    assert (first.difference.mismatches, first.constants.mismatches, first.sample) == (0, 30, 0)
    assert first.note == (
        f"the pass drop-channels takes channel 2 of tensor {tensor} {graph.tensor(tensor).name!r} for 126, "
        "expected is 127 in 30 of 30 places"
    )


@pytest.mark.parametrize("isolated", [False, True])
def test_a_layer_that_took_in_a_wrong_constant_is_right_for_what_it_was_told(isolated: bool) -> None:
    graph, small, tensor = dropped()
    reader = small.ops[1]
    weights, bias = graph.tensor(graph.ops[1].inputs[1]).data, small.tensor(reader.inputs[2]).data
    assert weights is not None
    assert bias is not None
    off = bias - weights.astype(np.int32)[..., 2].sum(axis=(1, 2))  # one less in every tap
    small = with_constants(small, {reader.inputs[2]: off.astype(np.int32)})
    comparison = judged(graph, small, {tensor: mistaken(small.kept[tensor], 2)}, isolated=isolated)
    assert statuses(comparison) == [LOCAL, PROPAGATED, MATCH if isolated else PROPAGATED]
    assert "writes over" not in comparison.layers[0].note


def test_a_wrong_layer_with_a_wrong_constant_says_both() -> None:
    graph, small, tensor = dropped()
    comparison = judged(graph, small, {tensor: mistaken(small.kept[tensor], 2)}, fault=True)
    first = comparison.layers[0]
    assert (first.status, first.difference.mismatches, first.whole.mismatches) == (LOCAL, 1, 31)
    assert "channel 2" in first.note


def test_an_output_of_the_model_is_held_to_its_constants_too() -> None:
    """No pass makes an output smaller today; what a comparison says must not depend on that."""
    net = Net(seed=3)
    y = net.conv2d(net.input((1, 4, 5, 3)), (1, 1), 4, per_channel=False)
    saturate(net, y, {2: FAR})
    graph = parse_model(net.build(), "output.tflite")
    (op,) = graph.ops
    rest = [0, 1, 3]
    tensors = list(graph.tensors)
    for tensor in op.inputs[1:]:
        data = graph.tensor(tensor).data
        assert data is not None
        tensors[tensor] = replace(tensors[tensor], shape=data[rest].shape, data=data[rest])
    bias = tensors[op.inputs[2]]
    tensors[op.inputs[2]] = replace(bias, quant=None)
    tensors[y] = replace(tensors[y], shape=(1, 4, 5, 3))
    small = replace(graph, tensors=tuple(tensors))
    kept = Kept((1, 4, 5, 4), tuple(rest), (False, False, True, False), (0, 0, 127, 0))
    right = judged(graph, small, {y: kept})
    assert right.verdict is Verdict.MATCH
    assert right.whole_model_agrees is True
    assert right.outputs[0].difference.elements == 80
    wrong = judged(graph, small, {y: mistaken(kept, 2)})
    assert wrong.outputs[0].difference.mismatches == 20
    assert wrong.whole_model_agrees is True
    assert statuses(wrong) == [LOCAL]


def test_the_report_says_what_was_compared_in_which_way(tmp_path: Path) -> None:
    net = Net(seed=3)
    x = net.conv2d(net.input((1, 4, 5, 3)), (1, 1), 6, activation="RELU")
    net.conv2d(x, (1, 1), 4)
    saturate(net, x, {1: FAR, 5: -FAR})
    path = tmp_path / "constants.tflite"
    path.write_bytes(net.build())
    report = verify(path, "qemu_cortex_m3", samples=2)
    assert report.verdict is Verdict.MATCH
    first, second = report.to_json()["layers"]
    assert first["elements"] == 120
    assert first["compared"] == {"computed": 80, "constant": 40, "unread": 0}
    assert first["channels"] == {"model": 6, "computed": 4, "constant": 2, "unread": 0}
    assert second["compared"] == {"computed": 80, "constant": 0, "unread": 0}
