"""The map back to the model in an ELF file: what C, assembler and linker make of it is what was put in."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.board import Target, core_target
from harness.compiler.csource import CSource
from harness.compiler.emit import model_map_h
from harness.compiler.frontends import parse_model
from harness.compiler.metadata import comments, read_comments, read_map
from harness.compiler.pipeline import compile_graph
from harness.debug.image import Image
from tests.compiler.test_emit import HOSTILE, write
from tests.constant_channels import FAR, saturate
from tests.models import Net, classifier
from tests.native import STRICT

HOST = Target("host", frozenset())


def data_of(source: CSource) -> dict[str, Any]:
    return json.loads(source.files["metadata.json"])


@pytest.fixture(scope="module")
def source() -> CSource:
    """With scratch memory, and with tensors that lost channels."""
    net = Net(3)
    x = net.conv2d(net.input((1, 6, 6, 16)), (3, 3), 4, activation="RELU")
    saturate(net, x, {1: -FAR})  # a channel that is always 0
    net.softmax(net.fully_connected(net.reshape(net.conv2d(x, (3, 3), 6)), 5))
    source = compile_graph(parse_model(net.build(), "net.tflite"), core_target("cortex-m4"))
    assert source.kept
    assert any(layer.scratch for layer in source.layers)
    return source


def test_the_map_leads_back_to_all_that_was_compiled(source: CSource, tmp_path: Path) -> None:
    from_elf = read_comments(["GCC: (GNU) 12.2.1", "other.layer {}", *reversed(comments(data_of(source)))])
    assert from_elf is not None
    for found in (from_elf, read_map(write(source, tmp_path))):
        assert found.layers == tuple(replace(layer, parts=()) for layer in source.layers)
        assert found.placements == source.placements
        assert (found.arena_bytes, found.arena_lower_bound) == (source.arena_bytes, source.arena_lower_bound)
        assert (found.name, found.objective, found.without) == (source.name, source.objective, source.without)
        assert (found.graph.inputs, found.graph.outputs) == (source.graph.inputs, source.graph.outputs)
        for tensor in source.placements:
            ours, theirs = found.graph.tensors[tensor], source.graph.tensors[tensor]
            assert (ours.name, ours.shape, ours.dtype) == (theirs.name, theirs.shape, theirs.dtype)
    assert "'channels'" not in "".join(comments(data_of(source)))


@given(name=st.text(), line=st.text(alphabet="\\\"'?/n\x7f u0027"))
def test_any_name_comes_back(name: str, line: str, source: CSource) -> None:
    data = data_of(source)
    data["model"] = line
    for tensor in data["tensors"]:
        tensor["name"] = name + line
    texts = comments(data)
    assert all(32 <= ord(c) < 127 and c not in '"?' for text in texts for c in text)
    found = read_comments(texts)
    assert found is not None
    assert found.name == line
    assert {found.graph.tensors[tensor["id"]].name for tensor in data["tensors"]} == {name + line}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_compiler_makes_of_it_is_what_was_put_in(name: str, tmp_path: Path) -> None:
    net = classifier()
    net.tensors[:] = [replace(t, name=name) for t in net.tensors]
    source = compile_graph(parse_model(net.build(), "net.tflite"), HOST)
    (tmp_path / "a.c").write_text(source.files["model_map.h"])
    for machine in (["gcc"], ["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb"]):
        subprocess.run([*machine, *STRICT, "-c", "a.c", "-o", "a.o"], cwd=tmp_path, check=True, timeout=60)
        found = Image(tmp_path / "a.o").comments
        assert [text for text in found if text.startswith("layerproof.")] == comments(data_of(source))
        assert read_comments(found) is not None


def test_equal_comments_of_two_files_are_one_map_and_two_maps_are_none(source: CSource) -> None:
    texts = comments(data_of(source))
    assert read_comments(texts) is not None
    assert repr(read_comments([*texts, *texts])) == repr(read_comments(texts))
    other = comments({**data_of(source), "model": "other.tflite"})
    assert read_comments([*texts, *other]) is None


@pytest.mark.parametrize(
    "found",
    [
        [],
        ["GCC: (GNU) 12.2.1"],
        ["layerproof.model"],
        ["layerproof.model {", "layerproof.layer {}"],
        ["layerproof.model {'model': 'a'}"],
        ["layerproof.layer {'index': 0}"],
        ["layerproof.model 3", "layerproof.tensor {'id': 1e99}"],
    ],
)
def test_what_is_no_map_is_none(found: list[str]) -> None:
    assert read_comments(found) is None


@pytest.mark.parametrize(
    "change",
    [
        {"id": -1},
        {"id": 1 << 16},
        {"shape": [1 << 12] * 3},
        {"shape": [-1]},
        {"shape": [10**4000] * 3},
        {"model_shape": 3},
        {"offset": -1},
        {"bytes": 1 << 33},
        {"dtype": "int7"},
    ],
)
def test_a_tensor_that_cannot_be_makes_no_map(change: dict[str, Any], source: CSource) -> None:
    data = data_of(source)
    data["tensors"][0] |= change
    assert read_comments(comments(data)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"index": 1},
        {"index": -1},
        {"outputs": [-100]},
        {"inputs": [1 << 16]},
        {"scratch": [{"offset": -1, "bytes": 1}]},
        {"scratch": 3},
        {"ops": None},
        {"macs": 1e999},
    ],
)
def test_a_layer_that_cannot_be_makes_no_map(change: dict[str, Any], source: CSource) -> None:
    data = data_of(source)
    data["layers"][0] |= change
    assert read_comments(comments(data)) is None
    assert read_comments(comments({**data, "layers": data["layers"][1:]})) is None


def test_nesting_without_end_is_no_map(source: CSource) -> None:
    assert read_comments(["layerproof.model " + "[" * 100_000]) is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("character", ["☃", "'", '"', "\\", "?", "x", "\x00"])
def test_a_long_name_without_blanks_is_printed_at_once(character: str, source: CSource) -> None:
    data = data_of(source)
    data["model"] = character * 2000
    texts = comments(data)
    lines = model_map_h(texts).splitlines()
    pieces = [line.strip() for line in lines if line.startswith("        ")]
    joined = "".join(piece.strip().removesuffix(");").strip('"') for piece in pieces if piece != '"\\"");')
    assert joined.replace("\\" * 4, "\\") == "".join(texts)


def test_no_line_of_the_header_is_longer_than_a_screen() -> None:
    texts = ["layerproof.layer " + "x" * 300, "layerproof.layer " + "word " * 100]
    assert max(map(len, model_map_h(texts).splitlines())) <= 120
