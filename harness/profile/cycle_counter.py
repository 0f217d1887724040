"""Counts on a board: cycles of the core's own counter (DWT CYCCNT), as the firmware stub reports them with each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import InfrastructureError
from harness.firmware import Firmware
from harness.profile.measurement import Figures, Measurement
from harness.rpc.messages import LayerDone, RunDone
from harness.session import Session

RUNS = 3  # the fewest cycles of so many: interrupts of a debugger, caches that are still cold


@dataclass(frozen=True)
class CycleCounter:
    """`open` starts a session for firmware, on the port or runner that it knows of.

    A layer by itself costs a little more or less than within `model_run`, where its neighbours have warmed the caches
    for it: the layers do not add up to the total. The counter has 32 bits; what takes longer comes out modulo 2^32.
    """

    open: Callable[[Firmware], Session]

    @property
    def name(self) -> str:
        return "DWT cycle counter"

    def measure(self, firmware: Firmware, inputs: Sequence[np.ndarray]) -> Measurement:
        """InfrastructureError: the core counts no cycles."""
        source = firmware.source
        totals: list[RunDone] = []
        layers: list[list[LayerDone]] = []

        def write_inputs(session: Session) -> None:
            for tensor, values in zip(source.graph.inputs, inputs, strict=True):
                session.write_tensor(tensor, values)

        with self.open(firmware) as session:
            for _ in range(RUNS):
                write_inputs(session)
                totals.append(session.run())
                write_inputs(session)
                layers.append(session.run_layers())
        cycles = [done.cycles for done in totals]
        if not any(cycles):
            raise InfrastructureError(
                f"the core of {firmware.board.name} counts no cycles: its DWT unit is missing or has no CYCCNT",
                hint="Instructions are counted on an emulated board: --board qemu_cortex_m3, for example.",
            )
        return Measurement(
            total=_best(totals),
            layers=tuple(_best(runs) for runs in zip(*layers, strict=True)),
            notes=(f"cycles are the fewest of {RUNS} runs; the slowest took {max(cycles):,}",),
        )


def _best(runs: Sequence[RunDone] | Sequence[LayerDone]) -> Figures:
    return Figures(cycles=min(run.cycles for run in runs), stack=max(run.stack for run in runs))
