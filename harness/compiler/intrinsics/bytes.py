"""Bytes of a core register: taken out one by one, compared four at a time, put together.

Meanings: Arm Architecture Reference Manuals for Armv7-M and Armv8-M, alphabetical list of instructions.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from harness.compiler.intrinsics.base import Intrinsic
from harness.compiler.intrinsics.lanes import I8X4
from harness.dtypes import DType

I32 = DType.I32
DSP, THUMB2 = frozenset({"dsp"}), frozenset({"thumb2"})


@cache
def byte(position: int) -> Intrinsic:
    """The byte at a position from 0, in the order of memory, without a sign: 0 … 255."""
    name = f"nn_byte_{position}"
    return Intrinsic(
        name,
        (("x", I8X4),),
        I32,
        lambda x: x[..., position] & 255,
        f"""/* Byte {position}, 0 .. 255. */
static inline int32_t {name}(uint32_t x)
{{
    return (int32_t)((x >> {8 * position}) & 255u);
}}""",
        THUMB2,
    )


PACK_I8X4 = Intrinsic(
    "nn_pack_i8x4",
    tuple((name, I32) for name in "abcd"),
    I8X4,
    lambda a, b, c, d: np.stack([a, b, c, d], axis=-1).astype(np.uint8).astype(np.int8),
    """/* The low bytes of four numbers. */
static inline uint32_t nn_pack_i8x4(int32_t a, int32_t b, int32_t c, int32_t d)
{
    return (uint32_t)(uint8_t)a | (uint32_t)(uint8_t)b << 8 | (uint32_t)(uint8_t)c << 16 | (uint32_t)(uint8_t)d << 24;
}""",
    THUMB2,
    instructions=3,
)

SPLAT_I8X4 = Intrinsic(
    "nn_splat_i8x4",
    (("value", I32),),
    I8X4,
    lambda value: np.stack([value] * 4, axis=-1),
    """/* The low byte of value four times. */
static inline uint32_t nn_splat_i8x4(int32_t value)
{
    return (uint32_t)(uint8_t)value * 0x01010101u;
}""",
    THUMB2,
)


def _compared(name: str, comment: str, first: str, second: str) -> str:
    """Differences of bytes set four flags, by which SEL then chooses; nothing may come between the two."""
    return f"""/* {comment} of each pair of bytes. */
static inline uint32_t {name}(uint32_t x, uint32_t y)
{{
    uint32_t result;
    __asm__("ssub8 %0, {first}, {second}\\n\\tsel %0, %1, %2" : "=&r"(result) : "r"(x), "r"(y) : "cc");
    return result;
}}"""


MAX_I8X4 = Intrinsic(
    "nn_max_i8x4",
    (("x", I8X4), ("y", I8X4)),
    I8X4,
    np.maximum,
    _compared("nn_max_i8x4", "The larger", "%1", "%2"),
    DSP,
    instructions=2,
)

MIN_I8X4 = Intrinsic(
    "nn_min_i8x4",
    (("x", I8X4), ("y", I8X4)),
    I8X4,
    np.minimum,
    _compared("nn_min_i8x4", "The smaller", "%2", "%1"),
    DSP,
    instructions=2,
)
