"""From a sum to an output element, for schedules that write whole programs: when the short form is exact, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.compiler.intrinsics.fixed_point import RESCALE, RESCALE_UP
from harness.compiler.loops import Buffer, Call, Const, Expr, Let, Load, cast
from harness.compiler.lowering.building import to_int8
from harness.compiler.lowering.contraction import Arithmetic
from harness.dtypes import DType


def folded_bias(arithmetic: Arithmetic, weights: np.ndarray) -> np.ndarray:
    """The bias with the input's zero point in it, int64 (channels,); `weights` (channels, taps).

    Right for every window, at the border too, once what lies in the padding counts as the zero point.
    """
    total = weights.astype(np.int64).sum(axis=1)
    return np.asarray(arithmetic.bias.astype(np.int64) - arithmetic.input_zero_point * total)


def largest_sum(arithmetic: Arithmetic, weights: np.ndarray) -> np.ndarray:
    """Of every channel the largest magnitude that a sum can have at any point, int64 (channels,)."""
    heaviest = np.abs(weights.astype(np.int64)).sum(axis=1)
    return np.asarray(np.abs(folded_bias(arithmetic, weights)) + 128 * heaviest)


def short_form(arithmetic: Arithmetic, weights: np.ndarray) -> bool:
    """Whether sums can be doubled in 32 bits and every channel is shifted to the right."""
    a = arithmetic
    if a.dtype is not DType.I8 or a.multipliers is None or a.shifts is None:
        return False
    right = bool(np.all(a.shifts < 0)) and bool(np.all(a.shifts > -32))
    return right and int(largest_sum(a, weights).max()) < 1 << 30


@dataclass(frozen=True, eq=False)
class Scaling:
    """Multiplier and shift of every channel, as constants where all channels share them and as tables elsewhere."""

    arithmetic: Arithmetic
    multipliers: np.ndarray
    shifts: np.ndarray
    multiplier: Buffer
    shift: Buffer

    @classmethod
    def of(cls, name: str, arithmetic: Arithmetic, channels: int, length: int) -> Scaling:
        """For `channels` of the layer `name`, in tables of `length` entries."""
        assert arithmetic.multipliers is not None
        assert arithmetic.shifts is not None
        multipliers = np.broadcast_to(arithmetic.multipliers, channels).astype(np.int32)
        shifts = -np.broadcast_to(arithmetic.shifts, channels).astype(np.int8)
        beyond = length - channels
        return cls(
            arithmetic,
            multipliers,
            shifts,
            table(f"{name}_multiplier", np.concatenate([multipliers, np.zeros(beyond, np.int32)])),
            table(f"{name}_shift", np.concatenate([shifts, np.ones(beyond, np.int8)])),
        )

    def lets(self, channel: Expr, suffix: str = "") -> tuple[Let, Let]:
        """Multiplier and shift of `channel` by name."""
        return (
            Let(f"multiplier{suffix}", _entry(self.multipliers, self.multiplier, channel)),
            Let(f"shift{suffix}", _entry(self.shifts, self.shift, channel)),
        )

    def output(self, total: Expr, lets: Sequence[Let]) -> Expr:
        """The int8 element that a sum becomes."""
        a = self.arithmetic
        # Below the zero point all results are clamped alike, however ties among them are rounded.
        rescale = RESCALE_UP if a.low >= a.output_zero_point else RESCALE
        scaled = Call(rescale, (total, *(let.var for let in lets), Const(a.output_zero_point)))
        return to_int8(scaled, 0, int(a.low), int(a.high))


def table(name: str, data: np.ndarray, *, align: int = 1) -> Buffer:
    """A constant that comes from the model: it lives in weights.c, under a name unique in the whole model."""
    return Buffer(name, DType.of(data.dtype), data.shape, "const", data, True, align)


def _entry(values: np.ndarray, entries: Buffer, channel: Expr) -> Expr:
    if len(np.unique(values)) == 1:
        return Const(int(values[0]))
    return cast(Load(entries, (channel,)), DType.I32)
