"""What of a tensor can be compared with what it should be, where the compiler left channels out.

computed    the device has them: compared with what it holds
assumed     one value for every input, says a pass: that value is compared, for no kept channel may show it
unread      nobody needs them, nobody computed them: nothing can be said, and nothing is counted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.compiler.csource import Layer
from harness.compiler.graph import Graph, Kept, TensorId
from harness.oracle import Difference, Tolerance
from harness.oracle.tolerance import NOTHING

Values = Mapping[TensorId, np.ndarray]
_PASS = "drop-channels"
_NAMED = 3  # channels of a tensor that a note names


@dataclass(frozen=True)
class Yardstick:
    graph: Graph  # the model as it was read
    kept: Mapping[TensorId, Kept]
    tolerance: Tolerance

    def computed(self, tensor: TensorId, whole: np.ndarray) -> np.ndarray:
        """The part of a tensor in the model's shape that the device computes."""
        kept = self.kept.get(tensor)
        return whole if kept is None else kept.project(whole)

    def difference(self, tensors: Sequence[TensorId], wanted: Values, made: Values) -> Difference:
        """Over what the device computes of `tensors`; both sides in the model's shapes."""
        total = NOTHING
        for t in tensors:
            total += self.tolerance.difference(self.computed(t, wanted[t]), self.computed(t, made[t]))
        return total

    def constants(self, tensors: Sequence[TensorId], wanted: Values) -> Difference:
        """Over the channels of `tensors` that were taken for one value: those values against `wanted`."""
        total = NOTHING
        for t in tensors:
            kept = self.kept.get(t)
            if kept is not None and kept.assumed:
                total += self.tolerance.difference(*_assumption(kept, wanted[t]))
        return total

    def equal(self, tensor: TensorId, wanted: np.ndarray, made: np.ndarray) -> bool:
        """Whether the device holds of `tensor` what it should; both sides in the model's shape."""
        return self.difference([tensor], {tensor: wanted}, {tensor: made}).mismatches == 0

    def contradiction(self, layer: Layer, wanted: Values) -> str:
        """Which channels of the layer's outputs were taken for a value that they do not have; empty: none."""
        found = []
        for tensor in layer.outputs:
            kept = self.kept.get(tensor)
            if kept is None or not kept.assumed:
                continue
            right, assumed = (a.reshape(-1, len(kept.assumed)) for a in _assumption(kept, wanted[tensor]))
            wrong = np.flatnonzero((right != assumed).any(axis=0))
            for column in wrong[:_NAMED]:
                channel, value = kept.assumed[column], assumed[0, column]
                others = right[:, column][right[:, column] != value]
                found.append(
                    f"the pass {_PASS} takes channel {channel} of tensor {tensor} {self.graph.tensor(tensor).name!r} "
                    f"for {value}, expected is {others[0]} in {len(others)} of {len(right)} places"
                )
            if len(wrong) > _NAMED:
                found.append(f"and {len(wrong) - _NAMED} more of its channels")
        return "; ".join(found)


def _assumption(kept: Kept, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the channels taken for one value should be, and that value in the same shape."""
    right = wanted[..., list(kept.assumed)]
    values = np.array([kept.values[c] for c in kept.assumed], wanted.dtype)
    return right, np.broadcast_to(values, right.shape)
