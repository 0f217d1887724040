"""Instructions of MVE (Cortex-M55): 128-bit vectors of 8, 16 or 32-bit lanes.

Meanings: Arm Architecture Reference Manual for Armv8-M, alphabetical list of instructions. The C is that of
<arm_mve.h>; where a loop is printed as assembly, the instruction stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from harness.compiler.intrinsics.base import Asm, Intrinsic
from harness.compiler.intrinsics.dsp import products_added
from harness.compiler.intrinsics.lanes import I8X16, I16X8, I32X4
from harness.dtypes import DType, Type, Vec

I32 = DType.I32
MVE = frozenset({"mve"})
HEADER = "arm_mve.h"


def _intrinsic(
    name: str,
    params: tuple[tuple[str, Type], ...],
    result: Vec | DType,
    meaning: Callable[..., np.ndarray],
    comment: str,
    value: str,
    asm: Asm | None = None,
    instructions: float = 1.0,
    adds_products: bool = False,
) -> Intrinsic:
    """An intrinsic whose C is one expression."""
    typed = ", ".join(f"{dtype.c} {param}" for param, dtype in params)
    c = f"/* {comment} */\nstatic inline {result.c} {name}({typed})\n{{\n    return {value};\n}}"
    return Intrinsic(
        name,
        params,
        result,
        meaning,
        c,
        MVE,
        header=HEADER,
        asm=asm,
        instructions=instructions,
        adds_products=adds_products,
    )


MLADAVA = _intrinsic(
    "nn_mladava",
    (("x", I8X16), ("w", I8X16), ("acc", I32)),
    I32,
    products_added,
    "acc + the sum of all 16 x * w, modulo 2^32.",
    "vmladavaq_s8(acc, x, w)",
    Asm("vmladava.s8 {d}, {0}, {1}", accumulates=2, even=True),
    adds_products=True,
)

MLADAV = _intrinsic(
    "nn_mladav",
    (("x", I8X16), ("w", I8X16)),
    I32,
    lambda x, w: (x.astype(np.int64) * w).sum(axis=-1),
    "The sum of all 16 x * w.",
    "vmladavq_s8(x, w)",
)

GATHERED = Intrinsic(
    "nn_gathered",
    tuple((name, I32) for name in "abcd"),
    I32X4,
    lambda *scalars: np.stack(np.broadcast_arrays(*scalars), axis=-1),
    r"""/* Four numbers as lanes: two instructions, where GCC makes four. */
static inline int32x4_t nn_gathered(int32_t a, int32_t b, int32_t c, int32_t d)
{
    int32x4_t result;
    __asm__("vmov %q0[2], %q0[0], %1, %2\n\t"
            "vmov %q0[3], %q0[1], %3, %4"
            : "=&w"(result)
            : "r"(a), "r"(c), "r"(b), "r"(d));
    return result;
}""",
    MVE,
    header=HEADER,
)

_TWO = (("a", I32X4), ("b", I32X4))

ADD = _intrinsic(
    "nn_add_lanes", _TWO, I32X4, lambda a, b: a.astype(np.int64) + b, "a + b; no overflow.", "vaddq_s32(a, b)"
)

SUB = _intrinsic(
    "nn_sub_lanes", _TWO, I32X4, lambda a, b: a.astype(np.int64) - b, "a - b; no overflow.", "vsubq_s32(a, b)"
)

TIMES = _intrinsic(
    "nn_times_lanes", _TWO, I32X4, lambda a, b: a.astype(np.int64) * b, "a * b; no overflow.", "vmulq_s32(a, b)"
)

_EACH = (("a", I32X4), ("b", I32))


def _beside(scalar: np.ndarray) -> np.ndarray:
    """A scalar, shaped to lie beside lanes."""
    return np.asarray(scalar, np.int64)[..., np.newaxis]


ADD_EACH = _intrinsic(
    "nn_add_each", _EACH, I32X4, lambda a, b: a + _beside(b), "a + b in every lane; no overflow.", "vaddq_n_s32(a, b)"
)

TIMES_EACH = _intrinsic(
    "nn_times_each", _EACH, I32X4, lambda a, b: a * _beside(b), "a * b in every lane; no overflow.", "vmulq_n_s32(a, b)"
)

PLUS_TIMES_EACH = _intrinsic(
    "nn_plus_times_each",
    (("acc", I32X4), ("a", I32X4), ("b", I32)),
    I32X4,
    lambda acc, a, b: acc + a * _beside(b),
    "acc + a * b in every lane; no overflow.",
    "vmlaq_n_s32(acc, a, b)",
)

WHERE_GREATER = _intrinsic(
    "nn_where_greater",
    (("a", I32X4), ("b", I32X4), ("then", I32X4), ("otherwise", I32X4)),
    I32X4,
    lambda a, b, then, otherwise: np.where(a > b, then, otherwise),
    "In every lane `then` where a > b, `otherwise` elsewhere.",
    "vpselq_s32(then, otherwise, vcmpgtq_s32(a, b))",
)

QUOTIENT = Intrinsic(
    "nn_quotient_lanes",
    _TWO,
    I32X4,
    lambda a, b: np.sign(a) * np.sign(b) * (np.abs(a.astype(np.int64)) // np.abs(np.where(b == 0, 1, b))),
    """/* a / b towards zero in every lane; b is not 0. There are no vectors for that. */
static inline int32x4_t nn_quotient_lanes(int32x4_t a, int32x4_t b)
{
    int32x4_t result = vdupq_n_s32(vgetq_lane_s32(a, 0) / vgetq_lane_s32(b, 0));
    result = vsetq_lane_s32(vgetq_lane_s32(a, 1) / vgetq_lane_s32(b, 1), result, 1);
    result = vsetq_lane_s32(vgetq_lane_s32(a, 2) / vgetq_lane_s32(b, 2), result, 2);
    return vsetq_lane_s32(vgetq_lane_s32(a, 3) / vgetq_lane_s32(b, 3), result, 3);
}""",
    MVE,
    header=HEADER,
    instructions=16,
)

HIGH_ROUNDED = _intrinsic(
    "nn_high_rounded_lanes",
    _TWO,
    I32X4,
    lambda a, b: (a.astype(np.int64) * b + (1 << 31)) >> 32,
    "a * b / 2^32, rounded to nearest, ties up.",
    "vrmulhq_s32(a, b)",
)

LESS_IF_NEGATIVE = _intrinsic(
    "nn_one_less_where_negative",
    (("value", I32X4),),
    I32X4,
    lambda value: value.astype(np.int64) - (value < 0),
    "value - 1 where it is negative; it is not INT32_MIN.",
    "vaddq_s32(value, vshrq_n_s32(value, 31))",
    instructions=2,
)

HIGH = _intrinsic(
    "nn_high_lanes",
    _TWO,
    I32X4,
    lambda a, b: a.astype(np.int64) * b >> 32,
    "a * b / 2^32, rounded down.",
    "vmulhq_s32(a, b)",
)


def _doubling_high(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.minimum((a.astype(np.int64) * b + (1 << 30)) >> 31, I32.max)


HIGH_DOUBLED = _intrinsic(
    "nn_high_doubled_lanes",
    _TWO,
    I32X4,
    _doubling_high,
    "a * b / 2^31, rounded to nearest, ties up.",
    "vqrdmulhq_s32(a, b)",
)

SPREAD = _intrinsic(
    "nn_spread",
    (("value", I32),),
    I32X4,
    lambda value: np.repeat(np.asarray(value)[..., np.newaxis], 4, axis=-1),
    "value in every lane.",
    "vdupq_n_s32(value)",
)

SPREAD_I8 = _intrinsic(
    "nn_spread_i8",
    (("value", DType.I8),),
    I8X16,
    lambda value: np.repeat(np.asarray(value)[..., np.newaxis], 16, axis=-1),
    "value in every lane.",
    "vdupq_n_s8(value)",
)

SPREAD_I16 = _intrinsic(
    "nn_spread_i16",
    (("value", DType.I16),),
    I16X8,
    lambda value: np.repeat(np.asarray(value)[..., np.newaxis], 8, axis=-1),
    "value in every lane.",
    "vdupq_n_s16(value)",
)

AT_LEAST = _intrinsic("nn_at_least_lanes", _TWO, I32X4, np.maximum, "The greater of a and b.", "vmaxq_s32(a, b)")
AT_MOST = _intrinsic("nn_at_most_lanes", _TWO, I32X4, np.minimum, "The lesser of a and b.", "vminq_s32(a, b)")

_BYTES = (("a", I8X16), ("b", I8X16))
AT_LEAST_I8 = _intrinsic("nn_at_least_i8", _BYTES, I8X16, np.maximum, "The greater of a and b.", "vmaxq_s8(a, b)")
AT_MOST_I8 = _intrinsic("nn_at_most_i8", _BYTES, I8X16, np.minimum, "The lesser of a and b.", "vminq_s8(a, b)")

SHIFT_LEFT = _intrinsic(
    "nn_shift_left_lanes",
    (("value", I32X4), ("bits", I32X4)),
    I32X4,
    lambda value, bits: value.astype(np.int64) << bits,
    "value * 2^bits; bits 0 .. 31, no overflow.",
    "vshlq_s32(value, bits)",
)

SHIFT_RIGHT = _intrinsic(
    "nn_shift_right_lanes",
    (("value", I32X4), ("bits", I32X4)),
    I32X4,
    lambda value, bits: value >> bits,
    "value / 2^bits, rounded down; bits 0 .. 31.",
    "vshlq_s32(value, vnegq_s32(bits))",
)


@cache
def shift_right(bits: int) -> Intrinsic:
    """value >> bits in every lane; bits 1 … 32."""
    return _intrinsic(
        f"nn_shift_right_lanes_{bits}",
        (("value", I32X4),),
        I32X4,
        lambda value: value.astype(np.int64) >> bits,
        f"value / 2^{bits}, rounded down.",
        f"vshrq_n_s32(value, {bits})",
    )


@cache
def shift_rounded(bits: int) -> Intrinsic:
    """value / 2^bits to the nearest, ties up, in every lane; bits 1 … 32."""
    return _intrinsic(
        f"nn_shift_rounded_lanes_{bits}",
        (("value", I32X4),),
        I32X4,
        lambda value: (value.astype(np.int64) + (1 << (bits - 1))) >> bits,
        f"value / 2^{bits}, rounded to nearest, ties up.",
        f"vrshrq_n_s32(value, {bits})",
    )


@cache
def saturate_shifted(bits: int) -> Intrinsic:
    """value >> bits clamped to -128 … 127 in every lane; bits 0 … 24."""
    return _intrinsic(
        f"nn_saturate_i8_lanes_asr_{bits}",
        (("value", I32X4),),
        I32X4,
        lambda value: np.clip(value.astype(np.int64) >> bits, -128, 127),
        f"value / 2^{bits}, rounded down, clamped to -128 .. 127: saturated in the upper 8 bits.",
        f"vshrq_n_s32(vqshlq_n_s32(value, {24 - bits}), 24)",
        instructions=2,
    )
