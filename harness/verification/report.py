"""What a verification found, whole: the source of the console's tables, of the JSON and of a failing test's text."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.board import HostRun
from harness.compiler.choose import Objective
from harness.compiler.csource import CSource
from harness.compiler.graph import Kept, Tensor
from harness.cpustate import MemorySpan
from harness.debug.comparison import Comparison, LayerResult, OutputResult
from harness.debug.crash import Crash
from harness.firmware import Firmware
from harness.oracle import FLOAT_RANGE, Difference, Expected, Tolerance
from harness.runners.base import Traffic
from harness.session import LogLine
from harness.verdict import Verdict


@dataclass(frozen=True)
class Settings:
    """What was asked for: enough to ask for it again."""

    model: Path
    board: str
    oracle: str
    samples: int
    seed: int
    inputs: Path | None = None  # None: drawn from the seed
    url: str | None = None
    isolated: bool = False
    sources: Path | None = None
    objective: Objective = Objective.BALANCED
    without: tuple[str, ...] = ()  # passes of the compiler; with `sources` the folder itself knows
    level: str = "-O2"
    timeout: float | None = None  # seconds a layer may take; None: the session's own limit
    tolerance: Tolerance = field(default_factory=Tolerance)

    @property
    def command(self) -> str:
        """The command line that does this run again."""
        words = ["harness", "verify", str(self.model), "--board", self.board]
        words += ["--board-url", self.url] if self.url else []
        words += ["--inputs", str(self.inputs)] if self.inputs else ["--seed", str(self.seed)]
        words += ["--samples", str(self.samples)] if self.inputs is None and self.samples != 1 else []
        words += ["--oracle", self.oracle]
        words += ["--isolated"] if self.isolated else []
        words += ["--sources", str(self.sources)] if self.sources else []
        words += [f"--optimize={self.objective.value}"] if self.objective is not Objective.BALANCED else []
        words += [word for name in self.without for word in ("--without", name)]
        words += [self.level] if self.level != "-O2" else []
        words += ["--timeout", f"{self.timeout:g}"] if self.timeout else []
        return shlex.join(words)


@dataclass(frozen=True)
class Counts:
    """Elements by what can be said of them."""

    computed: int  # by the device
    constant: int  # not computed, one value for every input: that value is compared
    unread: int  # not computed because nobody reads them: nothing is compared

    @property
    def compared(self) -> int:
        return self.computed + self.constant

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.computed + other.computed, self.constant + other.constant, self.unread + other.unread)


@dataclass(frozen=True)
class Report:
    settings: Settings
    source: CSource
    firmware: Firmware
    expected: Expected
    comparison: Comparison
    crash: Crash | None  # of a target that crashed, locked up or timed out, where its state could be read
    left: tuple[MemorySpan, ...]  # memory that could be read of a target that stopped
    timings: Mapping[str, float]  # seconds by stage, in order
    inputs: tuple[np.ndarray, ...]  # one array (samples, *shape) per input of the model
    traffic: tuple[Traffic, ...]  # every piece of bytes that went over the line, in order
    log: tuple[LogLine, ...]  # the firmware's own words
    artifacts: Path | None = None

    @property
    def verdict(self) -> Verdict:
        return self.comparison.verdict

    @property
    def ok(self) -> bool:
        return self.verdict is Verdict.MATCH

    @property
    def uart_log(self) -> bytes:
        """Everything that came from the target, to the last byte."""
        return b"".join(piece.data for piece in self.traffic if not piece.outgoing)

    @property
    def replay(self) -> str | None:
        """The command line that runs this very image again; None when nothing of the run is kept."""
        if self.artifacts is None:
            return None
        words = ["harness", "replay", str(self.artifacts)]
        words += ["--board-url", self.settings.url] if self.settings.url else []
        words += ["--trust"] if isinstance(self.firmware.board.runner, HostRun) and not self.settings.url else []
        return shlex.join(words)

    @property
    def stopped(self) -> str:
        """Why the run ended early, in one paragraph; empty when it did not."""
        if self.comparison.stopped is not None:
            return self.comparison.stopped.what
        return str(self.comparison.broken or "")

    @property
    def crashed_layer(self) -> int | None:
        """Index of the layer in which the target stopped, None when it did not or was outside the model.

        What the firmware noted may have been overwritten: then the chain of calls says it.
        """
        if self.comparison.stopped is None:
            return None
        noted = self.comparison.stopped.layer
        return noted if noted is not None or self.crash is None else self.crash.layer

    def layer_of(self, op: int) -> int | None:
        """Index of the layer that computes the model's operator `op`."""
        return next((layer.index for layer in self.source.layers if op in layer.ops), None)

    def output_tensors(self, result: LayerResult) -> tuple[Tensor, ...]:
        return tuple(self.source.graph.tensor(t) for t in result.layer.outputs)

    def counts(self, result: LayerResult) -> Counts:
        """How many elements of a layer's outputs are held to the oracle, and in which way."""
        total = Counts(0, 0, 0)
        for tensor in result.layer.outputs:
            kept = self.source.kept.get(tensor)
            if kept is None:
                total += Counts(self.source.graph.tensor(tensor).elements, 0, 0)
            else:
                parts = (kept.channels, kept.assumed, kept.unread)
                total += Counts(*(len(channels) * kept.rows for channels in parts))
        return total

    def elements(self, result: LayerResult) -> int:
        """How many elements of a layer's outputs are held to the oracle."""
        return self.counts(result).compared

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps(…, allow_nan=False)` takes; differences that are no number are null."""
        settings, comparison = self.settings, self.comparison
        return {
            "verdict": self.verdict.value,
            "model": settings.model.name,
            "board": self.firmware.board.name,
            "oracle": settings.oracle,
            "samples": settings.samples,
            "seed": None if settings.inputs else settings.seed,
            "inputs": str(settings.inputs) if settings.inputs else {"float32_range": list(FLOAT_RANGE)},
            "isolated": settings.isolated,
            "without": list(self.source.without),
            "tolerance": settings.tolerance.to_json(),
            "layers": [self._layer_json(result) for result in comparison.layers],
            "outputs": [self._output_json(output) for output in comparison.outputs],
            "whole_model_agrees": comparison.whole_model_agrees,
            "memory": self.memory(),
            "crash": None if self.crash is None else self.crash.to_json(),
            "stopped": self._stopped_json(),
            "oracle_disagreements": [
                {**disagreement.to_json(), "layer": self.layer_of(disagreement.op)}
                for disagreement in self.expected.disagreements
            ],
            "oracle_overwritten": [self.source.graph.tensor(t).name for t in self.expected.overwritten],
            "notes": list(comparison.notes),
            "timings": {stage: round(seconds, 4) for stage, seconds in self.timings.items()},
            "rerun": settings.command,
            "replay": self.replay,
            "artifacts": str(self.artifacts) if self.artifacts else None,
        }

    def memory(self) -> dict[str, int]:
        """Bytes; `flash_code_bytes` is flash without the model's constants."""
        return {
            "arena_bytes": self.source.arena_bytes,
            "arena_lower_bound": self.source.arena_lower_bound,
            "flash_bytes": self.firmware.flash_bytes,
            "flash_code_bytes": self.firmware.flash_code_bytes,
            "ram_bytes": self.firmware.ram_bytes,
            "stack_bytes": self.firmware.stack_bytes,
        }

    def _layer_json(self, result: LayerResult) -> dict[str, Any]:
        layer, tensors = result.layer, self.output_tensors(result)
        kept = self.source.kept.get(layer.outputs[0])
        return {
            "index": layer.index,
            "name": layer.name,
            "ops": list(layer.ops),
            "op": layer.op,
            "file": layer.file,
            "tensor": tensors[0].name,
            "shape": list(tensors[0].shape),
            "dtype": tensors[0].dtype.value,
            "elements": self.elements(result),
            "compared": asdict(self.counts(result)),
            "channels": None if kept is None else _channels_json(kept),
            **_difference_json(result.whole),
            "status": result.status.value,
            "sample": result.sample,
            "note": result.note,
        }

    def _output_json(self, output: OutputResult) -> dict[str, Any]:
        tensor = self.source.graph.tensor(output.tensor)
        return {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "dtype": tensor.dtype.value,
            "crc32": f"0x{output.crc32:08x}",
            **_difference_json(output.difference),
        }

    def _stopped_json(self) -> dict[str, Any] | None:
        if not self.stopped:
            return None
        stopped = self.comparison.stopped
        return {
            "what": self.stopped,
            "layer": self.crashed_layer,
            "sample": self.comparison.last_sample,
            "detail": stopped.detail if stopped is not None else "",
        }


def _channels_json(kept: Kept) -> dict[str, int]:
    parts = {"computed": kept.channels, "constant": kept.assumed, "unread": kept.unread}
    return {"model": kept.shape[-1], **{name: len(channels) for name, channels in parts.items()}}


def _difference_json(difference: Difference) -> dict[str, Any]:
    largest = difference.max_abs_diff
    shown = {"mismatches": difference.mismatches, "max_abs_diff": largest if math.isfinite(largest) else None}
    return shown if difference.max_ulp is None else {**shown, "max_ulp": difference.max_ulp}
