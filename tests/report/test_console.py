"""What people read: rendered from a real run, with names and figures put in that a report has to survive."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.debug.comparison import LayerResult, Status
from harness.oracle import Difference, Disagreement
from harness.report.console import body, closing, plain, show
from harness.report.progress import shown
from harness.report.sections import sections
from harness.verification import Report, verify
from tests.edited_sources import four_layers

HOSTILE = "[red]x[/]\x1b[2J\n\u202e"


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return verify(four_layers(tmp_path_factory.mktemp("model") / "four.tflite"), "qemu_cortex_m3")


def with_result(report: Report, index: int, **changes: object) -> Report:
    layers = list(report.comparison.layers)
    layers[index] = replace(layers[index], **changes)  # type: ignore[arg-type]
    return replace(report, comparison=replace(report.comparison, layers=tuple(layers)))


def rendered(report: Report) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    with console.capture() as capture:
        show(report, console)
    return capture.get()


def test_a_row_has_layer_operator_shape_elements_and_status(right: Report) -> None:
    wrong = with_result(right, 1, status=Status.LOCAL, difference=Difference(144, 1234, 255, None))
    row = next(line for line in rendered(wrong).splitlines() if "depthwise_conv2d_1" in line)
    cells = "1 depthwise_conv2d_1 DEPTHWISE_CONV_2D reshape_2 1×144 144 1,234 255 local"
    assert row.split() == cells.split()


def test_names_from_a_model_do_nothing_but_show(right: Report) -> None:
    graph = right.source.graph
    tensors = tuple(replace(tensor, name=HOSTILE) for tensor in graph.tensors)
    hostile = replace(right, source=replace(right.source, graph=replace(graph, tensors=tensors)))
    text = rendered(hostile)
    assert r"[red]x[/]\x1b[2J\n" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert json.loads(json.dumps(hostile.to_json()))["layers"][0]["tensor"] == HOSTILE


def test_differences_that_are_no_number(right: Report) -> None:
    broken = with_result(right, 0, status=Status.LOCAL, difference=Difference(144, 1, math.inf, 2**32 - 1))
    layer = json.loads(json.dumps(broken.to_json(), allow_nan=False))["layers"][0]
    assert (layer["max_abs_diff"], layer["max_ulp"]) == (None, 2**32 - 1)
    assert "NaN/inf" in rendered(broken)


def test_ulps_are_shown_for_floats_only(right: Report) -> None:
    assert "ULPs" not in rendered(right)
    floats = with_result(right, 0, difference=Difference(144, 0, 1.5e-7, 3))
    row = next(line for line in rendered(floats).splitlines() if "conv2d_0 " in line)
    assert row.split()[-4:] == ["0", "1.5e-07", "3", "match"]
    assert "float32 tolerance: 16 ULPs" in rendered(floats)


def test_disagreeing_oracles_are_told_with_their_layer(right: Report) -> None:
    apart = Difference(5, 2, 1, None)
    begun = tuple(Disagreement(op, "SOFTMAX", 1, "x", apart, op != 3) for op in (4, 3, 4, 4, 4, 4, 4))
    text = rendered(replace(right, expected=replace(right.expected, disagreements=begun)))
    assert text.count("disagree in layer 3, SOFTMAX: 2 of 5 elements") == 5
    assert "… and in 1 more operators" in text


def test_notes_and_samples_are_told(right: Report) -> None:
    text = rendered(with_result(right, 2, status=Status.LOCAL, sample=7, note="it changes from run to run"))
    assert "layer 2: first wrong in sample 7" in text
    assert "layer 2: it changes from run to run" in text


def test_a_layer_that_did_not_run_is_not_called_wrong(right: Report) -> None:
    assert "first wrong" not in rendered(with_result(right, 2, status=Status.NOT_RUN, sample=7))


def test_a_whole_model_that_differs_is_the_finding(right: Report) -> None:
    differs = replace(right, comparison=replace(right.comparison, whole_model_agrees=False))
    assert "mismatch: four.tflite" in rendered(differs)
    assert "model_run does not give what its layers give one by one" in rendered(differs)


def test_what_is_to_be_copied_is_never_wrapped(right: Report) -> None:
    far = Path("/somewhere" * 30)
    wrong = replace(with_result(right, 0, status=Status.LOCAL), artifacts=far)
    lines = rendered(wrong).splitlines()
    assert f"artefacts: {far}" in lines
    assert f"rerun: {wrong.settings.command}" in lines
    assert lines[-1] == f"replay: harness replay {far}"


def test_the_replay_command_says_what_the_bundle_does_not(right: Report) -> None:
    assert right.replay is None
    kept = replace(right, artifacts=Path("a b.zip"))
    assert kept.replay == "harness replay 'a b.zip'"
    behind = replace(kept, settings=replace(kept.settings, url="socket://x:1"))
    assert behind.replay == "harness replay 'a b.zip' --board-url socket://x:1"


def test_the_rerun_command_says_all_that_was_asked_for(right: Report) -> None:
    settings = replace(
        right.settings, model=Path("a b.tflite"), samples=3, seed=8, isolated=True, url="socket://x:1", timeout=2.5
    )
    assert settings.command == (
        "harness verify 'a b.tflite' --board qemu_cortex_m3 --board-url socket://x:1 --seed 8 --samples 3 "
        "--oracle tflite-ref --isolated --timeout 2.5"
    )
    assert "--inputs x.npz --oracle" in replace(settings, inputs=Path("x.npz")).command


def test_sections_are_plain_text(right: Report) -> None:
    found = dict(sections(with_result(right, 0, status=Status.NOT_RUN)))
    assert list(found) == ["layers", "UART log", "rerun"]
    assert "\x1b" not in "".join(found.values())
    assert "not run" in found["layers"]


def test_no_colour_and_no_trailing_blanks_in_plain_text(right: Report) -> None:
    text = plain(body(right))
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "match" in closing(right)[0].plain


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(terminal: bool) -> None:
    stream = io.StringIO()
    with shown(Console(file=stream, force_terminal=terminal, width=100), "[x]\x1b model") as report:
        report("compile", 0, 1)
        report("run", 3, 12)
    text = stream.getvalue()
    assert ("running layers 4 of 12" in text) == terminal
    assert (r"[x]\x1b model" in text) == terminal
    assert terminal or text == ""


def test_every_status_has_its_row(right: Report) -> None:
    for status in Status:
        result: LayerResult = with_result(right, 3, status=status).comparison.layers[3]
        assert result.status is status
        row = next(line for line in rendered(with_result(right, 3, status=status)).splitlines() if "softmax_3" in line)
        assert row.rstrip().endswith(status.value.replace("_", " "))
