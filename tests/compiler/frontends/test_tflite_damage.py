"""Files that are no TFLite model, or were one before they were damaged: one clear ModelError, quickly, every time."""

from __future__ import annotations

import os
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.compiler.frontends import MAX_FILE_BYTES, load_model, parse_model
from harness.errors import ModelError
from tests import models
from tests.compiler.frontends.refusal import refused, well_formed
from tests.models import classifier


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"TFL3", "not a model of a known format"),
        (b"hello, world, this is text", r"it begins b'hello, w'"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "Keras HDF5"),
        (b"PK\x03\x04" + bytes(100), "zip archive"),
        (classifier().build().replace(b"TFL3", b"TFL2", 1), "not a model of a known format"),
        (bytes(4) + b"TFL3", r"Model: offset 0 does not point into the file \(8 bytes\)"),
        (bytes(MAX_FILE_BYTES + 1), "is larger than"),
    ],
    ids=["empty", "four bytes", "text", "hdf5", "zip", "wrong identifier", "header only", "too large"],
)
def test_not_a_model(data: bytes, message: str) -> None:
    error = refused(data)
    assert re.search(message, error.what)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "absent", "no such file"),
        (tmp_path, "not a file"),
        (tmp_path / "pipe", "not a"),
    ):
        with pytest.raises(ModelError, match=message):
            load_model(path)
    with pytest.raises(ModelError):
        load_model(tmp_path / ("x" * 10_000))


def test_truncated_at_every_64th_byte(shared_model: Callable[[str], Path]) -> None:
    for name in ("hello_world_int8", "kws_ref_model"):
        data = shared_model(f"{name}.tflite").read_bytes()
        for size in range(0, len(data), 64):
            refused(data[:size])


def test_truncated_at_every_byte() -> None:
    data = classifier().build()
    for size in range(len(data) - 4):  # the last word may be padding
        refused(data[:size])


def test_a_4_gb_vector_length_costs_no_memory() -> None:
    data = classifier().build()
    shape = struct.pack("<I4i", 4, 1, 4, 4, 2)
    assert data.count(shape) == 1
    spoiled = data.replace(shape, struct.pack("<I4i", 0xFFFFFFFF, 1, 4, 4, 2))
    tracemalloc.start()
    error = refused(spoiled)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "Model.subgraphs[0].tensors[0].shape: a vector of 4294967295 elements of 4 bytes" in error.what
    assert re.fullmatch(rf"m\.tflite, byte {data.index(shape) + 4:#x}", error.where)
    assert peak < 1 << 20


# --- mutations --------------------------------------------------------------------------------------------------------

FUZZED = {
    "int8": classifier().build(),
    "float32": classifier(dtype="float32").build(),
    "add": models.add((1, 3, 2), (1, 1, 2)),
}
NASTY = (0, 1, 2, 4, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF)


def survives(data: bytes) -> bool:
    """Whether the file is still accepted; anything raised but a well-formed ModelError fails the test."""
    try:
        parse_model(data, "m.tflite")
    except ModelError as error:
        well_formed(error, "m.tflite")
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", FUZZED)
def test_every_word_replaced(name: str) -> None:
    original = FUZZED[name]
    for value in (0, 4, 0x7FFFFFFF, 0xFFFFFFFF):
        for at in range(0, len(original) - 3, 4):
            data = bytearray(original)
            struct.pack_into("<I", data, at, value)
            survives(bytes(data))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", FUZZED)
def test_random_damage(name: str, seed: int) -> None:
    """A failure prints its own file: rerun with the seed in the test's name."""
    rng = np.random.default_rng(seed)
    accepted = 0
    for _ in range(400):
        data = bytearray(FUZZED[name])
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(0, len(data)))
            if rng.random() < 0.5:
                data[at] ^= 1 << int(rng.integers(0, 8))
            else:
                value = struct.pack("<I", int(rng.choice(NASTY)))
                data[at : at + 4] = value[: len(data) - at]
        accepted += survives(bytes(data))
    assert 0 < accepted < 400, "damage of weights passes, damage of structure does not"
