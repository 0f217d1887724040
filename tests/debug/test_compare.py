"""Judging layers, against a device made of the operators' references and one shared arena, with faults put in.

The arena has two places that the layers use in turn, so that every tensor is overwritten two layers later: a comparison
that read a layer's inputs too late would see the wrong ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from harness.board import Target
from harness.compiler.csource import CSource, Layer, Placement
from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph
from harness.compiler.ops import reference, run_reference
from harness.debug.compare import compare
from harness.debug.comparison import Comparison, Status
from harness.errors import RunnerFailed
from harness.oracle import Expected, draw_inputs
from harness.verdict import TargetCrashed, TargetTimedOut, Verdict
from tests.models import Net

MATCH, LOCAL, PROPAGATED, NOT_RUN = Status.MATCH, Status.LOCAL, Status.PROPAGATED, Status.NOT_RUN
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


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CSource:
    return chain(tmp_path_factory.mktemp("model"), "int8")


@pytest.fixture(scope="module")
def float_source(tmp_path_factory: pytest.TempPathFactory) -> CSource:
    return chain(tmp_path_factory.mktemp("model"), "float32")


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


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory) -> CSource:
    """Layer 3 adds what layers 0 and 2 made; layer 1 has an output of the model. Every tensor has its own place."""
    net = Net(seed=6)
    start = net.conv2d(net.input((1, 4, 4, 2)), (1, 1), 3)
    net.max_pool(start)
    net.add(start, net.conv2d(start, (1, 1), 3))
    path = tmp_path_factory.mktemp("model") / "branched.tflite"
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


# ---- what matches ------------------------------------------------------------------------------------------------


def test_a_right_device_matches_and_no_tensor_is_fetched_but_the_output(source: CSource) -> None:
    device = Device(source)
    comparison = judged(device, samples=2)
    assert comparison.verdict is Verdict.MATCH
    assert statuses(comparison) == [MATCH] * 6
    assert set(device.reads) == set(source.graph.outputs)
    assert comparison.whole_model_agrees is True
    assert device.resets == 0


def test_elements_and_output_checksums(source: CSource) -> None:
    comparison = judged(Device(source), samples=3)
    for result in comparison.layers:
        assert result.difference.elements == source.graph.tensor(result.layer.outputs[0]).elements
    inputs = draw_inputs(source.graph, 0, 3)
    outputs = b"".join(run_reference(source.graph, [x])[source.graph.outputs[0]].tobytes() for x in inputs[0])
    assert [output.crc32 for output in comparison.outputs] == [zlib.crc32(outputs)]
    assert comparison.outputs[0].difference.elements == 15


# ---- what does not -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True], ids=["side by side", "each over the one before"])
@pytest.mark.parametrize("wrong", range(6))
def test_a_wrong_layer_is_local_and_those_after_it_propagated(source: CSource, wrong: int, in_place: bool) -> None:
    if in_place:
        source = replace(source, placements={t: Placement(0, p.bytes) for t, p in source.placements.items()})
    comparison = judged(Device(source, {wrong: scramble}))
    assert comparison.verdict is Verdict.MISMATCH
    found = statuses(comparison)
    assert found[:wrong] == [MATCH] * wrong
    assert found[wrong] is LOCAL
    assert LOCAL not in found[wrong + 1 :]
    assert comparison.layers[wrong].sample == 0
    assert comparison.layers[wrong].difference.mismatches == comparison.layers[wrong].difference.elements


def test_two_wrong_layers_are_both_local(source: CSource) -> None:
    comparison = judged(Device(source, {1: scramble, 3: bump}))
    assert statuses(comparison) == [MATCH, LOCAL, PROPAGATED, LOCAL, PROPAGATED, PROPAGATED]
    assert "wrong inputs" in comparison.layers[3].note
    assert comparison.layers[1].note == ""


def test_one_element_wrong_by_one(source: CSource) -> None:
    result = judged(Device(source, {0: bump})).layers[0]
    assert (result.difference.mismatches, result.difference.max_abs_diff) == (1, 1)


def test_isolated_layers_get_the_inputs_they_should(source: CSource) -> None:
    device = Device(source, {1: scramble, 4: bump})
    comparison = judged(device, isolated=True)
    assert statuses(comparison) == [MATCH, LOCAL, MATCH, MATCH, LOCAL, MATCH]
    assert comparison.verdict is Verdict.MISMATCH


def test_the_worst_sample_counts_and_the_first_failing_one_is_named(source: CSource) -> None:
    def later(values: np.ndarray) -> np.ndarray:
        """Right for sample 0, one element off for sample 1, all for sample 2."""
        expected = [run_reference(source.graph, [x])[source.layers[0].outputs[0]] for x in inputs[0]]
        for sample, right in enumerate(expected):
            if np.array_equal(values, right):
                return [values, bump(values), scramble(values)][sample]
        raise AssertionError("not one of the samples")

    inputs = draw_inputs(source.graph, 0, 3)
    comparison = judged(Device(source, {0: later}), samples=3)
    first = comparison.layers[0]
    assert (first.status, first.sample) == (LOCAL, 1)
    assert first.difference.mismatches == first.difference.elements


def test_a_layer_that_reads_what_nothing_wrote(source: CSource) -> None:
    runs = iter(range(1000))

    def unstable(values: np.ndarray) -> np.ndarray:
        return values if next(runs) % 2 else bump(values)

    comparison = judged(Device(source, {2: unstable}))
    assert comparison.layers[2].status is LOCAL
    assert "from run to run" in comparison.layers[2].note


def test_a_layer_that_writes_over_what_a_later_one_reads(branched: CSource) -> None:
    victim = branched.layers[0].outputs[0]
    comparison = judged(Device(branched, spills={2: victim}), samples=2)
    assert statuses(comparison) == [MATCH, MATCH, LOCAL, PROPAGATED]
    guilty = comparison.layers[2]
    assert guilty.difference.mismatches == 0
    assert guilty.note == f"writes over tensor {victim} {branched.graph.tensor(victim).name!r}, which layer 3 reads"
    assert comparison.verdict is Verdict.MISMATCH


def test_a_wrong_layer_that_also_writes_over_another_tensor_is_said_to(branched: CSource) -> None:
    victim = branched.layers[0].outputs[0]
    guilty = judged(Device(branched, {2: scramble}, spills={2: victim})).layers[2]
    assert (guilty.status, guilty.sample) == (LOCAL, 0)
    assert "writes over tensor" in guilty.note


def test_a_layer_that_writes_over_the_input_of_the_model(branched: CSource) -> None:
    assert statuses(judged(Device(branched, spills={0: branched.graph.inputs[0]}))) == [MATCH] * 4  # nobody reads it


def test_a_layer_that_writes_over_an_output_of_the_model(branched: CSource) -> None:
    victim = branched.layers[1].outputs[0]
    assert victim in branched.graph.outputs
    comparison = judged(Device(branched, spills={3: victim}))
    assert statuses(comparison) == [MATCH, MATCH, MATCH, LOCAL]
    assert comparison.layers[3].note.endswith("which is an output of the model")
    assert comparison.whole_model_agrees is not False


def test_model_run_that_differs_from_its_layers(source: CSource) -> None:
    comparison = judged(Device(source, whole_model_fault=bump))
    assert statuses(comparison) == [MATCH] * 6
    assert comparison.whole_model_agrees is False
    assert comparison.verdict is Verdict.MISMATCH
    assert comparison.outputs[0].difference.mismatches == 1


# ---- floats ------------------------------------------------------------------------------------------------------


def test_floats_within_the_tolerance_match(float_source: CSource) -> None:
    device = Device(float_source, {1: lambda values: np.nextafter(values, np.float32(np.inf))})
    comparison = judged(device)
    assert comparison.verdict is Verdict.MATCH
    assert comparison.layers[1].difference.max_ulp == 1
    assert comparison.layers[0].difference.max_ulp == 0


def test_floats_outside_the_tolerance_do_not(float_source: CSource) -> None:
    comparison = judged(Device(float_source, {1: lambda values: values * np.float32(1.001)}))
    assert statuses(comparison)[:2] == [MATCH, LOCAL]
    assert LOCAL not in statuses(comparison)[2:]


# ---- targets that stop -------------------------------------------------------------------------------------------


def test_layers_after_a_crash_are_not_run(source: CSource) -> None:
    crash = TargetCrashed("precise bus fault", layer=3)
    stopped: list[object] = []
    comparison = judged(Device(source, stops={3: crash}), on_stop=stopped.append)
    assert statuses(comparison) == [MATCH, MATCH, MATCH, NOT_RUN, NOT_RUN, NOT_RUN]
    assert comparison.verdict is Verdict.CRASH
    assert comparison.stopped is crash
    assert stopped == [crash]
    assert comparison.outputs == ()
    assert comparison.whole_model_agrees is None


def test_wrong_layers_before_a_crash_are_judged_on_a_fresh_target(source: CSource) -> None:
    device = Device(source, {1: scramble}, {4: TargetTimedOut("no answer", layer=4)})
    seen: list[int] = []
    comparison = judged(device, on_stop=lambda stopped: seen.append(device.resets))
    assert statuses(comparison) == [MATCH, LOCAL, PROPAGATED, PROPAGATED, NOT_RUN, NOT_RUN]
    assert comparison.verdict is Verdict.TIMEOUT
    assert seen == [0], "the evidence has to be taken before the target starts afresh"
    assert device.resets == 1


def test_a_target_that_does_not_start_again_leaves_a_presumption(source: CSource) -> None:
    class Stubborn(Device):
        def reset(self) -> None:
            raise RunnerFailed("the port vanished")

    device = Stubborn(source, {1: scramble}, {4: TargetCrashed("fault", layer=4)})
    comparison = judged(device)
    assert statuses(comparison) == [MATCH, LOCAL, PROPAGATED, PROPAGATED, NOT_RUN, NOT_RUN]
    assert "checksum" in comparison.layers[1].note
    assert "the port vanished" in comparison.notes[0]
    assert comparison.verdict is Verdict.CRASH


def test_a_crash_of_the_whole_model_only(source: CSource) -> None:
    comparison = judged(Device(source, whole_model_stops=TargetCrashed("stack overflow")))
    assert statuses(comparison) == [MATCH] * 6
    assert comparison.verdict is Verdict.CRASH


def test_a_layer_that_ran_for_one_sample_and_not_for_the_next_is_not_known_to_match(source: CSource) -> None:
    device = Device(source)

    def second_time(values: np.ndarray) -> np.ndarray:
        if device.runs > 2 * len(source.layers):
            raise TargetCrashed("fault", layer=2)
        return values

    device.faults[2] = second_time
    comparison = judged(device, samples=2)
    assert statuses(comparison) == [MATCH, MATCH, NOT_RUN, NOT_RUN, NOT_RUN, NOT_RUN]
    assert comparison.last_sample == 1


def test_a_lost_emulator_is_neither_mismatch_nor_crash(source: CSource) -> None:
    lost = RunnerFailed("QEMU was killed by SIGKILL")
    comparison = judged(Device(source, stops={2: lost}))
    assert comparison.verdict is Verdict.INFRASTRUCTURE
    assert comparison.broken is lost
    assert statuses(comparison) == [MATCH, MATCH, NOT_RUN, NOT_RUN, NOT_RUN, NOT_RUN]


def test_a_crash_in_the_second_pass_only(source: CSource) -> None:
    device = Device(source, {0: scramble, 3: scramble})

    def second_pass(values: np.ndarray) -> np.ndarray:
        if device.runs > len(source.layers):
            raise TargetCrashed("fault", layer=2)
        return values

    device.faults[2] = second_pass
    stopped: list[object] = []
    comparison = judged(device, on_stop=stopped.append)
    assert statuses(comparison) == [LOCAL, PROPAGATED, PROPAGATED, PROPAGATED, PROPAGATED, PROPAGATED]
    assert "checksum" in comparison.layers[3].note
    assert comparison.verdict is Verdict.CRASH
    assert len(stopped) == 1


def test_progress_counts_layers_over_all_samples(source: CSource) -> None:
    seen: list[tuple[str, int, int]] = []
    judged(Device(source), samples=2, progress=lambda *step: seen.append(step))
    assert seen == [("run", step, 12) for step in range(12)]
