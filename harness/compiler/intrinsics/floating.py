"""Functions of float32 from the C library. They are not bit-exact between libraries: compared with a tolerance."""

from __future__ import annotations

import numpy as np

from harness.compiler.intrinsics.base import Intrinsic
from harness.dtypes import DType

EXP = Intrinsic(
    "nn_exp",
    (("x", DType.F32),),
    DType.F32,
    lambda x: np.exp(x.astype(np.float64)).astype(np.float32),
    """/* e^x, as exact as the C library's. */
static inline float nn_exp(float x)
{
    return expf(x);
}""",
    header="math.h",
    instructions=65,
    without={"fpu": 1070, "thumb2": 2280},
)

TANH = Intrinsic(
    "nn_tanh",
    (("x", DType.F32),),
    DType.F32,
    lambda x: np.tanh(x.astype(np.float64)).astype(np.float32),
    """/* tanh(x), as exact as the C library's. */
static inline float nn_tanh(float x)
{
    return tanhf(x);
}""",
    header="math.h",
    instructions=95,
    without={"fpu": 1800, "thumb2": 3900},
)

ROUND = Intrinsic(
    "nn_round",
    (("x", DType.F32),),
    DType.F32,
    lambda x: np.copysign(np.floor(np.abs(x.astype(np.float64)) + 0.5), x).astype(np.float32),
    """/* To the nearest integer, ties away from zero. */
static inline float nn_round(float x)
{
    return roundf(x);
}""",
    header="math.h",
)
