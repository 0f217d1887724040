"""Fixed-point arithmetic of TFLite's integer kernels, exact on every core.

Formulas: gemmlowp `fixedpoint.h` (SaturatingRoundingDoublingHighMul, RoundingDivideByPOT) and TFLite's
`MultiplyByQuantizedMultiplier` in its default, double-rounding form.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from harness.compiler.intrinsics.base import Intrinsic
from harness.dtypes import DType

I8, I32 = DType.I8, DType.I32

LONG_PRODUCT = 41  # instructions of libgcc's product of 64 bits, where the core has none of its own: counted


def _high_mul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product = a.astype(np.int64) * b.astype(np.int64)
    high = (product + (1 << 30)) >> 31
    return np.minimum(high, I32.max)  # the one overflow: INT32_MIN * INT32_MIN


def _divide_by_pot(value: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Half away from zero, written from the definition rather than from the C below it."""
    value = value.astype(np.int64)
    divisor = np.int64(1) << exponent.astype(np.int64)
    magnitude = (np.abs(value) + (divisor >> 1)) // divisor
    return np.where(value < 0, -magnitude, magnitude)


HIGH_MUL = Intrinsic(
    "nn_high_mul",
    (("a", I32), ("b", I32)),
    I32,
    _high_mul,
    """/* a * b / 2^31, rounded to nearest, ties up; b must not be INT32_MIN. */
static inline int32_t nn_high_mul(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}""",
    instructions=5,
    without={"thumb2": 12 + LONG_PRODUCT},
)

DIVIDE_BY_POT = Intrinsic(
    "nn_divide_by_pot",
    (("value", I32), ("exponent", I32)),
    I32,
    _divide_by_pot,
    """/* value / 2^exponent, rounded to nearest, ties away from zero; exponent 0 .. 31. */
static inline int32_t nn_divide_by_pot(int32_t value, int32_t exponent)
{
    const int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1u);
    const int32_t remainder = value & mask;
    const int32_t threshold = (mask >> 1) + (value < 0 ? 1 : 0);
    return (value >> exponent) + (remainder > threshold ? 1 : 0);
}""",
    instructions=7,
    without={"thumb2": 10},
)

REQUANTISE = Intrinsic(
    "nn_requantise",
    (("acc", I32), ("multiplier", I32), ("shift", I32)),
    I32,
    lambda acc, multiplier, shift: _divide_by_pot(_high_mul(acc, multiplier), shift),
    """/* acc * multiplier / 2^31 / 2^shift with both roundings of the reference: nearest with ties up, then nearest
 * with ties away from zero. multiplier >= 0, shift 1 .. 31, |acc| + 2^(shift - 1) < 2^31. */
static inline int32_t nn_requantise(int32_t acc, int32_t multiplier, int32_t shift)
{
    const int32_t high = nn_high_mul(acc, multiplier);
    return (high + (high >> 31) + ((int32_t)1 << (shift - 1))) >> shift;
}""",
    uses=(HIGH_MUL,),
    instructions=3,
)


def _fits(acc: np.ndarray, result: np.ndarray) -> np.ndarray:
    """`result` where 2 * acc fits 32 bits; elsewhere what fits no register, which the interpreter refuses."""
    return np.where(np.abs(acc.astype(np.int64)) < 1 << 30, result, np.int64(1) << 40)


def _rescale(acc: np.ndarray, multiplier: np.ndarray, shift: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    return _fits(acc, _divide_by_pot(_high_mul(acc, multiplier), shift) + zero_point)


def _rescale_up(acc: np.ndarray, multiplier: np.ndarray, shift: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    half = np.int64(1) << (shift.astype(np.int64) - 1)
    return _fits(acc, ((_high_mul(acc, multiplier) + half) >> shift) + zero_point)


_SHIFTED = r"""/* value / 2^shift + addend, rounded to nearest, ties up; shift 1 .. 31. The carry is
 * the last bit shifted out. */
static inline int32_t nn_shift_add(int32_t value, int32_t shift, int32_t addend)
{
#if defined(__thumb2__)
    int32_t result;
    __asm__("asrs %0, %1, %2\n\tadc %0, %0, %3" : "=&r"(result) : "r"(value), "ri"(shift), "r"(addend) : "cc");
    return result;
#else
    return (((value >> (shift - 1)) + 1) >> 1) + addend;
#endif
}"""

SHIFT_ADD = Intrinsic(
    "nn_shift_add",
    (("value", I32), ("shift", I32), ("addend", I32)),
    I32,
    lambda value, shift, addend: ((value.astype(np.int64) + (np.int64(1) << (shift - 1))) >> shift) + addend,
    _SHIFTED,
    instructions=2,
    without={"thumb2": 4},
)

HIGH_MUL_SHORT = Intrinsic(
    "nn_high_mul_short",
    (("a", I32), ("b", I32)),
    I32,
    lambda a, b: _fits(a, _high_mul(a, b)),
    """/* a * b / 2^31, rounded to nearest, ties up; |a| < 2^30. */
static inline int32_t nn_high_mul_short(int32_t a, int32_t b)
{
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
    int32_t result;
    __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a * 2), "r"(b));
    return result;
#else
    const int64_t product = (int64_t)(a * 2) * b;
    return (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
#endif
}""",
    instructions=2,
    without={"dsp": 3, "thumb2": 9 + LONG_PRODUCT},
)

RESCALE = Intrinsic(
    "nn_rescale",
    (("acc", I32), ("multiplier", I32), ("shift", I32), ("zero_point", I32)),
    I32,
    _rescale,
    """/* acc * multiplier / 2^31 / 2^shift + zero_point with both roundings of the reference: to nearest, ties up, then
 * ties away from zero. multiplier >= 0, shift 1 .. 31, |acc| < 2^30. */
static inline int32_t nn_rescale(int32_t acc, int32_t multiplier, int32_t shift, int32_t zero_point)
{
    const int32_t high = nn_high_mul_short(acc, multiplier);
    return nn_shift_add(high + (high >> 31), shift, zero_point);
}""",
    uses=(HIGH_MUL_SHORT, SHIFT_ADD),
    instructions=1,
)

HIGH_ADD = Intrinsic(
    "nn_high_add",
    (("x", I32), ("multiplier", I32), ("addend", I32)),
    I32,
    lambda x, multiplier, addend: addend + (x.astype(np.int64) * multiplier >> 32),
    """/* addend + x * multiplier / 2^32, rounded down. */
static inline int32_t nn_high_add(int32_t x, int32_t multiplier, int32_t addend)
{
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
    int32_t result;
    __asm__("smmla %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(multiplier), "r"(addend));
    return result;
#else
    return addend + (int32_t)(((int64_t)x * multiplier) >> 32);
#endif
}""",
    instructions=1,
    without={"dsp": 2, "thumb2": 8 + LONG_PRODUCT},
)

HIGH_ADD_ROUNDED = Intrinsic(
    "nn_high_add_rounded",
    (("x", I32), ("multiplier", I32), ("addend", I32)),
    I32,
    lambda x, multiplier, addend: addend + (x.astype(np.int64) * multiplier + (1 << 31) >> 32),
    """/* addend + x * multiplier / 2^32, rounded to nearest, ties up. */
static inline int32_t nn_high_add_rounded(int32_t x, int32_t multiplier, int32_t addend)
{
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(multiplier), "r"(addend));
    return result;
#else
    return addend + (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << 31)) >> 32);
#endif
}""",
    instructions=1,
    without={"dsp": 4, "thumb2": 11 + LONG_PRODUCT},
)

RESCALE_UP = Intrinsic(
    "nn_rescale_up",
    (("acc", I32), ("multiplier", I32), ("shift", I32), ("zero_point", I32)),
    I32,
    _rescale_up,
    """/* As nn_rescale with ties up in the second rounding too: the same where results are clamped to >= zero_point. */
static inline int32_t nn_rescale_up(int32_t acc, int32_t multiplier, int32_t shift, int32_t zero_point)
{
    return nn_shift_add(nn_high_mul_short(acc, multiplier), shift, zero_point);
}""",
    uses=(HIGH_MUL_SHORT, SHIFT_ADD),
    instructions=0,
)


def _requantise_any(acc: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    widened = acc.astype(np.int64) << left
    return _divide_by_pot(_high_mul(widened, multiplier), right)


REQUANTISE_ANY = Intrinsic(
    "nn_requantise_any",
    (("acc", I32), ("multiplier", I32), ("shift", I32)),
    I32,
    _requantise_any,
    """/* acc * multiplier / 2^31 * 2^shift; shift -31 .. 30, negative to the right. acc * 2^shift must fit 32 bits. */
static inline int32_t nn_requantise_any(int32_t acc, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    return nn_divide_by_pot(nn_high_mul(acc * ((int32_t)1 << left), multiplier), right);
}""",
    uses=(HIGH_MUL, DIVIDE_BY_POT),
    instructions=3,
)

SATURATE_I8 = Intrinsic(
    "nn_saturate_i8",
    (("value", I32),),
    I8,
    lambda value: np.clip(value, -128, 127),
    """/* value clamped to -128 .. 127: one SSAT where the core has it. */
static inline int8_t nn_saturate_i8(int32_t value)
{
#if defined(__ARM_FEATURE_SAT)
    return (int8_t)(int32_t)__builtin_arm_ssat(value, 8);
#else
    return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
#endif
}""",
    without={"thumb2": 6},
)


@cache
def saturate_shifted(shift: int) -> Intrinsic:
    """value >> shift as int8, clamped; shift 1 … 31. Where the core can, one instruction does both."""
    name = f"nn_saturate_i8_asr_{shift}"
    return Intrinsic(
        name,
        (("value", I32),),
        I8,
        lambda value: np.clip(value >> shift, -128, 127),
        f"""/* value / 2^{shift}, rounded down, clamped to -128 .. 127. */
static inline int8_t {name}(int32_t value)
{{
#if defined(__ARM_FEATURE_SAT)
    int32_t result;
    __asm__("ssat %0, #8, %1, asr #{shift}" : "=r"(result) : "r"(value));
    return (int8_t)result;
#else
    return nn_saturate_i8(value >> {shift});
#endif
}}""",
        uses=(SATURATE_I8,),
        instructions=0,
        without={"thumb2": 1},
    )


def _clz(value: np.ndarray) -> np.ndarray:
    """32 minus the number of significant bits; exact, as every 32-bit integer is a float64."""
    return 32 - np.ceil(np.log2(value.astype(np.float64) + 1)).astype(np.int64)


def _saturating_shl(value: np.ndarray, bits: np.ndarray) -> np.ndarray:
    return np.clip(value.astype(np.int64) << bits, I32.min, I32.max)


SATURATING_SHL = Intrinsic(
    "nn_saturating_shl",
    (("value", I32), ("bits", I32)),
    I32,
    _saturating_shl,
    """/* value * 2^bits, clamped to 32 bits; bits 0 .. 30. */
static inline int32_t nn_saturating_shl(int32_t value, int32_t bits)
{
    const int64_t wide = (int64_t)value * ((int64_t)1 << bits);
    return (int32_t)(wide < INT32_MIN ? INT32_MIN : wide > INT32_MAX ? INT32_MAX : wide);
}""",
    instructions=10,
    without={"thumb2": 30},
)

CLZ = Intrinsic(
    "nn_clz",
    (("value", I32),),
    I32,
    _clz,
    """/* Leading zero bits; value > 0. */
static inline int32_t nn_clz(int32_t value)
{
    return (int32_t)__builtin_clzl((unsigned long)(uint32_t)value) - (int32_t)(sizeof(unsigned long) * 8u - 32u);
}""",
    without={"thumb2": 20},
)
