"""Scaling a sum by one multiplication: the reference's two roundings, and the zero point, in a single rounding down.

    reference   round(round(sum * m / 2^31) / 2^s) + zero point, clamped
    here        (addend + ((sum + offset) * multiplier >> 32)) >> shift, clamped

Both never fall as the sum grows, and both are clamped to at most 256 values: they are equal everywhere as soon as they
are equal on both sides of each of the at most 255 steps of the reference, which is what is checked here.

In units of 2^-(31 + s), the reference adds 2^30 for its first rounding, 2^(30 + s) for the second, and the zero point.
The offset, a whole number of sums, brings most of that; it costs nothing, since the bias takes it in. What is left are
parts of a sum: a few more offsets make a whole number of 2^32 of them, and the addend takes those off again.

The first rounding is to nearest, ties up; the second takes ties away from zero, which is up only for sums that are not
negative: this is for outputs that are clamped from the zero point on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from harness.compiler.lowering.quantise import requantise

WORD = 1 << 32
# Bits of the offsets that are looked at for parts of a sum, and below what addends then have to stay: 16-bit addends
# take less room, the others come nearer to what is wanted.
SEARCHED = ((15, 1 << 15), (18, 1 << 30))
MOST_SHIFT = 21
LARGEST = 1 << 31  # a sum with its offset stays below
NEIGHBOURS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


@dataclass(frozen=True, eq=False)
class Scale:
    """What a reference form looks like for every channel, int64 (channels,): see above for the formula."""

    multipliers: np.ndarray  # of the reference, m
    shifts: np.ndarray  # of the reference, s, 1 … 31
    zero_point: int
    low: int
    high: int  # of the clamp: -128 … 127 at most
    least: np.ndarray  # sums that can occur
    most: np.ndarray

    def reference(self, sums: np.ndarray) -> np.ndarray:
        """The output elements of sums (channels, n)."""
        scaled = requantise(sums, self.multipliers[:, np.newaxis], -self.shifts[:, np.newaxis]) + self.zero_point
        return np.asarray(np.clip(scaled, self.low, self.high))

    def around_steps(self) -> np.ndarray:
        """Of every channel the sums on both sides of each step of the reference, then the ends: (channels, n)."""
        outputs = np.arange(self.low + 1, self.high + 1, dtype=np.int64) - self.zero_point
        s, m = self.shifts[:, np.newaxis], self.multipliers[:, np.newaxis]
        # The least sum with sum * m + 2^30 >= (output - 1/2) * 2^(s + 31).
        first = -(((1 << 30) - (2 * outputs - 1) * (np.int64(1) << (s + 30))) // m)
        ends = np.stack([self.least, self.most], axis=1)
        inside = np.clip(np.concatenate([first - 1, first], axis=1), ends[:, :1], ends[:, 1:])
        return np.concatenate([inside, ends], axis=1)


@dataclass(frozen=True, eq=False)
class OneMultiplication:
    """int64 (channels,), and one shift for all of them."""

    offsets: np.ndarray  # in units of a sum divided by 2^fraction
    multipliers: np.ndarray
    addends: np.ndarray
    shift: int

    def outputs(self, sums: np.ndarray, fraction: int, low: int, high: int) -> np.ndarray:
        """What it makes of sums (channels, n); LARGEST where a sum with its offset is too large."""
        moved = (sums << fraction) + self.offsets[:, np.newaxis]
        scaled = self.addends[:, np.newaxis] + (moved * self.multipliers[:, np.newaxis] >> 32)
        return np.where(np.abs(moved) < LARGEST, np.clip(scaled >> self.shift, low, high), LARGEST)

    def where(self, chosen: np.ndarray, other: OneMultiplication) -> OneMultiplication:
        """This one in the `chosen` channels, `other` in the rest."""
        return OneMultiplication(
            np.where(chosen, self.offsets, other.offsets),
            np.where(chosen, self.multipliers, other.multipliers),
            np.where(chosen, self.addends, other.addends),
            self.shift,
        )


def one_multiplication(scale: Scale, fraction: int = 0) -> OneMultiplication | None:
    """`scale` by one multiplication of sums that stand `fraction` bits to the left; None where none was found.

    Multipliers are below 2^31 and addends below 2^30, and 2^15 if that can be.
    """
    if not len(scale.shifts):  # the upper sums of a layer of one channel
        none = np.zeros(0, np.int64)
        return OneMultiplication(none, none, none, 0)
    if scale.low < scale.zero_point or bool(np.any(scale.shifts > MOST_SHIFT)):
        return None
    sums = scale.around_steps()
    expected = scale.reference(sums)
    settled = expected[:, -2] == expected[:, -1]  # one output for every sum
    common = int(np.where(settled, MOST_SHIFT, scale.shifts).min())
    shift = common - 1 + fraction
    if shift > MOST_SHIFT:
        return None
    always = _settled(scale, expected[:, -1], fraction, shift)
    found, proven = always, np.zeros(len(sums), bool)
    middle = (sums[:, :-2].min(axis=1) + sums[:, :-2].max(axis=1)) >> 1
    for (bits, limit), up, neighbour in product(SEARCHED, (False, True), NEIGHBOURS):
        attempt = always.where(settled, _attempt(scale, common, fraction, middle, up, bits, neighbour))
        found = found.where(proven, attempt)
        equal = (found.outputs(sums, fraction, scale.low, scale.high) == expected).all(axis=1)
        proven = equal & (np.abs(found.addends) < limit)
        if proven.all():
            return found
    return None


def _settled(scale: Scale, outputs: np.ndarray, fraction: int, shift: int) -> OneMultiplication:
    """For channels of one output whatever the sum: a multiplier too small for the sums to matter."""
    multiplier = 1 << (shift + 9)
    middle = (scale.least + scale.most) >> 1
    offsets = (outputs << 23) + (1 << 22) - (middle << fraction)
    return OneMultiplication(offsets, np.full_like(offsets, multiplier), np.zeros_like(offsets), shift)


def _attempt(
    scale: Scale, common: int, fraction: int, middle: np.ndarray, up: bool, bits: int, neighbour: tuple[int, int]
) -> OneMultiplication:
    """For channels that shift by `common` or more. Multipliers of those that shift further lose bits: rounded to the
    nearest, or (`up`) the other way."""
    finer = np.maximum(scale.shifts - common, 0)
    multipliers = ((scale.multipliers << 1 >> finer) + 1) >> 1
    lost = (multipliers << finer) - scale.multipliers
    if up:
        multipliers = multipliers - np.sign(lost)
        lost = (multipliers << finer) - scale.multipliers
    halves = ((1 << 30) + (np.int64(1) << (30 + common + finer))) >> finer
    wanted = halves + (np.int64(scale.zero_point) << (31 + common))
    # Right in the middle of the steps, a rounded multiplier is as wrong at one end as at the other.
    wanted = (wanted - (lost * middle >> finer)) << fraction
    whole = wanted // multipliers
    offsets = whole + _parts(multipliers, wanted - whole * multipliers, bits, neighbour)
    addends = (wanted - offsets * multipliers + WORD // 2) >> 32
    return OneMultiplication(offsets, multipliers, addends, common - 1 + fraction)


def _parts(multipliers: np.ndarray, wanted: np.ndarray, bits: int, neighbour: tuple[int, int]) -> np.ndarray:
    """Offsets of about `bits` bits for which offset * multiplier is near `wanted` modulo 2^32.

    The pairs (offset, distance) are a lattice, spanned by (1, multiplier) and (0, 2^32): Gauss' reduction gives it two
    short vectors, and rounding in their coordinates (Babai) a point near (0, wanted), of which `neighbour` is the
    number of steps to another one.
    """
    n = len(multipliers)
    a = np.stack([np.ones(n), multipliers.astype(np.float64)], axis=1)
    b = np.stack([np.zeros(n), np.full(n, float(WORD))], axis=1)
    weight = np.array([2.0 ** (32 - 2 * bits), 1.0])  # as if offsets were as large as distances
    for _ in range(64):
        longer = (((a * weight) ** 2).sum(axis=1) > ((b * weight) ** 2).sum(axis=1))[:, np.newaxis]
        a, b = np.where(longer, b, a), np.where(longer, a, b)
        times = np.rint((a * b * weight**2).sum(axis=1) / ((a * weight) ** 2).sum(axis=1))
        if not times.any():
            break
        b = b - times[:, np.newaxis] * a
    determinant = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    along_a = np.rint(-b[:, 0] * wanted / determinant) + neighbour[0]
    along_b = np.rint(a[:, 0] * wanted / determinant) + neighbour[1]
    return (along_a * a[:, 0] + along_b * b[:, 0]).astype(np.int64)
