"""From sums to output elements, four channels or pixels at a time: `rescale` in the lanes of MVE.

once    (addend + (sum * multiplier >> 32)) >> shift        where it is proven equal: see one_multiplication
twice   (addend + round(2 * sum * multiplier / 2^32)) >> shift        the reference's two roundings
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.compiler.intrinsics.lanes import I32X4
from harness.compiler.intrinsics.mve import (
    ADD,
    AT_LEAST,
    AT_MOST,
    HIGH,
    HIGH_DOUBLED,
    SHIFT_LEFT,
    SHIFT_RIGHT,
    SPREAD,
    saturate_shifted,
    shift_right,
)
from harness.compiler.loops import Buffer, Call, Const, Expr, Let, Load
from harness.compiler.schedules.rescale import Scaling
from harness.dtypes import DType


def spread(value: int) -> Expr:
    """A number in every lane."""
    return Call(SPREAD, (Const(value),))


@dataclass(frozen=True, eq=False)
class LaneScaling:
    """`scaling` with the channels from some channel on in the lanes; its tables hold four from there."""

    scaling: Scaling

    def lets(self, channel: Expr, suffix: str = "") -> tuple[Let, ...]:
        """The constants of four channels by name: multiplier, addend, and the shift where it is not one for all."""
        s = self.scaling
        multiplier = Let(f"multiplier{suffix}", self._entries(s.multipliers, channel))
        if s.addends is not None:
            return (multiplier, Let(f"addend{suffix}", self._entries(s.addends, channel)))
        twice = 2 * s.arithmetic.output_zero_point + 1  # the zero point and the half that rounds, before the shift
        if not isinstance(s.shifts, Buffer):
            return (multiplier, Let(f"addend{suffix}", spread((twice << s.shifts[0]) >> 1)))
        shift = Let(f"shift{suffix}", self._entries(s.shifts, channel))
        moved = Call(SHIFT_LEFT, (spread(twice), Call(ADD, (shift.var, spread(-1)))))
        return (multiplier, shift, Let(f"addend{suffix}", moved))

    def _entries(self, entries: Buffer, channel: Expr) -> Expr:
        only = self.scaling.only(entries)
        return Load(entries, (channel,), I32X4) if only is None else spread(only)

    def output(self, total: Expr, lets: Sequence[Let]) -> Expr:
        """The int8 elements, as four int32 lanes, of four sums that have a name."""
        known = {let.name.partition("_")[0]: let.var for let in lets}
        multiplier, addend = known["multiplier"], known["addend"]
        s, a = self.scaling, self.scaling.arithmetic
        if s.addends is not None:
            return self._clamped(Call(ADD, (Call(HIGH, (total, multiplier)), addend)), None)
        scaled = Call(ADD, (Call(HIGH_DOUBLED, (total, multiplier)), addend))
        if a.low < a.output_zero_point:  # below the zero point, ties are rounded away from zero
            scaled = Call(ADD, (scaled, Call(shift_right(31), (total,))))
        return self._clamped(scaled, known.get("shift"))

    def _clamped(self, scaled: Expr, shift: Expr | None) -> Expr:
        a = self.scaling.arithmetic
        low, high = int(a.low), int(a.high)
        if shift is not None:
            result: Expr = Call(SHIFT_RIGHT, (scaled, shift))
            return Call(AT_LEAST, (Call(AT_MOST, (result, spread(high))), spread(low)))
        assert not isinstance(self.scaling.shifts, Buffer)
        result = Call(saturate_shifted(int(self.scaling.shifts[0])), (scaled,))
        if high < DType.I8.max:
            result = Call(AT_MOST, (result, spread(high)))
        return Call(AT_LEAST, (result, spread(low))) if low > DType.I8.min else result
