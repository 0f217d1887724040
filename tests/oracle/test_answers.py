"""What an oracle answered is read back for the same question, and for no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.compiler.frontends import load_model
from harness.oracle import Consultation, draw_inputs
from harness.oracle.answers import AnswerStore, key_of
from tests.models import classifier


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "net.tflite"
    path.write_bytes(classifier().build())
    return path


def consult(model: Path, seed: int = 0) -> dict[int, np.ndarray]:
    graph = load_model(model)
    with Consultation("tflite-ref", model, graph, draw_inputs(graph, seed, 2)) as consultation:
        return dict(consultation.expected().tensors)


def same(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[t], b[t]) for t in a)


def test_the_second_time_no_interpreter_runs(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = consult(model)
    monkeypatch.setattr("harness.oracle.Worker", lambda *a, **k: pytest.fail("an interpreter was started"))
    assert same(consult(model), first)


def test_another_question_is_asked_anew(model: Path) -> None:
    first = consult(model)
    assert not same(consult(model, seed=1), first)
    model.write_bytes(classifier(seed=8).build())
    assert not same(consult(model), first)


def test_a_damaged_answer_is_asked_anew(model: Path) -> None:
    first = consult(model)
    for entry in (model.parent / "cache" / "layerproof" / "answers").iterdir():
        entry.write_bytes(entry.read_bytes()[:100])
    assert same(consult(model), first)


def test_every_part_of_the_question_counts() -> None:
    x = [np.zeros((1, 4), np.int8)]
    keys = {
        key_of("numpy", b"model", x, [1]),
        key_of("tflite-ref", b"model", x, [1]),
        key_of("numpy", b"Model", x, [1]),
        key_of("numpy", b"model", x, [1, 2]),
        key_of("numpy", b"model", [np.ones((1, 4), np.int8)], [1]),
        key_of("numpy", b"model", [np.zeros((4, 1), np.int8)], [1]),
        key_of("numpy", b"model", [np.zeros((1, 4), np.uint8)], [1]),
    }
    assert len(keys) == 7


def test_the_oldest_answers_go_first(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path, limit=20_000)
    for n in range(8):
        store.save(f"{n}", {0: np.full((1, 4_000), n, np.int8)})
    kept = [n for n in range(8) if store.load(f"{n}") is not None]
    assert 0 not in kept
    assert 7 in kept
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 20_000
    store.save("huge", {0: np.zeros((1, 20_000), np.int8)})
    assert store.load("huge") is None
