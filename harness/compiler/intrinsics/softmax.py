"""What softmax multiplies by: a product of two numbers in Q0.31, neither of them negative."""

from __future__ import annotations

import numpy as np

from harness.compiler.intrinsics.base import Intrinsic
from harness.dtypes import DType

I32 = DType.I32


def _high_add_quarter(a: np.ndarray, b: np.ndarray, addend: np.ndarray) -> np.ndarray:
    """Where a number is negative, what fits no register, which the interpreter refuses."""
    result = addend + (a.astype(np.int64) * b + (1 << 30) >> 32)
    return np.where((a >= 0) & (b >= 0) & (addend >= 0), result, np.int64(1) << 40)


HIGH_ADD_QUARTER = Intrinsic(
    "nn_high_add_quarter",
    (("a", I32), ("b", I32), ("addend", I32)),
    I32,
    _high_add_quarter,
    """/* addend + (a * b + 2^30) / 2^32, rounded down; none of the three is negative. Cores that do not multiply to
 * 64 bits take halves of 16 bits, whose two middle products and carry fit 32. */
static inline int32_t nn_high_add_quarter(int32_t a, int32_t b, int32_t addend)
{
#if defined(__thumb2__)
    return (int32_t)(((int64_t)a * b + (int64_t)((uint64_t)addend << 32 | (uint64_t)1 << 30)) >> 32);
#else
    const uint32_t a_low = (uint32_t)a & 0xffffu, a_high = (uint32_t)a >> 16;
    const uint32_t b_low = (uint32_t)b & 0xffffu, b_high = (uint32_t)b >> 16;
    const uint32_t middle = (a_low * b_low >> 16) + 0x4000u + a_high * b_low + a_low * b_high;
    return (int32_t)(a_high * b_high + (middle >> 16)) + addend;
#endif
}""",
    instructions=3,
    without={"thumb2": 23},
)
