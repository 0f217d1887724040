"""Cycles as a board reports them: from messages of a firmware that counts, and from one whose core cannot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from harness.board import load_board
from harness.errors import InfrastructureError
from harness.firmware import Firmware, build
from harness.profile.cycle_counter import RUNS, CycleCounter
from harness.rpc.messages import LayerDone, RunDone
from harness.runners import runner_for
from harness.session import Session
from tests import sample_model
from tests.runners.bridge import BridgedRunner

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)
INPUTS = [np.arange(16, dtype=np.int8)]


@pytest.fixture(scope="module")
def firmware() -> Firmware:
    return build(sample_model.sample(), load_board("qemu_cortex_m3"))


class Told:
    """A session whose firmware reports these cycles: per run, of the whole model and of each layer."""

    def __init__(self, totals: list[int], layers: list[list[int]]) -> None:
        self.totals, self.layers = iter(totals), iter(layers)
        self.written = 0

    def write_tensor(self, tensor: int, values: np.ndarray) -> None:
        assert values is INPUTS[0]
        self.written += 1

    def run(self) -> RunDone:
        return RunDone(next(self.totals), 3, 72)

    def run_layers(self) -> list[LayerDone]:
        return [LayerDone(index, 0, cycles, 8 * index) for index, cycles in enumerate(next(self.layers))]


def counter(told: Told) -> CycleCounter:
    @contextmanager
    def opened(firmware: Firmware) -> Iterator[Any]:
        yield told

    return CycleCounter(opened)  # type: ignore[arg-type]


def test_the_fewest_cycles_of_each_count(firmware: Firmware) -> None:
    told = Told([110, 100, 130], [[50, 31, 21], [49, 30, 25], [60, 32, 20]])
    found = counter(told).measure(firmware, INPUTS)
    assert found.total.cycles == 100
    assert [figures.cycles for figures in found.layers] == [49, 30, 20]
    assert (found.total.instructions, found.total.estimate, found.tree) == (None, None, None)
    assert [found.total.stack, *(figures.stack for figures in found.layers)] == [72, 0, 8, 16]
    assert "the slowest took 130" in found.notes[0]
    assert told.written == 2 * RUNS  # an input may share its place with a later tensor


def test_a_core_without_a_counter_is_told(firmware: Firmware) -> None:
    """QEMU's Cortex-M3 has no DWT: its firmware, behind a serial port, reports 0 cycles."""
    behind = BridgedRunner(runner_for(load_board("qemu_cortex_m3")))
    with pytest.raises(InfrastructureError, match="counts no cycles"):
        CycleCounter(lambda image: Session(image, behind)).measure(firmware, INPUTS)
