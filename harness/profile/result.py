"""What a profile found, whole: the source of the table, the JSON, traces and pictures, and of later comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.compiler.csource import Layer
from harness.firmware import Firmware
from harness.profile.footprint import Footprint, ModelCode
from harness.profile.measurement import Figures, Function, Measurement
from harness.profile.timing import Timing

FORMAT = 1  # of the JSON: raised when a later harness could not read an earlier file
HOTTEST_LINES = 100  # in the JSON


@dataclass(frozen=True)
class Profile:
    model: Path
    model_sha256: str
    firmware: Firmware
    counter: str  # what counted
    compiler: str  # first line of its --version
    inputs: Mapping[str, Any]  # where they came from
    measurement: Measurement
    footprints: tuple[Footprint, ...]
    code: ModelCode
    timing: Timing | None  # the table the estimate comes from; None: there is none

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.firmware.source.layers

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def tensor(self, layer: Layer) -> str:
        """The model's name for what a layer computes."""
        return self.firmware.source.graph.tensor(layer.outputs[0]).name

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dumps(…, allow_nan=False)`; null is what this way of counting does not give."""
        measurement, firmware = self.measurement, self.firmware
        return {
            "format": FORMAT,
            "model": self.model.name,
            "model_sha256": self.model_sha256,
            "board": firmware.board.name,
            "core": firmware.board.cpu.core,
            "counter": self.counter,
            "compiler": self.compiler,
            "optimize": self.firmware.source.objective,
            "without": list(self.firmware.source.without),
            "inputs": dict(self.inputs),
            "timing": None if self.timing is None else _timing_json(self.timing),
            "layers": [self._layer_json(layer) for layer in self.layers],
            "total": _figures_json(measurement.total, self.macs),
            "functions": [_function_json(function) for function in measurement.functions],
            "lines": [
                {"file": line.file, "line": line.line, "instructions": line.instructions}
                for line in measurement.lines[:HOTTEST_LINES]
            ],
            "memory": self.memory(),
            "notes": list(measurement.notes),
        }

    def memory(self) -> dict[str, int | None]:
        """Bytes of the whole firmware. Model code and libraries are the parts of `flash_code_bytes` that an application
        links as well. `stack_bytes` is the bound of `model_run`, `stack_written_bytes` what it was seen to write to of
        that, `stack_used_bytes` all that was written, the stub's part included.
        """
        source, firmware = self.firmware.source, self.firmware
        return {
            "arena_bytes": source.arena_bytes,
            "arena_lower_bound": source.arena_lower_bound,
            "flash_bytes": firmware.flash_bytes,
            "flash_code_bytes": firmware.flash_code_bytes,
            "flash_model_code_bytes": self.code.own,
            "flash_library_bytes": self.code.library,
            "ram_bytes": firmware.ram_bytes,
            "stack_bytes": firmware.stack_bytes,
            "stack_written_bytes": self.measurement.total.stack,
            "stack_reserved_bytes": firmware.reserved_stack_bytes,
            "stack_used_bytes": self.measurement.stack_used,
        }

    def _layer_json(self, layer: Layer) -> dict[str, Any]:
        memory = self.footprints[layer.index]
        return {
            "index": layer.index,
            "name": layer.name,
            "op": layer.op,
            "ops": list(layer.ops),
            "tensor": self.tensor(layer),
            "file": layer.file,
            "schedule": layer.schedule,
            **_figures_json(self.measurement.layers[layer.index], layer.macs),
            "flash_code_bytes": memory.flash_code,
            "flash_constant_bytes": memory.flash_constants,
            "arena_bytes": memory.arena,
            "stack_bytes": memory.stack,
            "stack_written_bytes": self.measurement.layers[layer.index].stack,
        }


def _figures_json(figures: Figures, macs: int) -> dict[str, Any]:
    per_mac = None if figures.instructions is None or macs == 0 else round(figures.instructions / macs, 4)
    return {
        "instructions": figures.instructions,
        "cycles": figures.cycles,
        **_estimate_json(figures),
        "macs": macs,
        "instructions_per_mac": per_mac,
    }


def _estimate_json(figures: Figures) -> dict[str, Any]:
    estimate = figures.estimate
    return {
        "cycles_estimate": None if estimate is None else estimate.middle,
        "cycles_estimate_range": None if estimate is None else [estimate.low, estimate.high],
    }


def _function_json(function: Function) -> dict[str, Any]:
    return {
        "name": function.name,
        "file": function.file,
        "line": function.line,
        "calls": function.calls,
        "instructions": function.own.instructions,
        "instructions_inclusive": function.inclusive,
        **_estimate_json(function.own),
    }


def _timing_json(timing: Timing) -> dict[str, Any]:
    return {"name": timing.name, "source": timing.source, "assumptions": list(timing.assumptions)}
