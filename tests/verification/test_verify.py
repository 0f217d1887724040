"""The whole way, on an emulated Cortex-M3: what is in the report when all is well, and when something is wrong."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest

import harness
from harness.compiler.frontends import load_model
from harness.compiler.ops import run_reference
from harness.debug.comparison import Status
from harness.errors import BadInput, ToolFailed
from harness.oracle import draw_inputs
from harness.verdict import Verdict
from harness.verification import Report, verify
from tests.edited_sources import FLIP, READ_NOWHERE, SPIN, SPOIL, four_layers, insert, sources

BOARD = "qemu_cortex_m3"
MATCH, LOCAL, PROPAGATED, NOT_RUN = Status.MATCH, Status.LOCAL, Status.PROPAGATED, Status.NOT_RUN


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_layers(tmp_path_factory.mktemp("model") / "four.tflite")


def statuses(report: Report) -> list[Status]:
    return [result.status for result in report.comparison.layers]


def test_a_right_model_matches_with_everything_in_the_report(model: Path, tmp_path: Path) -> None:
    report = verify(model, BOARD, samples=2, seed=9, artifacts=tmp_path / "kept")
    assert report.verdict is Verdict.MATCH
    found = report.to_json()
    assert {key: found[key] for key in ("verdict", "model", "board", "oracle", "crash")} == {
        "verdict": "match",
        "model": "four.tflite",
        "board": BOARD,
        "oracle": "tflite-ref",
        "crash": None,
    }
    assert [layer["op"] for layer in found["layers"]] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert [layer["index"] for layer in found["layers"]] == [0, 1, 2, 3]
    assert [layer["elements"] for layer in found["layers"]] == [144, 144, 5, 5]
    assert {(layer["mismatches"], layer["max_abs_diff"], layer["status"]) for layer in found["layers"]} == {
        (0, 0, "match")
    }
    assert sorted(op for layer in found["layers"] for op in layer["ops"]) == list(range(5))
    graph = load_model(model)
    inputs = draw_inputs(graph, 9, 2)
    outputs = b"".join(run_reference(graph, [x])[graph.outputs[0]].tobytes() for x in inputs[0])
    (output,) = found["outputs"]
    assert output["crc32"] == f"0x{zlib.crc32(outputs):08x}"
    assert (output["shape"], output["dtype"], output["mismatches"]) == ([1, 5], "int8", 0)
    assert all(found["memory"][key] > 0 for key in found["memory"])
    assert set(found["timings"]) == {"load", "compile", "build", "oracle", "boot", "run"}
    assert found["whole_model_agrees"] is True
    kept = json.loads((tmp_path / "kept" / "report.json").read_text())
    places = {
        "artifacts": None,
        "replay": None,
        "rerun": "harness verify model/four.tflite --board ./qemu_cortex_m3.toml --seed 9 --samples 2 "
        "--oracle tflite-ref",
    }
    assert kept == found | places
    assert found["replay"] == f"harness replay {tmp_path / 'kept'}"


def test_artefacts(model: Path, tmp_path: Path) -> None:
    report = verify(model, BOARD, artifacts=tmp_path)
    assert (tmp_path / "firmware.elf").read_bytes() == report.firmware.elf.read_bytes()
    assert (tmp_path / "uart.log").read_bytes() == report.uart_log
    assert len(report.uart_log) > 100
    messages = [json.loads(line)["message"] for line in (tmp_path / "transcript.jsonl").read_text().splitlines()]
    assert messages[0] == "Hello"
    assert "LayerDone" in messages
    for name, text in report.source.files.items():
        assert (tmp_path / "sources" / name).read_text() == text
    with np.load(tmp_path / "inputs.npz") as kept:
        np.testing.assert_array_equal(kept["input_0"], draw_inputs(report.source.graph, 0, 1)[0])


def test_kept_inputs_do_the_same_run_again(model: Path, tmp_path: Path) -> None:
    first = verify(model, BOARD, samples=3, seed=4, artifacts=tmp_path)
    again = verify(model, BOARD, inputs=tmp_path / "inputs.npz")
    assert again.settings.samples == 3
    assert again.comparison.outputs == first.comparison.outputs
    assert verify(model, BOARD, inputs=tmp_path / "inputs.npz", samples=1).settings.samples == 1
    with pytest.raises(BadInput, match="4 samples were asked for; the file holds 3"):
        verify(model, BOARD, inputs=tmp_path / "inputs.npz", samples=4)


def test_a_float_model_is_judged_with_a_stated_tolerance(tmp_path: Path) -> None:
    report = verify(four_layers(tmp_path / "float.tflite", "float32"), BOARD)
    assert report.verdict is Verdict.MATCH
    found = report.to_json()
    assert found["tolerance"]["float32_ulps"] > 0
    assert all("max_ulp" in layer for layer in found["layers"])


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_an_edited_kernel_is_local_and_what_follows_propagated(model: Path, tmp_path: Path, wrong: int) -> None:
    source = sources(model, tmp_path, BOARD)
    insert(source, tmp_path, wrong, FLIP, at_end=True)
    report = verify(model, BOARD, sources=tmp_path)
    assert report.verdict is Verdict.MISMATCH
    found = statuses(report)
    assert found[: wrong + 1] == [MATCH] * wrong + [LOCAL]
    assert LOCAL not in found[wrong + 1 :]
    assert report.comparison.layers[wrong].difference.mismatches == 1
    assert report.comparison.layers[wrong].difference.max_abs_diff == 1
    assert report.comparison.whole_model_agrees is True


def test_isolated_layers_do_not_pass_on_what_is_wrong(model: Path, tmp_path: Path) -> None:
    source = sources(model, tmp_path, BOARD)
    insert(source, tmp_path, 0, FLIP, at_end=True)
    report = verify(model, BOARD, sources=tmp_path, isolated=True)
    assert statuses(report) == [LOCAL, MATCH, MATCH, MATCH]


def test_a_crash_names_function_line_and_layer(model: Path, tmp_path: Path) -> None:
    source = sources(model, tmp_path, BOARD)
    line = insert(source, tmp_path, 1, READ_NOWHERE)
    report = verify(model, BOARD, sources=tmp_path)
    assert report.verdict is Verdict.CRASH
    assert statuses(report) == [MATCH, NOT_RUN, NOT_RUN, NOT_RUN]
    crash = report.to_json()["crash"]
    assert (crash["layer"], crash["address"]) == (1, 0x60000000)
    frame = next(frame for frame in crash["frames"] if frame["function"] == source.layers[1].name)
    assert (Path(frame["file"]).name, frame["line"]) == (Path(source.layers[1].file).name, line)
    assert [f["function"] for f in crash["frames"]][-1] == "main"


def test_a_wrong_layer_before_a_crash_is_still_found(model: Path, tmp_path: Path) -> None:
    source = sources(model, tmp_path, BOARD)
    insert(source, tmp_path, 0, SPOIL, at_end=True)
    insert(source, tmp_path, 2, READ_NOWHERE)
    report = verify(model, BOARD, sources=tmp_path)
    assert report.verdict is Verdict.CRASH
    assert statuses(report) == [LOCAL, PROPAGATED, NOT_RUN, NOT_RUN]
    assert report.crash is not None
    assert report.crash.layer == 2


def test_a_layer_that_never_returns_is_a_timeout_with_the_place(model: Path, tmp_path: Path) -> None:
    source = sources(model, tmp_path, BOARD)
    line = insert(source, tmp_path, 2, SPIN)
    report = verify(model, BOARD, sources=tmp_path, timeout=1)
    assert report.verdict is Verdict.TIMEOUT
    assert statuses(report) == [MATCH, MATCH, NOT_RUN, NOT_RUN]
    assert report.crash is not None
    frame = next(frame for frame in report.crash.frames if frame.function == source.layers[2].name)
    assert frame.line == line
    assert "main" in [frame.function for frame in report.crash.frames]


def test_a_killed_emulator_is_infrastructure(model: Path) -> None:
    def kill(stage: str, done: int, total: int) -> None:
        if stage == "run" and done == 2:
            for child in psutil.Process().children(recursive=True):
                if "qemu" in child.name():
                    child.kill()

    report = verify(model, BOARD, progress=kill)
    assert report.verdict is Verdict.INFRASTRUCTURE
    assert statuses(report) == [MATCH, MATCH, NOT_RUN, NOT_RUN]
    assert report.crash is None
    assert "SIGKILL" in report.stopped or "killed" in report.stopped


def test_an_interrupt_leaves_no_process(model: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "run":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(model, BOARD, progress=interrupt)
    assert [child.name() for child in psutil.Process().children(recursive=True) if "qemu" in child.name()] == []


def test_a_kernel_that_does_not_compile_keeps_the_compilers_words(model: Path, tmp_path: Path) -> None:
    source = sources(model, tmp_path / "c", BOARD)
    insert(source, tmp_path / "c", 0, "output[0] = undeclared;")
    with pytest.raises(ToolFailed) as caught:
        verify(model, BOARD, sources=tmp_path / "c", artifacts=tmp_path / "kept")
    assert "undeclared" in str(caught.value)
    assert source.layers[0].file.rpartition("/")[2] in str(caught.value)
    assert "undeclared" in (tmp_path / "kept" / "sources" / source.layers[0].file).read_text()


def test_wrong_expectations_name_the_oracle(model: Path, tmp_path: Path) -> None:
    graph = load_model(model)
    inputs = draw_inputs(graph, 0, 1)
    right = run_reference(graph, [inputs[0][0]])[graph.outputs[0]]
    np.savez(tmp_path / "expected.npz", output_0=right[np.newaxis] ^ np.int8(1))
    report = verify(model, BOARD, oracle=str(tmp_path / "expected.npz"))
    assert report.verdict is Verdict.MISMATCH
    assert statuses(report) == [MATCH, MATCH, MATCH, LOCAL]
    (disagreement,) = report.to_json()["oracle_disagreements"]
    assert (disagreement["layer"], disagreement["inputs_agree"]) == (3, True)


def test_the_python_interface(model: Path) -> None:
    from harness.board import load_board

    board = load_board(BOARD)
    source = harness.compile_model(model, board.target)
    firmware = harness.build(source, board)
    with harness.open_session(firmware, board) as session:
        assert len(session.hello.build_id) == 20
    assert harness.verify(model, board).ok
    assert set(harness.__all__) <= set(dir(harness))
    with pytest.raises(AttributeError, match="no attribute 'verfy'"):
        harness.verfy  # noqa: B018
