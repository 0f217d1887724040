"""The compiler's estimate of a schedule's cost, held to what is counted: it ranks what nobody has built yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.board import load_board
from harness.compiler import pipeline
from harness.compiler.choose import Candidate, Objective
from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph, Tensor
from harness.compiler.groups import Groups
from harness.compiler.pipeline import LoweredLayer, lower_layer, run_passes
from harness.compiler.schedules.base import described
from harness.dtypes import DType
from harness.firmware import build
from harness.profile.run import counter_for
from harness.resources import models_dir
from tests.models import sequence

BOARDS = ("qemu_cortex_m0", "qemu_cortex_m3", "qemu_cortex_m4", "qemu_cortex_m55")
MODELS = ("keywords_int8", "residual_int8")
WITHIN = 0.45  # of the count, for every layer that takes more than
LARGE = 3000  # instructions
IN_ALL = 0.15  # of the count, for a whole model
ELEMENTS = 0.25  # of the count, for layers without sums of products, whatever the core lacks for them
REGRET = 1.10  # what is chosen may cost so much of the best there was


def counted(graph: Graph, board_name: str, chosen: list[Candidate], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Instructions of each layer, computed as `chosen` says."""
    board = load_board(board_name)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "choose", lambda choices, objective: chosen)
        source = pipeline.compile_graph(graph, board.target, check=False, objective=Objective.SPEED)
    inputs = [ramp(graph.tensor(t)) for t in graph.inputs]
    figures = counter_for(board).measure(build(source, board), inputs).layers
    return [figure.instructions or 0 for figure in figures]


def ramp(tensor: Tensor) -> np.ndarray:
    """Up and down through most of int8, or as floats through -2 … 2."""
    values = np.resize(np.arange(-100, 101, 7), tensor.shape)
    return (values / 50 if tensor.dtype is DType.F32 else values).astype(tensor.dtype.np)


def shipped(model: str) -> Path:
    return models_dir() / f"{model}.tflite"


def lowered(model: Path, board_name: str) -> tuple[Graph, list[LoweredLayer]]:
    graph = load_model(model)
    groups, target = Groups(graph, run_passes(graph)), load_board(board_name).target
    return graph, [lower_layer(groups, op, index, target) for index, op in enumerate(groups.graph.ops)]


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("model", MODELS)
def test_estimates_are_near_the_counts(model: str, board: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, layers = lowered(shipped(model), board)
    for objective in (Objective.SPEED, Objective.SIZE):
        key = (
            (lambda one: one.cost.instructions) if objective is Objective.SPEED else (lambda one: one.cost.flash_bytes)
        )
        chosen = [min(layer.candidates, key=key) for layer in layers]
        counts = counted(graph, board, chosen, monkeypatch)
        for layer, one, count in zip(layers, chosen, counts, strict=True):
            if count > LARGE:
                what = f"{layer.layer.name}: {described(one.schedule)}"
                assert one.cost.instructions == pytest.approx(count, rel=WITHIN), what
        assert sum(one.cost.instructions for one in chosen) == pytest.approx(sum(counts), rel=IN_ALL)


@pytest.mark.parametrize("board", ["qemu_cortex_m0", "qemu_cortex_m3", "qemu_cortex_m4"])
@pytest.mark.parametrize(
    ("layer", "dtype"),
    [
        ("softmax", "int8"),
        ("softmax", "float32"),
        ("logistic", "float32"),
        ("tanh", "float32"),
        ("hard_swish", "float32"),
    ],
)
def test_estimates_know_what_a_core_lacks(
    layer: str, dtype: str, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products of 64 bits, leading zeros, saturation and floats: functions of libraries, or halves, on small cores."""
    model = tmp_path / "layer.tflite"
    model.write_bytes(sequence((8, 16), [(layer, {})], dtype=dtype))
    graph, (lone,) = lowered(model, board)
    for one in lone.candidates:
        (count,) = counted(graph, board, [one], monkeypatch)
        assert one.cost.instructions == pytest.approx(count, rel=ELEMENTS), described(one.schedule)


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("layer", ["softmax", "quantize"])
def test_what_is_chosen_for_elements_is_near_the_best_there_is(
    layer: str, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables, element by element or word by word, against arithmetic, in vectors where there are any."""
    model = tmp_path / "layer.tflite"
    model.write_bytes(sequence((16, 32), [(layer, {})]))
    graph, (lone,) = lowered(model, board)
    counts = {described(one.schedule): counted(graph, board, [one], monkeypatch)[0] for one in lone.candidates}
    fastest = min(lone.candidates, key=lambda one: one.cost.instructions)
    assert counts[described(fastest.schedule)] <= REGRET * min(counts.values()), counts


@pytest.mark.parametrize("board", BOARDS)
def test_what_is_chosen_is_near_the_best_there_is(board: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every candidate of every layer is built and counted."""
    graph, layers = lowered(shipped("keywords_int8"), board)
    counts: list[dict[str, int]] = [{} for _ in layers]
    for number in range(max(len(layer.candidates) for layer in layers)):
        chosen = [layer.candidates[number % len(layer.candidates)] for layer in layers]
        for found, one, count in zip(counts, chosen, counted(graph, board, chosen, monkeypatch), strict=True):
            found[described(one.schedule)] = count
    fastest = [min(layer.candidates, key=lambda one: one.cost.instructions) for layer in layers]
    took = sum(found[described(one.schedule)] for found, one in zip(counts, fastest, strict=True))
    assert took <= REGRET * sum(min(found.values()) for found in counts)
