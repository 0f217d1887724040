"""What is known of the sums that a contraction adds up. All drafts of a layer ask for the same, so it is found once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from harness.compiler.lowering.contraction import Arithmetic, Contraction, Depthwise
from harness.compiler.lowering.one_multiplication import OneMultiplication, Scale, one_multiplication
from harness.dtypes import DType

MOST_SHIFT = 22  # further to the right, the zero point does not fit in front of the shift
ROOM = 1 << 23  # what the upper of two sums in one register may not reach


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over windows with these `weights` (channels, taps)."""

    arithmetic: Arithmetic
    weights: np.ndarray
    _found: dict[tuple[int, ...], list[OneMultiplication | None]] = field(default_factory=dict)

    @cached_property
    def bias(self) -> np.ndarray:
        """The bias with the input's zero point in it, int64 (channels,).

        Right for every window, at the border too, once what lies in the padding counts as the zero point.
        """
        total = self.weights.astype(np.int64).sum(axis=1)
        return np.asarray(self.arithmetic.bias.astype(np.int64) - self.arithmetic.input_zero_point * total)

    @cached_property
    def largest(self) -> int:
        """The largest magnitude that a sum can have at any point."""
        heaviest = np.abs(self.weights.astype(np.int64)).sum(axis=1)
        return int((np.abs(self.bias) + 128 * heaviest).max())

    @cached_property
    def short_form(self) -> bool:
        """Whether sums can be doubled in 32 bits and every channel is shifted to the right, but not far."""
        a = self.arithmetic
        if a.dtype is not DType.I8 or a.multipliers is None or a.shifts is None:
            return False
        right = bool(np.all(a.shifts < 0)) and bool(np.all(a.shifts >= -MOST_SHIFT))
        return right and self.largest < 1 << 30

    @cached_property
    def pairs_fit(self) -> bool:
        """Whether two channels share 16 bits of weights, and two of their sums a register."""
        w = self.weights.astype(np.int64)
        upper, lower = w[1::2], w[0::2][: len(w[1::2])]
        return bool(np.all(upper * 256 + lower >= DType.I16.min)) and self.largest < ROOM

    def one_multiplications(self, fractions: tuple[int, ...]) -> list[OneMultiplication | None]:
        """What scales every so manieth channel, sums with so many bits below the point; None where nothing is exact."""
        if fractions not in self._found:
            parts = [slice(kind, None, len(fractions)) for kind in range(len(fractions))]
            self._found[fractions] = [
                one_multiplication(self._scale(part), fraction) for part, fraction in zip(parts, fractions, strict=True)
            ]
        return self._found[fractions]

    def _scale(self, part: slice) -> Scale:
        """The reference's scaling of some channels, and the sums that can occur in them."""
        a = self.arithmetic
        assert a.multipliers is not None
        assert a.shifts is not None
        w = self.weights.astype(np.int64)
        return Scale(
            multipliers=np.broadcast_to(a.multipliers, len(w)).astype(np.int64)[part],
            shifts=-np.broadcast_to(a.shifts, len(w)).astype(np.int64)[part],
            zero_point=a.output_zero_point,
            low=int(a.low),
            high=int(a.high),
            least=(self.bias + np.minimum(-128 * w, 127 * w).sum(axis=1))[part],
            most=(self.bias + np.maximum(-128 * w, 127 * w).sum(axis=1))[part],
        )


_KNOWN: WeakKeyDictionary[Contraction | Depthwise, Sums] = WeakKeyDictionary()


def sums_of(spec: Contraction | Depthwise) -> Sums:
    if spec not in _KNOWN:
        w = spec.weights
        flat = w.reshape(w.shape[0], -1) if isinstance(spec, Contraction) else w.reshape(-1, w.shape[2]).T
        _KNOWN[spec] = Sums(spec.arithmetic, flat)
    return _KNOWN[spec]
