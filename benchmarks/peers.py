"""Figures of other implementations, measured with the same gcc 12.2, the same QEMU 7.2 and the same counter, at -O2.

TFLite Micro of August 2026 with CMSIS-NN kernels, instructions executed by one Invoke(); its arena and its code without
the model, with only the int8 operators registered, on Cortex-M4. microTVM is TVM 0.12 (AOT, USMP) with CMSIS-NN, its
best variant whose results are exact; its code takes 14,000 to 20,000 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """What one model costs there; None where it was not measured."""

    file: str
    macs: int
    tflm: Mapping[str, int]  # core → instructions
    microtvm: Mapping[str, int]
    tflm_code: int | None  # bytes of flash without the model
    tflm_arena: int | None  # bytes


@dataclass(frozen=True)
class Goal:
    """What is aimed at on one core, as shares of TFLM's instructions, and instructions per MAC in the inner loop."""

    mean: float
    worst: float
    inner_loop: float


_M4 = Goal(0.45, 0.65, 1.05)
GOALS: Mapping[str, Goal] = {
    "m3": Goal(0.55, 0.80, 2.4),
    "m4": _M4,
    "m7": _M4,
    "m33": _M4,
    "m55": Goal(0.50, 0.75, 0.15),
}
COMPARED = ("kws", "vww", "resnet", "ad", "strww")  # the models whose mean is aimed at

PEERS: Mapping[str, Peer] = {
    "kws": Peer(
        "kws_ref_model.tflite",
        2_656_768,
        {"m3": 10_532_688, "m4": 7_697_888, "m7": 7_643_665, "m55": 1_813_669},
        {"m3": 10_834_280, "m4": 8_287_240},
        57_396,
        22_820,
    ),
    "vww": Peer(
        "vww_96_int8.tflite",
        7_489_664,
        {"m3": 31_959_257, "m4": 24_101_872, "m7": 24_025_498, "m55": 6_558_236},
        {"m3": 31_637_880, "m4": 24_116_600},
        57_396,
        100_708,
    ),
    "resnet": Peer(
        "pretrainedResnet_quant.tflite",
        12_501_632,
        {"m3": 41_846_035, "m4": 29_861_593, "m7": 30_023_126, "m55": 4_910_094},
        {"m3": 41_023_760, "m4": 31_812_640},
        55_168,
        54_996,
    ),
    "ad": Peer(
        "ad01_int8.tflite",
        264_192,
        {"m3": 955_934, "m4": 582_906, "m7": 583_216, "m55": 149_971},
        {"m3": 955_080, "m4": 578_840},
        32_064,
        2_580,
    ),
    "strww": Peer(
        "str_ww_ref_model.tflite",
        826_368,
        {"m3": 4_728_616, "m4": 2_227_046, "m7": 2_188_124, "m55": 407_360},
        {},
        None,
        16_596,
    ),
    "micro_speech": Peer(
        "micro_speech_quantized.tflite",
        336_000,
        {"m3": 1_512_499, "m4": 1_495_374, "m7": 1_489_445, "m55": 1_008_203},
        {},
        None,
        None,
    ),
    "hello_int8": Peer(
        "hello_world_int8.tflite",
        288,
        {"m3": 3_708, "m4": 3_523, "m7": 3_549, "m55": 2_128},
        {},
        None,
        None,
    ),
}
