"""HARD_SWISH: x * min(max(x + 3, 0), 6) / 6.

The int8 kernel (`reference/hard_swish.h`) works on 16 bits, in two scales at once: the input times 2^7 in that of the
output, and the same times 2^7 in units of 3 / 2^15 for the part that is clamped, where saturation does the clamping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Const, Expr, binary, maximum, minimum
from harness.compiler.lowering.quantise import divide_by_pot, quantize_multiplier
from harness.compiler.ops import checks, unary
from harness.compiler.ops.base import Case, options_table
from harness.dtypes import DType

F32, I16 = DType.F32, DType.I16
_FINER = 7  # bits by which the input is moved to the left


@dataclass(frozen=True)
class HardSwish:
    """Nothing to say."""


@dataclass(frozen=True)
class HardSwishParams:
    """Multipliers of 16 bits, real = multiplier / 2^15 * 2^exponent."""

    output_multiplier: int
    output_exponent: int  # 0 or below
    clamped_multiplier: int
    clamped_exponent: int


def parse(table: tflite.Operator) -> HardSwish:
    options_table(table, "HardSwishOptions")
    return HardSwish()


def quantisation(graph: Graph, op: Op) -> HardSwishParams:
    """Integer parameters. Raises ModelError where the output is too fine for its input."""
    x, y = unary.quants(graph, op)
    finer = np.float32(1 / 128) * np.float32(x.scale)
    multiplier, exponent = _multiplier16(float(finer / np.float32(y.scale)))
    if exponent > 0:
        what = f"output scale {y.scale:g} is too fine for input scale {x.scale:g}"
        checks.refuse(graph, op, what, tensor=checks.output(graph, op), hint="Requantise the model.")
    return HardSwishParams(multiplier, exponent, *_multiplier16(float(finer / np.float32(3 / 32768))))


def _multiplier16(real: float) -> tuple[int, int]:
    multiplier, exponent = quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, I16.max), exponent


def _require(graph: Graph, op: Op) -> None:
    quantisation(graph, op)


def _quantised(graph: Graph, op: Op, elements: np.ndarray) -> np.ndarray:
    p = quantisation(graph, op)
    x, y = unary.quants(graph, op)
    finer = (elements - x.zero_point) << _FINER
    in_output_scale = _high_mul16(finer, p.output_multiplier)
    # The last doubling comes after the multiplication, so that less is lost to saturation before it.
    before = max(p.clamped_exponent - 1, 0)
    part = _high_mul16(_saturated(finer << before), p.clamped_multiplier)
    if p.clamped_exponent > 0:
        part = _saturated(part << 1)
    elif p.clamped_exponent < 0:
        part = divide_by_pot(part, -p.clamped_exponent)
    part = (part + (1 << 15)) >> 1  # from -1 … 1 to 0 … 1
    product = part * in_output_scale
    high = np.sign(product) * (np.abs(product) >> 15)  # truncated
    return divide_by_pot(high, -p.output_exponent) + y.zero_point


def _high_mul16(a: np.ndarray, b: int) -> np.ndarray:
    """round(a * b / 2^15), ties up, saturated: gemmlowp's SaturatingRoundingDoublingHighMul of int16."""
    return np.minimum((a * b + (1 << 14)) >> 15, I16.max)


def _saturated(x: np.ndarray) -> np.ndarray:
    return np.clip(x, I16.min, I16.max)


def _real(attrs: HardSwish, x: np.ndarray) -> np.ndarray:
    return x * np.minimum(np.float32(6), np.maximum(np.float32(0), x + np.float32(3))) / np.float32(6)


def _written(attrs: HardSwish, x: Expr) -> Expr:
    three, six = Const(3.0, F32), Const(6.0, F32)
    return binary("div", x * minimum(maximum(x + three, 0.0), six), six)


CASES = (
    Case("other_scale", ((1, 4, 5, 60),), {"quant": (0.03, -100)}),
    Case("same_scale", ((1, 700),), {"quant": (0.04, 3)}, quants=((0.04, 3),)),
    Case("coarse_input", ((1, 700),), {"quant": (0.3, -120)}, quants=((0.3, -7),)),
    Case("fine_input", ((1, 700),), {"quant": (0.002, 3)}, quants=((0.002, 3),)),
    Case("wide_input", ((1, 700),), {"quant": (9.0, 3)}, quants=((7.0, 3),)),
    Case("float", ((1, 4, 5, 6),), dtype="float32"),
)

OPERATOR = unary.operator("HARD_SWISH", "hard_swish", parse, _quantised, _real, _written, CASES, _require)
