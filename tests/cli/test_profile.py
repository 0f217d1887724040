"""`harness profile` as a user meets it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest

from tests.cli.conftest import Run
from tests.edited_sources import READ_NOWHERE, four_layers, insert, sources

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm", "gcc"))),
    reason="needs arm-none-eabi-gcc, qemu-system-arm and gcc",
)
Data = dict[str, Any]


@pytest.fixture
def four(tmp_path: Path) -> Path:
    return four_layers(tmp_path / "four.tflite")


@pytest.fixture
def base(run: Run, four: Path) -> Callable[..., Data]:
    """base(edit) -> a baseline base.json of the model, changed by `edit`."""

    def make(edit: Callable[[Data], None] = lambda data: None) -> Data:
        done = run("profile", four, "--json", "base.json")
        assert done.returncode == 0, done.stderr
        path = four.parent / "base.json"
        data: Data = json.loads(path.read_text())
        edit(data)
        path.write_text(json.dumps(data))
        return data

    return make


def test_all_that_can_be_written(run: Run, four: Path) -> None:
    files = ("--speedscope", "s.json", "--trace", "t.json", "--flamegraph", "f.svg")
    done = run("profile", four, "-v", "--json", "-", *files)
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["baseline"] is None
    assert [layer["index"] for layer in data["layers"]] == [0, 1, 2, 3]
    total = data["total"]["instructions"]
    assert f"{total:,} instructions" in done.stderr
    assert "depthwise_conv2d_1" in done.stderr
    assert "source line" in done.stderr
    assert sum(json.loads((four.parent / "s.json").read_text())["profiles"][0]["weights"]) == total
    events = json.loads((four.parent / "t.json").read_text())["traceEvents"]
    assert max(event.get("dur", 0) for event in events) == total
    assert xml.parse(four.parent / "f.svg").getroot().tag.endswith("svg")


def test_a_cortex_m0_and_the_table_of_its_sibling(run: Run, four: Path) -> None:
    found = {}
    for table in ("cortex-m0", "cortex-m0plus"):
        done = run("profile", four, "--board", "qemu_cortex_m0", "--timing", table, "--json", "-")
        assert done.returncode == 0
        found[table] = json.loads(done.stdout)["total"]
    assert found["cortex-m0"]["instructions"] == found["cortex-m0plus"]["instructions"]
    assert found["cortex-m0"]["cycles_estimate"] > found["cortex-m0plus"]["cycles_estimate"]


def test_no_regression_against_itself(run: Run, four: Path, base: Callable[..., Data]) -> None:
    base()
    done = run("profile", four, "--baseline", "base.json", "--threshold", "0%", "--json", "-")
    assert done.returncode == 0
    assert "no change against base.json" in done.stderr
    found = json.loads(done.stdout)["baseline"]
    assert (found["changed"], found["regressions"]) == ([], [])


def test_a_regression_names_layer_and_delta(run: Run, four: Path, base: Callable[..., Data]) -> None:
    def cheaper(data: Data) -> None:
        data["layers"][1]["instructions"] -= data["layers"][1]["instructions"] // 10

    base(cheaper)
    done = run("profile", four, "--baseline", "base.json", "--json", "found.json")
    assert done.returncode == 1
    assert "regression" in done.stdout
    assert "depthwise_conv2d_1 +" in done.stdout
    (worse,) = json.loads((four.parent / "found.json").read_text())["baseline"]["regressions"]
    assert worse["name"] == "depthwise_conv2d_1"
    assert run("profile", four, "--baseline", "base.json", "--threshold", "12%").returncode == 0


def test_code_that_was_made_slower_is_found(run: Run, four: Path, base: Callable[..., Data]) -> None:
    base()
    where = four.parent / "c"
    insert(sources(four, where, "qemu_cortex_m3"), where, 2, "for (volatile int i = 0; i < 99; i++) { }")
    done = run("profile", four, "--baseline", "base.json", "--sources", "c")
    assert done.returncode == 1
    last = done.stdout.strip().splitlines()[-1]
    assert "fully_connected_2 +" in last
    assert "conv2d_0" not in last


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baseline", "absent.json"], ["absent.json", "cannot read the baseline"]),
        (["--baseline", "four.tflite"], ["four.tflite", "baseline is not JSON"]),
        (["--board", "host"], ["nothing counts on the board host", "qemu_cortex_m3"]),
        (["--board", "nucleo_f446re"], ["say which", "--board-url"]),
        (["--timing", "cortex-m9"], ["cortex-m9", "cortex-m0plus"]),
        (["--board", "qemu_cortex_m7", "--timing", "cortex-m4"], ["does not fit code for cortex-m7"]),
    ],
)
def test_bad_input_is_one_message(run: Run, four: Path, arguments: list[str], words: list[str]) -> None:
    done = run("profile", four, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_another_board_or_model_is_bad_input(
    run: Run,
    four: Path,
    model: Path,
    base: Callable[..., Data],
) -> None:
    base()
    board = run("profile", four, "--board", "qemu_cortex_m4", "--baseline", "base.json")
    assert (board.returncode, "another board" in board.stderr) == (2, True)
    other = run("profile", model, "--baseline", "base.json")
    assert (other.returncode, "another model" in other.stderr) == (2, True)


@pytest.mark.parametrize("threshold", ["1", "-1%", "much", "1%%", "1/0%", "nan%"])
def test_a_threshold_that_is_none(run: Run, four: Path, threshold: str) -> None:
    done = run("profile", four, f"--threshold={threshold}")
    assert done.returncode == 2
    assert "is not a percentage" in done.stderr


@pytest.mark.parametrize("option", ["--speedscope", "--trace", "--flamegraph"])
def test_a_file_that_cannot_be_written_is_refused_first(run: Run, option: str) -> None:
    done = run("profile", "absent.tflite", option, "no/such/folder/f")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert "absent.tflite" not in done.stderr


def test_a_crash_keeps_its_exit_code(run: Run, four: Path) -> None:
    where = four.parent / "c"
    insert(sources(four, where, "qemu_cortex_m3"), where, 1, READ_NOWHERE)
    done = run("profile", four, "--sources", "c")
    assert done.returncode == 3
    assert "crash in layer 1" in done.stderr
    assert "0x60000000" in done.stderr
    assert "harness verify" in done.stderr


def test_no_compiler_for_the_plugin(run: Run, four: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for program in ("arm-none-eabi-gcc", "arm-none-eabi-objdump", "qemu-system-arm"):
        found = shutil.which(program)
        assert found is not None
        (tools / program).symlink_to(found)
    assert run("profile", four).returncode == 0
    done = run("profile", four, PATH=str(tools), XDG_CACHE_HOME=str(tmp_path / "empty"))
    assert done.returncode == 5
    assert "gcc" in done.stderr
    assert "Traceback" not in done.stderr
