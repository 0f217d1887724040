"""When two tensors count as equal: bit for bit for integers, within a stated tolerance for floats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_NO_ULP = 2**32 - 1  # distance reported between a number and a NaN: further than any two float32 values are apart


@dataclass(frozen=True)
class Difference:
    """How far two tensors of the same shape and dtype are apart."""

    elements: int
    mismatches: int  # elements outside the tolerance
    max_abs_diff: int | float  # over all elements, also those within the tolerance; inf where a NaN meets a number
    max_ulp: int | None  # float32 only: most representable values between two elements; 2**32 - 1 for a NaN

    def __add__(self, other: Difference) -> Difference:
        """Both together, as if the tensors had been joined."""
        ulps = [u for u in (self.max_ulp, other.max_ulp) if u is not None]
        return Difference(
            self.elements + other.elements,
            self.mismatches + other.mismatches,
            max(self.max_abs_diff, other.max_abs_diff),
            max(ulps) if ulps else None,
        )


NOTHING = Difference(0, 0, 0, None)


@dataclass(frozen=True)
class Tolerance:
    """What a float32 element may be off by. Integers always have to be equal.

    An element matches when it is within `ulps` representable values of the expected one, or within
    `of_peak` * (largest finite magnitude expected in its tensor). The second rule is for sums that cancel: their error
    is bounded by the size of the terms, which the peak stands for, and may be many ULPs of a result near zero.
    """

    ulps: int = 16
    of_peak: float = 2.0**-20

    def to_json(self) -> dict[str, int | float]:
        return {"float32_ulps": self.ulps, "float32_of_peak": self.of_peak, "integer": 0}

    def difference(self, expected: np.ndarray, actual: np.ndarray) -> Difference:
        """Compare two arrays of one shape and dtype."""
        if expected.shape != actual.shape or expected.dtype != actual.dtype:
            raise ValueError(f"{expected.dtype}{expected.shape} against {actual.dtype}{actual.shape}")
        if expected.size == 0:
            return NOTHING
        if expected.dtype == np.float32:
            return self._float_difference(expected, actual)
        apart = np.abs(expected.astype(np.int64) - actual.astype(np.int64))
        return Difference(expected.size, int(np.count_nonzero(apart)), int(apart.max()), None)

    def equal(self, expected: np.ndarray, actual: np.ndarray) -> bool:
        return self.difference(expected, actual).mismatches == 0

    def _float_difference(self, expected: np.ndarray, actual: np.ndarray) -> Difference:
        nan_expected, nan_actual = np.isnan(expected), np.isnan(actual)
        one_nan = nan_expected != nan_actual
        same = (expected == actual) | (nan_expected & nan_actual)
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
        apart[same] = 0.0
        apart[one_nan] = np.inf
        ulps = np.abs(_ordered(expected) - _ordered(actual))
        ulps[same] = 0
        ulps[one_nan] = _NO_ULP
        finite = expected[np.isfinite(expected)]
        peak = float(np.abs(finite).max()) if finite.size else 0.0
        # An infinity is never close to a number, however few representable values lie between.
        infinite = np.isinf(expected) | np.isinf(actual)
        wrong = (ulps > self.ulps) & (apart > self.of_peak * peak) | (infinite & ~same) | one_nan
        return Difference(expected.size, int(np.count_nonzero(wrong)), float(apart.max()), int(ulps.max()))


def _ordered(values: np.ndarray) -> np.ndarray:
    """float32 -> int64 such that neighbouring floats are neighbouring integers; both zeros become 0."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
