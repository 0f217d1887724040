"""What a profile looks like on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from harness.profile.baseline import Change, Comparison
from harness.report.profile_table import body, comparison_body, details
from tests.report.profiles import NASTY, named, sample


def rendered(what: RenderableType, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_every_layer_and_the_total() -> None:
    text = rendered(body(sample()))
    for words in ("add_0", "double_1", "sum_2", "480", "48.0%", "1,000 instructions", "estimated cycles: 1,500"):
        assert words in text
    assert "no measurement" in text
    assert "stack 96 B at most, 84 written; of 4,096 reserved 320 with the stub's" in text


def test_cycles_of_a_board_are_no_estimate() -> None:
    text = rendered(body(sample(cycles=True)))
    assert "900 cycles" in text
    assert "estimate" not in text
    assert "instructions" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_names_and_counts_are_never_cut(width: int) -> None:
    lines = rendered(body(named(sample(), "functional_1/very/long/activation/Relu"), width), width).splitlines()
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if "double_1" in line)
    assert "480" in row
    assert row.lstrip().startswith("1")


def test_functions_and_lines() -> None:
    text = rendered(details(sample()))
    assert "nn_kernels.c:7" in text
    assert "nn_kernels.c:9" in text
    assert rendered(details(sample(cycles=True))).strip() == ""


def test_names_cannot_reach_the_terminal() -> None:
    text = rendered(body(named(sample(), NASTY), 200), 200)
    assert "\x1b" not in text
    assert "\u202e" not in text


def comparison(*changes: Change, total: tuple[int, int] = (1000, 1000)) -> Comparison:
    whole = Change("total", "", "", *total)
    return Comparison(Path("base.json"), "instructions", Fraction(1, 100), changes, whole)


def test_a_regression_is_named_with_its_delta() -> None:
    text = rendered(comparison_body(comparison(Change("conv2d_0", "CONV_2D", "x", 100, 120), total=(1000, 1020))))
    assert "regression: more than 1.00% above base.json: conv2d_0 +20 (+20.00%), total +20 (+2.00%)" in text


def test_an_improvement_is_shown() -> None:
    text = rendered(comparison_body(comparison(Change("conv2d_0", "CONV_2D", "x", 100, 80), total=(1000, 980))))
    assert "-20 (-20.00%)" in text
    assert "no regression" in text


def test_no_change() -> None:
    text = rendered(comparison_body(comparison(Change("conv2d_0", "CONV_2D", "x", 100, 100))))
    assert text.strip() == "no change against base.json"


def test_layers_that_came_and_went() -> None:
    text = rendered(
        comparison_body(comparison(Change("pad_0", "PAD", "", 50, None), Change("conv2d_0", "CONV_2D", "", None, 60)))
    )
    assert "gone" in text
    assert "new" in text


def test_notes_are_shown() -> None:
    found = sample()
    text = rendered(body(replace(found, measurement=replace(found.measurement, notes=("mind this",)))))
    assert "mind this" in text
