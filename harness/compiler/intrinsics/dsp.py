"""Instructions of the DSP extension (Cortex-M4, M7, M33): two 16-bit lanes of a core register at a time.

Meanings: Arm Architecture Reference Manuals for Armv7-M and Armv8-M, alphabetical list of instructions.
"""

from __future__ import annotations

import numpy as np

from harness.compiler.intrinsics.base import Asm, Intrinsic
from harness.compiler.intrinsics.lanes import I8X4, I16X2
from harness.dtypes import DType

I32 = DType.I32
DSP = frozenset({"dsp"})


def wrapped(value: np.ndarray) -> np.ndarray:
    """Modulo 2^32, as a core register keeps it."""
    return ((value.astype(np.int64) + (1 << 31)) & 0xFFFF_FFFF) - (1 << 31)


def _asm(name: str, text: str, params: str, result: str, operands: str) -> str:
    """The C function of one instruction; no intrinsic of <arm_acle.h> exists for all of them in every GCC."""
    return f"""static inline {result} {name}({params})
{{
    {result} result;
    __asm__("{text}" : "=r"(result) : {operands});
    return result;
}}"""


SXTB16 = Intrinsic(
    "nn_sxtb16",
    (("x", I8X4),),
    I16X2,
    lambda x: x[..., 0::2],
    "/* Bytes 0 and 2, sign-extended. */\n" + _asm("nn_sxtb16", "sxtb16 %0, %1", "uint32_t x", "uint32_t", '"r"(x)'),
    DSP,
    asm=Asm("sxtb16 {d}, {0}"),
)

SXTB16_ROR8 = Intrinsic(
    "nn_sxtb16_ror8",
    (("x", I8X4),),
    I16X2,
    lambda x: x[..., 1::2],
    "/* Bytes 1 and 3, sign-extended. */\n"
    + _asm("nn_sxtb16_ror8", "sxtb16 %0, %1, ror #8", "uint32_t x", "uint32_t", '"r"(x)'),
    DSP,
    asm=Asm("sxtb16 {d}, {0}, ror #8"),
)


def products_added(x: np.ndarray, y: np.ndarray, acc: np.ndarray) -> np.ndarray:
    """acc + the products of all lanes of x and y, modulo 2^32."""
    return wrapped((x.astype(np.int64) * y).sum(axis=-1) + acc)


SMLAD = Intrinsic(
    "nn_smlad",
    (("x", I16X2), ("y", I16X2), ("acc", I32)),
    I32,
    products_added,
    "/* acc + x[0] * y[0] + x[1] * y[1], modulo 2^32. */\n"
    + _asm(
        "nn_smlad",
        "smlad %0, %1, %2, %3",
        "uint32_t x, uint32_t y, int32_t acc",
        "int32_t",
        '"r"(x), "r"(y), "r"(acc)',
    ),
    DSP,
    asm=Asm("smlad {d}, {0}, {1}, {2}", accumulates=2),
    adds_products=True,
)

LOW_BYTES = Intrinsic(
    "nn_low_bytes",
    (("x", I16X2),),
    I16X2,
    lambda x: x.astype(np.int8).astype(np.int64),
    "/* The low byte of each half, sign-extended. */\n"
    + _asm("nn_low_bytes", "sxtb16 %0, %1", "uint32_t x", "uint32_t", '"r"(x)'),
    DSP,
    asm=Asm("sxtb16 {d}, {0}"),
)

DIFFERENCE = Intrinsic(
    "nn_difference",
    (("a", I32), ("b", I32)),
    I32,
    lambda a, b: wrapped(a.astype(np.int64) - b),
    """/* a - b, modulo 2^32. */
static inline int32_t nn_difference(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a - (uint32_t)b);
}""",
)
