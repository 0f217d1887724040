"""The arithmetic of quantised operators, bit for bit as TFLite's reference kernels have it.

Sources: `quantization_util.cc` (QuantizeMultiplier), `common.cc` (MultiplyByQuantizedMultiplier, double rounding),
`kernel_util.cc` (effective scales, activation ranges) of TFLite; gemmlowp's `fixedpoint.h` for the two roundings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.compiler.graph import Quant
from harness.dtypes import DType
from harness.errors import ModelError

I32_MIN, I32_MAX = DType.I32.min, DType.I32.max


@dataclass(frozen=True, eq=False)
class ConvParams:
    """Integer parameters of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED; oc output channels.

    acc[c] = bias[c] + sum((x - input_zero_point) * w[c]);  y = clamp(requantise(acc[c]) + output_zero_point)
    """

    input_zero_point: int
    output_zero_point: int
    multipliers: np.ndarray  # int32[oc], 2^30 .. 2^31 - 1, or 0 where the effective scale vanishes
    shifts: np.ndarray  # int32[oc], positive to the left: real = multiplier / 2^31 * 2^shift; -31 .. 30
    act_min: int
    act_max: int


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) with real ~ multiplier / 2^31 * 2^shift; multiplier in 2^30 .. 2^31 - 1, or (0, 0).

    Rounds half away from zero; what rounds up to 2^31 carries into the shift; below about 2^-32 it is flushed to zero.
    `real` is finite and not negative.
    """
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if multiplier == 0 or shift < -31:
        return 0, 0
    return multiplier, shift


def quantize_multipliers(reals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`quantize_multiplier` of float64[n]: (int32[n] multipliers, int32[n] shifts)."""
    pairs = np.array([quantize_multiplier(float(real)) for real in reals], np.int64).reshape(-1, 2)
    return pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32)


def high_mul(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    """round(a * b / 2^31), ties up, saturated: gemmlowp's SaturatingRoundingDoublingHighMul. int64, values of int32."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum((product + (1 << 30)) >> 31, I32_MAX)


def divide_by_pot(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """round(x / 2^exponent), ties away from zero: gemmlowp's RoundingDivideByPOT. int64; exponent 0 .. 31."""
    x = np.asarray(x, np.int64)
    mask = (np.int64(1) << np.asarray(exponent, np.int64)) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def wrap_i32(x: np.ndarray) -> np.ndarray:
    """The low 32 bits as a signed number, int64: what a machine leaves after an int32 overflow."""
    return np.asarray(x, np.int64).astype(np.int32).astype(np.int64)


def requantise(acc: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int) -> np.ndarray:
    """MultiplyByQuantizedMultiplier: acc * multiplier / 2^31 * 2^shift with both roundings of the reference.

    acc int32 or int64 of int32 values; multiplier and shift int32, broadcast against it, positive shift to the left.
    Returns int64 of int32 values. acc * 2^shift wraps as it does on the device; `check` refuses models that reach it.
    """
    shift = np.asarray(shift, np.int64)
    widened = wrap_i32(np.asarray(acc, np.int64) << np.maximum(shift, 0))
    return divide_by_pot(high_mul(widened, multiplier), np.maximum(-shift, 0))


def effective_scales(x: Quant, weights: Quant, y: Quant, channels: int) -> np.ndarray:
    """float64[channels]: input scale * weight scale / output scale in double, as for convolutions of any kind."""
    scales = np.broadcast_to(np.array(weights.scales, np.float64), (channels,))
    return np.float64(x.scale) * scales / np.float64(y.scale)


def conv_params(x: Quant, y: Quant, scales: np.ndarray, activation: str, dtype: DType = DType.I8) -> ConvParams:
    """Parameters from the effective scales, float64[oc], of an operator that accumulates and requantises."""
    multipliers, shifts = quantize_multipliers(scales)
    return ConvParams(x.zero_point, y.zero_point, multipliers, shifts, *activation_range(activation, y, dtype))


def accumulate_and_requantise(acc: np.ndarray, bias: np.ndarray | None, params: ConvParams) -> np.ndarray:
    """int8 output of sums acc (..., oc), any integer dtype, before the bias int32[oc]."""
    acc = np.asarray(acc, np.int64)
    if bias is not None:
        acc = acc + bias
    y = requantise(wrap_i32(acc), params.multipliers, params.shifts) + params.output_zero_point
    return np.clip(y, params.act_min, params.act_max).astype(np.int8)


_REAL_RANGES = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}


ACTIVATIONS = tuple(_REAL_RANGES)  # the names of those that operators fuse


def activation_range(activation: str, quant: Quant, dtype: DType) -> tuple[int, int]:
    """Smallest and largest quantised value that a fused activation lets through (CalculateActivationRangeQuantized).

    Raises ModelError where the bound cannot be expressed in 32 bits.
    """
    low, high = _REAL_RANGES[activation]
    act_min = dtype.min if math.isinf(low) else max(dtype.min, _quantised(low, quant))
    act_max = dtype.max if math.isinf(high) else min(dtype.max, _quantised(high, quant))
    return act_min, act_max


def float_activation_range(activation: str) -> tuple[np.float32, np.float32]:
    """Bounds that a fused activation clamps float32 to; infinite where it does not."""
    low, high = _REAL_RANGES[activation]
    return np.float32(low), np.float32(high)


def clamp_float(x: np.ndarray, activation: str) -> np.ndarray:
    """float32 through a fused activation."""
    low, high = float_activation_range(activation)
    return np.minimum(np.maximum(x, low), high)


def _quantised(real: float, quant: Quant) -> int:
    with np.errstate(over="ignore"):
        quotient = float(np.float32(real) / np.float32(quant.scale))  # TFLite divides in float32
    if not abs(quotient) < I32_MAX:
        raise ModelError(f"activation bound {real:g} over scale {quant.scale:g} leaves 32 bits")
    return quant.zero_point + int(math.copysign(math.floor(abs(quotient) + 0.5), quotient))
