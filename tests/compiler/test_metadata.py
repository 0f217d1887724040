"""The map back to the model in an ELF file: what C, assembler and linker make of it is what was put in."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.board import Target
from harness.compiler.csource import CSource
from harness.compiler.emit import model_map_h
from harness.compiler.frontends import parse_model
from harness.compiler.metadata import comments, read_comments, read_map
from harness.compiler.pipeline import compile_graph
from harness.debug.image import Image
from tests.compiler.test_emit import HOSTILE, every_operator, write
from tests.models import classifier
from tests.native import STRICT

HOST = Target("host", frozenset())


def data_of(source: CSource) -> dict:
    return json.loads(source.files["metadata.json"])


@pytest.fixture(scope="module")
def source() -> CSource:
    return compile_graph(parse_model(every_operator().build(), "net.tflite"), HOST)


def test_comments_say_what_the_file_says(source: CSource, tmp_path: Path) -> None:
    found = read_comments(["GCC: (GNU) 12.2.1", *reversed(comments(data_of(source)))])
    assert repr(found) == repr(read_map(write(source, tmp_path)))  # graphs have no equality


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


def test_no_line_of_the_header_is_longer_than_a_screen() -> None:
    texts = ["layerproof.layer " + "x" * 300, "layerproof.layer " + "word " * 100]
    assert max(map(len, model_map_h(texts).splitlines())) <= 120
