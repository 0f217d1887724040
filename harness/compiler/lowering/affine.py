"""Whole formulas of quantised operators in one multiplication a term, proven equal for every input they can get.

    reference   two or three roundings of 32-bit products, the zero points, clamped to low … high
    here        g = centre + Σ multipliers[i] * terms[i]
                (g + addend - below * (1 if g < 0)) >> shift, clamped

What the reference computes is near offset + Σ weights[i] * terms[i], rounded to the nearest integer; how near depends
on its roundings, which follow no simple law. But there are few inputs: 256 values of one int8, 65,536 pairs of two. So
the integers are searched for, and the result is compared with the reference on all of them.

Each input whose output is not clamped bounds the sum from both sides; for given multipliers, what they leave of the
addend is an interval. Inputs that are near a step of the reference decide it: they are a handful, so that all
multipliers in the neighbourhood of the real weights are tried at once.

A product of two elements has 17 bits and leaves a multiplier no more than 14. Where that is too coarse, the product is
moved to the left as far as it goes, and the upper half of a product of 64 bits taken:

    g = ((term << finer) * multiplier) >> 32

Where ties occur the reference rounds them away from zero, in the other direction for negative sums: `below` is what is
taken from those, and 0 wherever it does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np

from harness.dtypes import DType

REACH = {1: 64, 2: 16}  # by number of terms: how far from the real weights multipliers are looked for
MOST_DECIDING = 256  # inputs that choose the multipliers; the rest are only compared at the end
TRIED = 4  # of the multipliers that leave room for an addend, those that are compared
MOST_SHIFT = 31
FINER_STEPS = 8  # bits of multipliers of 31 bits that are not searched
MARGIN = 1.0  # by which, in units of the output, integers may take a sum further than the real weights do
_NONE = np.int64(1) << 61  # no bound


@dataclass(frozen=True)
class Affine:
    """The integers of the formula; everything that is computed on the way fits 32 bits."""

    multipliers: tuple[int, ...]
    centre: int
    addend: int
    below: int
    shift: int
    low: int
    high: int
    finer: int = 0  # bits by which the only term is moved; 0: the product has 32 bits

    def outputs(self, terms: Sequence[np.ndarray]) -> np.ndarray:
        """int64: the formula for terms of one shape, int64."""
        if self.finer:
            total = (terms[0] << self.finer) * self.multipliers[0] >> 32
        else:
            total = np.asarray(self.centre + sum(m * x for m, x in zip(self.multipliers, terms, strict=True)))
        return np.asarray(np.clip((total + self.addend - self.below * (total < 0)) >> self.shift, self.low, self.high))


@dataclass(frozen=True, eq=False)
class Formula:
    """What is to be computed: int64 (n,) each of terms, and the reference's outputs for them."""

    terms: tuple[np.ndarray, ...]
    outputs: np.ndarray
    weights: tuple[float, ...]  # the real scale of each term, in units of the output
    zero_points: tuple[int, ...]  # of each term
    output_zero_point: int
    low: int
    high: int

    @property
    def centre(self) -> float:
        return -sum(w * z for w, z in zip(self.weights, self.zero_points, strict=True))

    @property
    def real(self) -> np.ndarray:
        """float64 (n,): the output before it is rounded down."""
        total = sum(w * x for w, x in zip(self.weights, self.terms, strict=True))
        return np.asarray(total + self.centre + self.output_zero_point + 0.5)


@lru_cache(maxsize=16)  # several schedules ask for the same one
def affine(formula: Formula) -> Affine | None:
    """Integers that give what the reference gives for all inputs; None where none were found.

    Where there is one output only, nothing is looked for.
    """
    if np.all(formula.outputs == formula.outputs[0]):
        return None
    finer = _finer(formula)
    for bits, with_ties in product((0, finer) if finer else (0,), (False, True)):
        shift = _shift(formula, with_ties, bits)
        for candidate in _candidates(formula, shift, with_ties, bits) if shift > 0 else ():
            if np.array_equal(candidate.outputs(formula.terms), formula.outputs):
                return _without_needless_bounds(candidate, formula)
    return None


def _without_needless_bounds(found: Affine, formula: Formula) -> Affine:
    """With int8's own bounds in the place of those that no input reaches: saturation is cheaper than comparing."""
    looser = replace(found, high=DType.I8.max)
    if np.array_equal(looser.outputs(formula.terms), formula.outputs):
        found = looser
    looser = replace(found, low=DType.I8.min)
    return looser if np.array_equal(looser.outputs(formula.terms), formula.outputs) else found


def _finer(formula: Formula) -> int:
    """By how much a single term can be moved to the left; 0 where it has a zero point or there are several."""
    if len(formula.terms) > 1 or formula.zero_points != (0,):
        return 0
    return max(31 - int(np.abs(formula.terms[0]).max()).bit_length(), 0)


def _shift(formula: Formula, with_ties: bool, finer: int) -> int:
    """The largest with which nothing leaves 32 bits: each product, the first with what is added, then the sums."""
    ends = [(w * float(x.min()), w * float(x.max())) for w, x in zip(formula.weights, formula.terms, strict=True)]
    largest = max(abs(end) for pair in ends for end in pair)
    whole = formula.centre + formula.output_zero_point + 0.5
    for start in (formula.centre, whole) if with_ties else (whole,):
        low = high = start
        for pair in ends:
            low, high = low + min(pair), high + max(pair)
            largest = max(largest, abs(low), abs(high))
    shift = min(int(np.floor(31 - np.log2(largest + MARGIN))), MOST_SHIFT)
    if finer:  # the multiplier is weight * 2^(shift + 32 - finer), and has 31 bits
        shift = min(shift, int(np.floor(finer - 1.01 - np.log2(formula.weights[0]))))
    return shift


def _candidates(formula: Formula, shift: int, with_ties: bool, finer: int) -> list[Affine]:
    """Those with most room for the addend first."""
    reach = REACH[len(formula.terms)]
    chosen = _deciding(formula, shift, reach)
    terms = [x[chosen] for x in formula.terms]
    outputs = formula.outputs[chosen]
    nearest = [round(w * 2.0 ** (shift + 32 - finer if finer else shift)) for w in formula.weights]
    step = 1 << FINER_STEPS if finer else 1
    tried = np.array(list(product(*(range(m - reach * step, m + reach * step + 1, step) for m in nearest))), np.int64)
    centres = -(tried * np.array(formula.zero_points, np.int64)).sum(axis=1)
    if finer:
        totals = (terms[0] << finer) * tried >> 32
    else:
        totals = centres[:, np.newaxis] + tried @ np.stack(terms)
    least = np.where(outputs > formula.low, (outputs << shift) - totals, -_NONE)
    most = np.where(outputs < formula.high, (outputs + 1 << shift) - 1 - totals, _NONE)
    wanted = (2 * formula.output_zero_point + 1) << (shift - 1)
    if not with_ties:
        above, room = _addends(least, most, wanted)
        below = np.zeros_like(above)
    else:
        negative = totals < 0
        above, room = _addends(np.where(negative, -_NONE, least), np.where(negative, _NONE, most), wanted)
        under, other = _addends(np.where(negative, least, -_NONE), np.where(negative, most, _NONE), wanted)
        # One less for a negative sum is cheap: preferred where it is among what may be.
        ends = np.where(negative, least, -_NONE).max(axis=1), np.where(negative, most, _NONE).min(axis=1)
        one_less = above - 1
        under = np.where((ends[0] <= one_less) & (one_less <= ends[1]), one_less, under)
        below, room = above - under, np.minimum(room, other)
    best = np.argsort(-room, kind="stable")[:TRIED]
    return [
        Affine(
            tuple(map(int, tried[i])),
            int(centres[i]),
            int(above[i]),
            int(below[i]),
            shift,
            formula.low,
            formula.high,
            finer,
        )
        for i in best
        if room[i] >= 0
    ]


def _addends(least: np.ndarray, most: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """From bounds (candidates, inputs) an addend of each candidate, and how much room there is around it.

    In the middle where both sides are bounded, otherwise as near to what is `wanted` as the bounds let.
    """
    first, last = least.max(axis=1), most.min(axis=1)
    bounded = (first > -_NONE) & (last < _NONE)
    middle = np.where(bounded, (first + last) >> 1, 0)
    return np.where(bounded, middle, np.clip(wanted, first, last)), last - first


def _deciding(formula: Formula, shift: int, reach: int) -> np.ndarray:
    """The inputs that can bound the sum for any multiplier within reach: those next to a step, on either side."""
    if len(formula.terms) == 1:
        order = np.argsort(formula.terms[0], kind="stable")
        step = np.flatnonzero(np.diff(formula.outputs[order]))
        return np.unique(order[np.concatenate([step, step + 1])])
    real, middle = formula.real, formula.output_zero_point + 0.5
    spread = 2.0**-shift * (reach + 1) * sum(float(np.ptp(x)) for x in formula.terms)
    chosen: list[np.ndarray] = []
    for need in (formula.outputs - real, real - (formula.outputs + 1)):
        bounds = formula.outputs > formula.low if not chosen else formula.outputs < formula.high
        for side in (real >= middle, real < middle):
            near = np.flatnonzero(side & bounds)
            near = near[need[near] >= need[near].max(initial=-np.inf) - 2 * spread]
            chosen.append(near[np.argsort(-need[near])[:MOST_DECIDING]])
    return np.unique(np.concatenate(chosen))
