from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.compiler.graph import Graph, Tensor
from harness.dtypes import DType
from harness.errors import BadInput
from harness.oracle.inputs import FLOAT_RANGE, MOST_BYTES, draw_inputs, load_inputs

TENSORS = (Tensor("image", (4, 5), DType.I8), Tensor("state", (3,), DType.F32))
GRAPH = Graph("two", TENSORS, (), (0, 1), (), len(TENSORS))
GOOD: dict[str, np.ndarray] = {"input_0": np.zeros((2, 4, 5), np.int8), "input_1": np.ones((2, 3), np.float32)}


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "given.npz"
    np.savez(path, **arrays)
    return path


def test_drawn_inputs_span_the_whole_range() -> None:
    graph = Graph("wide", (Tensor("x", (5000,), DType.I8), Tensor("y", (5000,), DType.F32)), (), (0, 1), (), 2)
    integers, floats = draw_inputs(graph, 0, 1)
    assert integers.shape == (1, 5000)
    assert (integers.min(), integers.max()) == (-128, 127)
    low, high = FLOAT_RANGE
    assert low <= floats.min() < low + 0.01
    assert high - 0.01 < floats.max() < high


def test_a_sample_does_not_depend_on_how_many_there_are() -> None:
    few, many = draw_inputs(GRAPH, 7, 2), draw_inputs(GRAPH, 7, 5)
    for one, other in zip(few, many, strict=True):
        np.testing.assert_array_equal(one, other[:2])
    assert not np.array_equal(many[0][0], many[0][1])
    assert not np.array_equal(draw_inputs(GRAPH, 8, 2)[0], few[0])


@pytest.mark.parametrize(("seed", "samples", "word"), [(0, 0, "samples"), (-1, 1, "seed")])
def test_impossible_draws(seed: int, samples: int, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        draw_inputs(GRAPH, seed, samples)


def test_loaded_inputs_are_what_was_saved(tmp_path: Path) -> None:
    image = np.arange(40, dtype=np.int8).reshape(2, 4, 5)
    loaded = load_inputs(saved(tmp_path, input_0=np.asfortranarray(image), input_1=GOOD["input_1"]), GRAPH)
    np.testing.assert_array_equal(loaded[0], image)
    assert loaded[0].flags.c_contiguous


def test_other_byte_order_is_the_same_dtype(tmp_path: Path) -> None:
    swapped = np.array([[1.5, 2.5, 3.5]], ">f4")
    loaded = load_inputs(saved(tmp_path, input_0=GOOD["input_0"][:1], input_1=swapped), GRAPH)
    assert loaded[1].dtype == np.float32
    assert loaded[1].tolist() == [[1.5, 2.5, 3.5]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input_0": np.zeros((2, 4, 6), np.int8)}, ["'input_0'", "(samples, 4, 5)", "(2, 4, 6)"]),
        ({"input_0": np.zeros((4, 5), np.int8)}, ["'input_0'", "(samples, 4, 5)", "(4, 5)"]),
        ({"input_0": np.zeros((), np.int8)}, ["'input_0'", "found shape ()"]),
        ({"input_0": np.zeros((2, 4, 5), np.uint8)}, ["'input_0'", "of int8", "of uint8"]),
        ({"input_1": np.zeros((2, 3), np.float64)}, ["'input_1'", "of float32", "of float64"]),
        ({"input_1": np.ones((3, 3), np.float32)}, ["input_0 2", "input_1 3"]),
        ({"input_0": np.zeros((0, 4, 5), np.int8)}, ["'input_0'", "no samples"]),
        ({"input_2": np.zeros(1, np.int8)}, ["'input_2'", "input_0, input_1"]),
        ({"input_0": np.array([None, {}], object)}, ["'input_0'", "of int8", "of object"]),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, change: dict[str, np.ndarray], words: list[str]) -> None:
    path = saved(tmp_path, **{**GOOD, **change})
    with pytest.raises(BadInput) as caught:
        load_inputs(path, GRAPH)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'input_1' is missing; expected shape \(samples, 3\) of float32"):
        load_inputs(saved(tmp_path, input_0=GOOD["input_0"]), GRAPH)


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    with pytest.raises(BadInput, match="no such file"):
        load_inputs(path, GRAPH)
    for content in (b"", b"not a zip", saved(tmp_path, **GOOD).read_bytes()[:100]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"given\.npz: not a readable \.npz file"):
            load_inputs(path, GRAPH)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(BadInput, match="is not a file"):
        load_inputs(tmp_path / "pipe.npz", GRAPH)


def test_a_damaged_member_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    buffer = io.BytesIO()
    np.save(buffer, GOOD["input_0"])
    for content in (b"", b"text", buffer.getvalue()[:-5]):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("input_0.npy", content)
        with pytest.raises(BadInput, match="'input_0'"):
            load_inputs(path, Graph("one", TENSORS, (), (0,), (), 2))


def test_a_claim_of_terabytes_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|i1", "fortran_order": False, "shape": (1 << 42, 4, 5)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("input_0.npy", buffer.getvalue())
    assert "4,398,046,511,104 samples" in str(refused(path))


def test_an_archive_that_unpacks_to_more_than_memory_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    buffer = io.BytesIO()
    count = MOST_BYTES // 20
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|i1", "fortran_order": False, "shape": (count, 4, 5)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("input_0.npy", buffer.getvalue())  # what follows need not be there
    assert "more than 2,147,483,648" in str(refused(path))


def test_more_samples_than_memory_are_not_drawn() -> None:
    with pytest.raises(BadInput, match="at most 67,108,864 samples at a time"):
        draw_inputs(GRAPH, 0, 1 << 40)


def test_a_header_of_megabytes_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    header = b"{'descr': '|i1', 'fortran_order': False, 'shape': (" + b"1, " * 100_000 + b"), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("input_0.npy", b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header)
    assert "pickle" not in str(refused(path))


def refused(path: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        load_inputs(path, Graph("one", TENSORS, (), (0,), (), 2))
    return caught.value
