"""The table fits the terminal, and what it is for is never what gives way."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from harness.debug.comparison import Status
from harness.oracle import Difference
from harness.report.layer_table import layer_table
from harness.verification import Report, verify
from tests.edited_sources import four_layers

FAR = Difference(1_234_567, 1_234_567, 4_294_967_295, None)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report with a long tensor name and large figures in every row."""
    report = verify(four_layers(tmp_path_factory.mktemp("model") / "four.tflite"), "qemu_cortex_m3")
    graph = report.source.graph
    tensors = tuple(replace(tensor, name="functional_1/very/long/activation/Relu") for tensor in graph.tensors)
    layers = tuple(replace(r, status=Status.PROPAGATED, difference=FAR) for r in report.comparison.layers)
    return replace(
        report,
        source=replace(report.source, graph=replace(graph, tensors=tensors)),
        comparison=replace(report.comparison, layers=layers),
    )


def rendered(report: Report, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(layer_table(report, width))
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_layer_and_status_are_whole_at_any_width(wide: Report, width: int) -> None:
    lines = rendered(wide, width)
    assert max(map(len, lines)) <= width
    rows = lines[-len(wide.comparison.layers) :]
    for row, result in zip(rows, wide.comparison.layers, strict=True):
        assert row.split()[:2] == [str(result.layer.index), result.layer.name]
        assert row.split()[-1] == "propagated"


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_figures_are_whole_or_absent(wide: Report, width: int) -> None:
    *_, row = rendered(wide, width)
    for figure in ("1,234,567", "4,294,967,295"):
        assert figure in row or figure[:5] not in row
    assert "…" not in row or width >= 100  # only a tensor's name is ever shortened


def test_the_name_of_a_tensor_is_what_gives_way_first(wide: Report) -> None:
    widest = rendered(wide, 200)[-1]
    narrower = rendered(wide, len(widest) - 6)[-1]
    assert "…ry/long/activation/Relu " in widest
    assert "…g/activation/Relu " in narrower
    assert "SOFTMAX" in narrower
