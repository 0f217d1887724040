"""Judging layers, against a device made of the operators' references, with faults put in."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from harness.compiler.csource import CSource, Placement
from harness.compiler.ops import run_reference
from harness.debug.comparison import Status
from harness.oracle import draw_inputs
from harness.verdict import Verdict
from tests.debug.numpy_device import Device, branched, bump, chain, judged, scramble, statuses

MATCH, LOCAL, PROPAGATED, NOT_RUN = Status.MATCH, Status.LOCAL, Status.PROPAGATED, Status.NOT_RUN


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CSource:
    return chain(tmp_path_factory.mktemp("model"), "int8")


@pytest.fixture(scope="module")
def float_source(tmp_path_factory: pytest.TempPathFactory) -> CSource:
    return chain(tmp_path_factory.mktemp("model"), "float32")


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> CSource:
    return branched(tmp_path_factory.mktemp("model"))


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


def test_a_layer_that_writes_over_what_a_later_one_reads(branches: CSource) -> None:
    victim = branches.layers[0].outputs[0]
    comparison = judged(Device(branches, spills={2: victim}), samples=2)
    assert statuses(comparison) == [MATCH, MATCH, LOCAL, PROPAGATED]
    guilty = comparison.layers[2]
    assert guilty.difference.mismatches == 0
    assert guilty.note == f"writes over tensor {victim} {branches.graph.tensor(victim).name!r}, which layer 3 reads"
    assert comparison.verdict is Verdict.MISMATCH


def test_a_wrong_layer_that_also_writes_over_another_tensor_is_said_to(branches: CSource) -> None:
    victim = branches.layers[0].outputs[0]
    guilty = judged(Device(branches, {2: scramble}, spills={2: victim})).layers[2]
    assert (guilty.status, guilty.sample) == (LOCAL, 0)
    assert "writes over tensor" in guilty.note


def test_a_layer_that_writes_over_the_input_of_the_model(branches: CSource) -> None:
    assert statuses(judged(Device(branches, spills={0: branches.graph.inputs[0]}))) == [MATCH] * 4  # nobody reads it


def test_a_layer_that_writes_over_an_output_of_the_model(branches: CSource) -> None:
    victim = branches.layers[1].outputs[0]
    assert victim in branches.graph.outputs
    comparison = judged(Device(branches, spills={3: victim}))
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


def test_progress_counts_layers_over_all_samples(source: CSource) -> None:
    seen: list[tuple[str, int, int]] = []
    judged(Device(source), samples=2, progress=lambda *step: seen.append(step))
    assert seen == [("run", step, 12) for step in range(12)]
