"""A second compilation is read back, and equals the first; nothing stale or damaged is ever used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.board import Target
from harness.compiler import compile_model, source_cache
from tests.models import classifier

M3 = Target("cortex-m3", frozenset())


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "net.tflite"
    path.write_bytes(classifier().build())
    return path


def entries(model: Path) -> list[Path]:
    return sorted((model.parent / "cache" / "layerproof" / "sources").glob("*.json"))


def parts(model: Path) -> tuple:
    source = compile_model(model, M3)
    return source.files, source.layers, source.placements, source.arena_bytes, source.constant_bytes, source.target


def test_the_second_is_read_back_and_equal(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = parts(model)
    monkeypatch.setattr("harness.compiler.compile_graph", lambda *a, **k: pytest.fail("compiled again"))
    assert parts(model) == first


def test_another_model_core_or_compiler_has_its_own_entry(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_model(model, M3)
    compile_model(model, Target("cortex-m4", frozenset({"dsp"})))
    assert len(entries(model)) == 2
    monkeypatch.setattr(source_cache, "_compiler", lambda: "another")
    compile_model(model, M3)
    assert len(entries(model)) == 3
    model.write_bytes(classifier(seed=9).build())
    compile_model(model, M3)
    assert len(entries(model)) == 4


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"files": 3}', b"\xff\xfe"])
def test_a_damaged_entry_is_made_anew(model: Path, damage: bytes) -> None:
    first = parts(model)
    (entry,) = entries(model)
    entry.write_bytes(damage)
    assert parts(model) == first
    assert entry.read_bytes() != damage


def test_a_folder_that_cannot_be_written_costs_only_time(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = model.parent / "a file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert parts(model)[1]


def test_the_oldest_entries_go_first(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_model(model, M3)
    (first,) = entries(model)
    monkeypatch.setattr(source_cache, "LIMIT_BYTES", first.stat().st_size * 3 // 2)
    os.utime(first, (1, 1))
    model.write_bytes(classifier(seed=9).build())
    compile_model(model, M3)
    (kept,) = entries(model)
    assert kept != first


def test_passes_that_are_left_out_make_another_entry(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compile_model(model, M3)
    bare = compile_model(model, M3, without=["fold-views"])
    assert len(entries(model)) == 2
    assert len(bare.layers) == len(whole.layers) + 1
    monkeypatch.setattr("harness.compiler.compile_graph", lambda *a, **k: pytest.fail("compiled again"))
    for without, source in (((), whole), (("fold-views",), bare)):
        again = compile_model(model, M3, without=without)
        assert (again.without, again.files) == (without, source.files)
        assert json.loads(again.files["metadata.json"])["without"] == list(without)
