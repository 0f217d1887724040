"""Judging layers of a target that stops, in the first run of a sample or when it is looked at a second time."""

from __future__ import annotations

import numpy as np
import pytest

from harness.compiler.csource import CSource
from harness.debug.comparison import Status
from harness.errors import RunnerFailed
from harness.verdict import TargetCrashed, TargetTimedOut, Verdict
from tests.debug.numpy_device import Device, chain, judged, scramble, statuses

MATCH, LOCAL, PROPAGATED, NOT_RUN = Status.MATCH, Status.LOCAL, Status.PROPAGATED, Status.NOT_RUN


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CSource:
    return chain(tmp_path_factory.mktemp("model"), "int8")


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
