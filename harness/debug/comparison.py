"""What a comparison found: a status and a difference for every layer, and what `model_run` left in the outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from harness.compiler.csource import CSource, Layer
from harness.compiler.graph import TensorId
from harness.errors import InfrastructureError
from harness.oracle.tolerance import NOTHING, Difference
from harness.verdict import TargetStopped, Verdict


class Status(Enum):
    MATCH = "match"
    NOT_RUN = "not_run"
    PROPAGATED = "propagated"
    LOCAL = "local"


# Over several samples the worst counts. A layer that did not run in some sample is not known to match.
_SEVERITY = {Status.MATCH: 0, Status.NOT_RUN: 1, Status.PROPAGATED: 2, Status.LOCAL: 3}


@dataclass(frozen=True)
class LayerResult:
    layer: Layer
    status: Status
    difference: Difference = NOTHING  # of the sample that is worst off, over what the device computed of all outputs
    constants: Difference = NOTHING  # over the channels that are not computed because they are taken for one value
    sample: int | None = None  # first sample in which the layer does not match
    note: str = ""

    @property
    def whole(self) -> Difference:
        """Over all that is held to the oracle."""
        return self.difference + self.constants


@dataclass(frozen=True)
class OutputResult:
    """An output of the model as `model_run` left it, over all samples."""

    tensor: TensorId
    crc32: int  # of the samples one after the other
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    layers: tuple[LayerResult, ...]
    outputs: tuple[OutputResult, ...]  # empty when the run ended before the first sample was through
    stopped: TargetStopped | None = None  # the firmware did not come back
    broken: InfrastructureError | None = None  # what carries the run failed: emulator, port, protocol
    last_sample: int = 0  # the sample at which the run ended
    whole_model_agrees: bool | None = None  # model_run gives what layer by layer gives; None: not known
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        if self.broken is not None:
            return Verdict.INFRASTRUCTURE
        if self.stopped is not None:
            return self.stopped.verdict
        right = all(r.status is Status.MATCH for r in self.layers) and self.whole_model_agrees is not False
        right = right and all(o.difference.mismatches == 0 for o in self.outputs)
        return Verdict.MATCH if right else Verdict.MISMATCH


def worse(one: LayerResult, other: LayerResult) -> LayerResult:
    """The worse of two samples' results, with the first failing sample's number."""

    def badness(result: LayerResult) -> tuple[int, int, float]:
        return _SEVERITY[result.status], result.whole.mismatches, result.whole.max_abs_diff

    failing = [r.sample for r in (one, other) if r.sample is not None]
    return replace(max(one, other, key=badness), sample=min(failing) if failing else None)


def nothing_ran(source: CSource, stopped: TargetStopped) -> Comparison:
    """The comparison of a target that stopped before it could be asked for anything."""
    return Comparison(tuple(LayerResult(layer, Status.NOT_RUN, sample=0) for layer in source.layers), (), stopped)
