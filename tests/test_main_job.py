"""The main job on real models: every layer exact on every emulated core, with the outputs TFLite Micro has there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.compiler.frontends import load_model
from harness.verdict import Verdict
from harness.verification import Report

# zlib CRC-32 of the output for the input x[i] = (i * 37 + 11) mod 256 - 128, from TFLite Micro on Cortex-M cores.
OUTPUT_CRCS = {
    "kws_ref_model": "0x6f8d0761",
    "vww_96_int8": "0xccf8c6c3",
    "pretrainedResnet_quant": "0x41ee1b3a",
    "ad01_int8": "0x0642e1dd",
    "str_ww_ref_model": "0xe54d3674",
    "micro_speech_quantized": "0x1499950d",
    "hello_world_int8": "0x0762ae69",
}
CORES = ("m3", "m4", "m7", "m33", "m55")
RUNS = [
    *((model, f"qemu_cortex_{core}") for model in OUTPUT_CRCS for core in CORES),
    ("hello_world_int8", "qemu_cortex_m0"),
]


def verify(path: Path, board: str, folder: Path) -> Report:
    """One sample of the pattern, as the reference run had it."""
    graph = load_model(path)
    tensor = graph.tensor(graph.inputs[0])
    pattern = (np.arange(tensor.elements) * 37 + 11) % 256 - 128
    np.savez(folder / "pattern.npz", input_0=pattern.astype(tensor.dtype.np).reshape(1, *tensor.shape))
    return harness.verify(path, board, inputs=folder / "pattern.npz")


@pytest.mark.parametrize(("model", "board"), RUNS)
def test_every_layer_is_exact(model: str, board: str, shared_model: Callable[[str], Path], tmp_path: Path) -> None:
    report = verify(shared_model(model), board, tmp_path)
    assert report.verdict is Verdict.MATCH
    found = report.to_json()
    assert [layer["mismatches"] for layer in found["layers"]] == [0] * len(found["layers"])
    assert [output["crc32"] for output in found["outputs"]] == [OUTPUT_CRCS[model]]
    memory = found["memory"]
    assert memory["arena_lower_bound"] <= memory["arena_bytes"] <= 1.04 * memory["arena_lower_bound"]


@pytest.mark.parametrize("board", ["qemu_cortex_m0", "qemu_cortex_m3", "qemu_cortex_m4"])
def test_float_is_within_the_tolerance_it_states(
    board: str, shared_model: Callable[[str], Path], tmp_path: Path
) -> None:
    report = harness.verify(shared_model("hello_world_float"), board, samples=5)
    assert report.verdict is Verdict.MATCH
    assert report.to_json()["tolerance"]


def test_keyword_spotting_without_its_weights_fits_24_kilobytes(
    shared_model: Callable[[str], Path], tmp_path: Path
) -> None:
    memory = verify(shared_model("kws_ref_model"), "qemu_cortex_m3", tmp_path).to_json()["memory"]
    assert memory["flash_code_bytes"] < 24 * 1024
