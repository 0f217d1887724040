"""Real models through frontend, passes, lowering and schedules, run by the interpreter: the reference's own CRCs."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.board import Target, load_board
from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph
from harness.compiler.interpret import run
from harness.compiler.pipeline import compile_graph, programs_of

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

# zlib CRC-32 of the output for the input x[i] = (i * 37 + 11) mod 256 - 128, from TFLite Micro on Cortex-M cores.
GOLDEN = {
    "kws_ref_model": 0x6F8D0761,
    "vww_96_int8": 0xCCF8C6C3,
    "pretrainedResnet_quant": 0x41EE1B3A,
    "ad01_int8": 0x0642E1DD,
    "str_ww_ref_model": 0xE54D3674,
    "micro_speech_quantized": 0x1499950D,
    "hello_world_int8": 0x0762AE69,
}

M4 = Target("cortex-m4", frozenset({"dsp"}))


def pattern(elements: int) -> np.ndarray:
    return ((np.arange(elements) * 37 + 11) % 256 - 128).astype(np.int8)


def run_layers(graph: Graph) -> dict[int, np.ndarray]:
    """The scheduled programs of a graph, one after another, in Python."""
    values = {graph.inputs[0]: pattern(graph.tensor(graph.inputs[0]).elements)}
    for compiled in programs_of(graph, M4):
        layer, program = compiled.layer, compiled.program
        arrays = [values[t] for t in layer.inputs]
        inputs = dict(zip([b.name for b in program.of_space("input")], arrays, strict=True))
        results = run(program, inputs)
        values.update(zip(layer.outputs, results.values(), strict=True))
    return values


@pytest.mark.parametrize("model", GOLDEN)
def test_the_scheduled_loops_compute_what_the_device_does(model: str, shared_model: Callable[[str], Path]) -> None:
    graph = load_model(shared_model(f"{model}.tflite"))
    (output,) = graph.outputs
    assert zlib.crc32(run_layers(graph)[output].tobytes()) == GOLDEN[model]


ARENAS = {  # the most bytes the arena may take, and what is alive at once
    "kws_ref_model": (9 * 1024, 16000),
    "vww_96_int8": (40 * 1024, 55296),
    "pretrainedResnet_quant": (35 * 1024, 49152),
    "ad01_int8": (768, 768),
    "str_ww_ref_model": (5 * 1024, 6656),
    "micro_speech_quantized": (5960, 5960),
    "hello_world_int8": (32, 28),
}


@pytest.mark.parametrize("core", ["m0", "m3", "m4", "m55"])
@pytest.mark.parametrize("model", ARENAS)
def test_the_arena_is_near_its_lower_bound(model: str, core: str, shared_model: Callable[[str], Path]) -> None:
    most, alive = ARENAS[model]
    graph, target = load_model(shared_model(f"{model}.tflite")), load_board(f"qemu_cortex_{core}").target
    source = compile_graph(graph, target, check=False)
    assert source.arena_lower_bound <= source.arena_bytes <= min(most, 1.04 * source.arena_lower_bound)
    apart = compile_graph(graph, target, check=False, disabled=frozenset({"share-memory"}))
    assert apart.arena_bytes == apart.arena_lower_bound >= alive
