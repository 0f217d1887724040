"""From a sum to an output element, for schedules that write whole programs: when a short form is exact, and how.

    once    (addend + (sum * multiplier >> 32)) >> shift        where it is proven equal: see one_multiplication
    twice   (addend + round(2 * sum * multiplier / 2^32)) >> shift        the reference's two roundings

In both the addend holds the zero point and the half that rounds, and where ties go away from zero, negative sums of the
second form take one from it. Sums are 32 bits wide, or 24 with 8 more bits below, which costs the first form nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np

from harness.compiler.intrinsics.fixed_point import HIGH_ADD, HIGH_ADD_ROUNDED, saturate_shifted
from harness.compiler.loops import Buffer, Call, Const, Expr, Let, Load, cast
from harness.compiler.lowering.building import to_int8
from harness.compiler.lowering.contraction import Arithmetic
from harness.compiler.lowering.one_multiplication import OneMultiplication
from harness.compiler.schedules.sums import Sums
from harness.dtypes import DType

BELOW = 8  # bits below the sum, in the upper one of a pair


@dataclass(frozen=True, eq=False)
class Scaling:
    """What the sums of a layer start with, and what makes outputs of them.

    In pairs there are two kinds of sums, in turn: every second one, an upper sum, stands BELOW bits higher.
    """

    arithmetic: Arithmetic
    channels: int
    kinds: int
    starts: np.ndarray  # int64 (length,)
    multipliers: Buffer  # int32 (length,)
    addends: Buffer | None  # int16 or int32 (length,); None: from the zero point and the shift
    shifts: tuple[int, ...] | Buffer  # one of each kind; or int8 (length,)
    _only: dict[tuple[Buffer, int], int | None] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, sums: Sums, length: int, *, pairs: bool = False) -> Scaling:
        """For the sums of the layer `name`, in tables of `length` entries."""
        known = _MADE.setdefault(sums, {})
        if (name, length, pairs) not in known:
            known[name, length, pairs] = cls._of(name, sums, length, (0, BELOW) if pairs else (0,))
        return known[name, length, pairs]

    @classmethod
    def _of(cls, name: str, sums: Sums, length: int, fractions: tuple[int, ...]) -> Scaling:
        arithmetic, weights = sums.arithmetic, sums.weights
        starts = np.zeros(length, np.int64)
        starts[: len(weights)] = sums.bias
        for kind, fraction in enumerate(fractions):
            starts[kind :: len(fractions)] <<= fraction
        found = sums.one_multiplications(fractions)
        proven = [one for one in found if one is not None]
        made = cls._once(starts, proven) if len(proven) == len(found) else cls._twice(starts, arithmetic, len(weights))
        multipliers, addends, shifts = made
        return cls(
            arithmetic,
            len(weights),
            len(fractions),
            starts,
            table(f"{name}_multiplier", multipliers),
            None if addends is None else table(f"{name}_addend", addends),
            table(f"{name}_shift", shifts) if isinstance(shifts, np.ndarray) else shifts,
        )

    @staticmethod
    def _once(starts: np.ndarray, found: Sequence[OneMultiplication]) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        """Multipliers, addends and shifts; the offsets go into `starts`."""
        multipliers, addends = np.zeros(len(starts), np.int32), np.zeros(len(starts), np.int32)
        for kind, one in enumerate(found):
            part = slice(kind, kind + len(found) * len(one.offsets), len(found))
            starts[part] += one.offsets
            multipliers[part] = one.multipliers
            addends[part] = one.addends
        short = np.abs(addends).max(initial=0) < 1 << 15
        return multipliers, addends.astype(np.int16) if short else addends, tuple(one.shift for one in found)

    @staticmethod
    def _twice(
        starts: np.ndarray, a: Arithmetic, channels: int
    ) -> tuple[np.ndarray, None, tuple[int, ...] | np.ndarray]:
        assert a.multipliers is not None
        assert a.shifts is not None
        multipliers, shifts = np.zeros(len(starts), np.int32), np.ones(len(starts), np.int8)
        multipliers[:channels] = a.multipliers
        shifts[:channels] = -a.shifts
        one = int(shifts[0])
        return multipliers, None, (one, one) if np.all(shifts[:channels] == one) else shifts

    @property
    def tables(self) -> tuple[Buffer, ...]:
        return tuple(b for b in (self.multipliers, self.addends, self.shifts) if isinstance(b, Buffer))

    def lets(self, channel: Expr, suffix: str = "", kind: int = 0) -> tuple[Let, ...]:
        """The constants of a `channel` of this kind by name: multiplier, addend, and the shift where it is one."""
        multiplier = Let(f"multiplier{suffix}", self._entry(self.multipliers, channel, kind))
        if self.addends is not None:
            return (multiplier, Let(f"addend{suffix}", self._entry(self.addends, channel, kind)))
        # The zero point and the half that rounds, in front of the shift.
        twice = 2 * self.arithmetic.output_zero_point + 1
        if not isinstance(self.shifts, Buffer):
            return (multiplier, Let(f"addend{suffix}", Const((twice << self.shifts[0]) >> 1)))
        shift = Let(f"shift{suffix}", self._entry(self.shifts, channel, kind))
        return (multiplier, Let(f"addend{suffix}", (Const(1) << (shift.var - 1)) * twice), shift)[::-1]

    def _entry(self, entries: Buffer, channel: Expr, kind: int) -> Expr:
        only = self.only(entries, kind)
        return cast(Load(entries, (channel,)), DType.I32) if only is None else Const(only)

    def only(self, entries: Buffer, kind: int = 0) -> int | None:
        """What all entries of a kind are; None where they differ."""
        if (entries, kind) not in self._only:
            assert entries.data is not None
            values = set(entries.data[kind : self.channels : self.kinds].tolist())
            self._only[entries, kind] = values.pop() if len(values) == 1 else None
        return self._only[entries, kind]

    def output(self, name: str, total: Expr, lets: Sequence[Let], kind: int = 0) -> tuple[tuple[Let, ...], Expr]:
        """The int8 element that a sum of this kind becomes, and before it what has to be named: `name` is free."""
        known = {let.name.partition("_")[0]: let.var for let in lets}
        multiplier, addend = known["multiplier"], known["addend"]
        a = self.arithmetic
        if self.addends is not None:
            assert not isinstance(self.shifts, Buffer)
            return (), self._clamped(Call(HIGH_ADD, (total, multiplier, addend)), Const(self.shifts[kind]))
        twice = Let(name, total >> (BELOW - 1) if kind else total + total)
        # Below the zero point all results are clamped alike, however ties among them are rounded.
        added: Expr = addend if a.low >= a.output_zero_point else addend + (twice.var >> 31)
        scaled = Call(HIGH_ADD_ROUNDED, (twice.var, multiplier, added))
        shift = known["shift"] if isinstance(self.shifts, Buffer) else Const(self.shifts[0])
        return (twice,), self._clamped(scaled, shift)

    def _clamped(self, scaled: Expr, shift: Expr) -> Expr:
        low, high = int(self.arithmetic.low), int(self.arithmetic.high)
        if isinstance(shift, Const) and (low, high) == (-128, 127) and shift.value:
            return Call(saturate_shifted(int(shift.value)), (scaled,))
        return to_int8(scaled >> shift, 0, low, high)


_MADE: WeakKeyDictionary[Sums, dict[tuple[str, int, bool], Scaling]] = WeakKeyDictionary()  # drafts share them


def table(name: str, data: np.ndarray, *, align: int = 1) -> Buffer:
    """A constant that comes from the model: it lives in weights.c, under a name unique in the whole model."""
    return Buffer(name, DType.of(data.dtype), data.shape, "const", data, True, align)
