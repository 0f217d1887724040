"""The plugin in a pytest of its own, in a folder of its own, as a user runs it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

import harness
from tests.edited_sources import FLIP, READ_NOWHERE, four_layers, insert, sources

ROOT = Path(harness.__file__).resolve().parent.parent
RunPytest = Callable[..., pytest.RunResult]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that begins empty and lasts for all tests here: pytester gives each a home of its own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cache: Path) -> RunPytest:
    """run(test file's text, *options): pytest with the plugin, by its entry point where that is installed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    installed = [entry.name for entry in importlib.metadata.entry_points(group="pytest11")]
    plugin = () if "harness" in installed else ("-p", "harness.pytest_plugin")

    def call(text: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess(*plugin, "-p", "no:cacheprovider", *options, timeout=240)

    return call


@pytest.fixture
def model(pytester: pytest.Pytester) -> Path:
    return four_layers(pytester.path / "model.tflite")


VERIFY = """
def test_model(verify_model):
    verify_model("model.tflite")
"""


# ---- which tests run ---------------------------------------------------------------------------------------------


def test_without_a_board_tests_that_need_one_are_skipped_and_it_is_said_once(run: RunPytest) -> None:
    result = run(VERIFY + "def test_again(verify_model): ...\ndef test_session(session): ...\ndef test_other(): ...\n")
    result.assert_outcomes(passed=1, skipped=3)
    said = [line for line in result.outlines if "harness:" in line]
    assert len(said) == 1
    assert said[0].startswith("harness: 3 tests were skipped for want of a board; give --board=NAME")


def test_nothing_is_said_where_no_test_needs_a_board(run: RunPytest) -> None:
    result = run("def test_plain(): ...\n")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*harness:*")


def test_each_board_runs_each_test(run: RunPytest) -> None:
    text = "def test_core(board): assert board.cpu.core.startswith('cortex')\ndef test_plain(): ...\n"
    result = run(text, "-v", "--board=qemu_cortex_m0", "--board=qemu_cortex_m3", "--board=qemu_cortex_m0")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*test_core?qemu_cortex_m0? PASSED*", "*test_core?qemu_cortex_m3? PASSED*"])


def test_the_marker_chooses_boards(run: RunPytest) -> None:
    text = """
import pytest

@pytest.mark.board(core="cortex-m3")
def test_core(): ...

@pytest.mark.board(core=["cortex-m3", "cortex-m4"], features="dsp")
def test_core_and_feature(board): ...

@pytest.mark.board
def test_any(): ...
"""
    result = run(text, "-v", "-rs", "--board=qemu_cortex_m3", "--board=qemu_cortex_m4")
    result.assert_outcomes(passed=4, skipped=2)
    result.stdout.fnmatch_lines(["*for cortex-m3; qemu_cortex_m4 is a cortex-m4*"])
    result.stdout.fnmatch_lines(["*needs dsp, which qemu_cortex_m3 has not*"])
    run(text).assert_outcomes(skipped=3)


def test_a_misspelt_marker_is_an_error(run: RunPytest) -> None:
    result = run("import pytest\n@pytest.mark.board(cpu='x')\ndef test_x(board): ...\n", "--board=host")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*takes core=* and features=*, not cpu*"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--board=qemu_cortex_m9"], "*qemu_cortex_m9*"),
        (["--board=host", "--board=qemu_cortex_m3", "--board-url=/dev/ttyX"], "*--board-url says where one board is*"),
    ],
)
def test_impossible_options(run: RunPytest, options: list[str], words: str) -> None:
    result = run("def test_x(): ...\n", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([words])
    result.stderr.no_fnmatch_line("*Traceback*")


# ---- verifying ---------------------------------------------------------------------------------------------------

BOARD = "--board=qemu_cortex_m3"
WRONG = """
def test_model(verify_model):
    verify_model("model.tflite", sources="c")
"""


@pytest.fixture
def edited(pytester: pytest.Pytester, model: Path) -> Callable[[int, str], int]:
    """edited(layer, statement) -> line: sources in `c` whose layer has that statement on that line."""

    def make(layer: int, statement: str) -> int:
        folder = pytester.path / "c"
        return insert(sources(model, folder, "qemu_cortex_m3"), folder, layer, statement, at_end=statement == FLIP)

    return make


def failure_in_junit(path: Path) -> str:
    """The text of the only failure in a JUnit XML file."""
    (failure,) = ElementTree.parse(path).iter("failure")
    return failure.text or ""


def test_three_lines_verify_a_model(run: RunPytest, model: Path) -> None:
    result = run(VERIFY, BOARD)
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("logging", ["no", "all"])
def test_a_mismatch_is_told_in_the_report_and_in_junit(
    run: RunPytest, edited: Callable[[int, str], int], pytester: pytest.Pytester, logging: str
) -> None:
    edited(1, FLIP)
    result = run(WRONG, BOARD, "--junit-xml=junit.xml", "-o", f"junit_logging={logging}")
    result.assert_outcomes(failed=1)
    told = failure_in_junit(pytester.path / "junit.xml")
    for text in (result.stdout.str(), told):
        assert "VerificationFailed: mismatch: model.tflite on qemu_cortex_m3 against tflite-ref" in text
        row = next(line for line in text.splitlines() if line.split()[1:2] == ["depthwise_conv2d_1"])
        assert row.split()[-4:] == ["144", "1", "1", "local"]
        assert "harness verify" in text
        assert "--sources c" in text
        assert (
            "pytest 'test_a_mismatch_is_told_in_the_report_and_in_junit.py::test_model[qemu_cortex_m3]' --board" in text
        )
        assert "pytest_plugin.py" not in text
        command = re.search(r"^harness replay (\S+)$", text, re.MULTILINE)
        assert command is not None
        assert (Path(command[1]) / "bundle.json").is_file()


def test_a_crash_is_told_with_its_traceback_and_the_uart_log(
    run: RunPytest, edited: Callable[[int, str], int], pytester: pytest.Pytester
) -> None:
    line = edited(1, READ_NOWHERE)
    result = run(WRONG, BOARD, "--junit-xml=junit.xml", "--harness-artifacts=kept")
    result.assert_outcomes(failed=1)
    log = next((pytester.path / "kept").rglob("uart.log")).read_bytes()
    for text in (result.stdout.str(), failure_in_junit(pytester.path / "junit.xml")):
        assert "Traceback (most recent call first):" in text
        frame = next(row for row in text.splitlines() if row.split()[1:2] == ["depthwise_conv2d_1"] and "#" in row)
        assert f"001_depthwise_conv2d_1.c:{line}" in frame
        assert "layer 1 of 4, DEPTHWISE_CONV_2D" in frame
        assert f"{len(log):,} bytes:" in text


def test_artefacts_go_where_they_are_told_to(run: RunPytest, model: Path, pytester: pytest.Pytester) -> None:
    twice = VERIFY + "    verify_model('model.tflite', samples=2)\n"
    run(twice, BOARD, "--harness-artifacts=kept").assert_outcomes(passed=1)
    reports = sorted((pytester.path / "kept").glob("*/report.json"))
    assert len(reports) == 2
    assert all("test_model" in report.parent.name for report in reports)


def test_a_session_of_the_tests_own(run: RunPytest, edited: Callable[[int, str], int]) -> None:
    edited(1, READ_NOWHERE)
    text = """
import numpy as np
from harness.compiler import load_sources

def test_runs(session, compile_model):
    source = compile_model("model.tflite")
    running = session(source)
    (x,) = source.graph.inputs
    running.write_tensor(x, np.zeros(source.graph.tensor(x).shape, np.int8))
    assert len(running.run_layers()) == 4

def test_crashes(session, board):
    session(load_sources("model.tflite", "c", board.target)).run()
"""
    result = run(text, BOARD)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*TargetCrashed*", "*- traceback -*", "*depthwise_conv2d_1*", "*- UART log -*"])
    result.stdout.fnmatch_lines(["*- rerun this test -*"])


def test_bad_input_is_an_error_of_the_test(run: RunPytest) -> None:
    result = run(VERIFY, BOARD)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ModelError: model.tflite: no such file*"])
    result.stdout.no_fnmatch_line("*def read_model*")  # the inside of the harness explains nothing


def test_under_xdist_the_report_is_the_same(run: RunPytest, edited: Callable[[int, str], int]) -> None:
    edited(1, FLIP)
    result = run(WRONG + "def test_other(verify_model): verify_model('model.tflite')\n", BOARD, "-n", "2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*- layers -*", "*depthwise_conv2d_1*local*", "*- rerun -*"])
