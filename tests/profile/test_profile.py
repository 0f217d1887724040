"""The whole profile: what it holds, and what it says where it cannot be made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.board import load_board
from harness.errors import BadInput, ExitCode
from harness.profile import Profile, profile
from harness.profile.cycle_counter import CycleCounter
from harness.profile.run import DidNotReturn, counter_for
from tests.edited_sources import READ_NOWHERE, SPIN, four_layers, insert, sources

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm", "gcc"))),
    reason="needs arm-none-eabi-gcc, qemu-system-arm and gcc",
)
BOARD = "qemu_cortex_m3"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_layers(tmp_path_factory.mktemp("model") / "four.tflite")


@pytest.fixture(scope="module")
def found(model: Path) -> Profile:
    return profile(model, BOARD)


def test_the_json_has_what_is_promised(found: Profile) -> None:
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (data["model"], data["board"], data["core"]) == ("four.tflite", BOARD, "cortex-m3")
    for row in (*data["layers"], data["total"]):
        assert row["instructions"] > 0
        low, high = row["cycles_estimate_range"]
        assert low <= row["cycles_estimate"] <= high
        assert row["macs"] >= 0
        assert row["cycles"] is None
    assert data["total"]["macs"] == sum(row["macs"] for row in data["layers"])
    conv = data["layers"][0]
    assert conv["instructions_per_mac"] == pytest.approx(conv["instructions"] / conv["macs"], abs=1e-4)
    assert (conv["name"], conv["op"], conv["ops"]) == ("conv2d_0", "CONV_2D", [0])
    assert "Technical Reference Manual" in data["timing"]["source"]
    assert data["memory"]["stack_used_bytes"] <= data["memory"]["stack_reserved_bytes"]


def test_nothing_of_this_machine_is_in_it(found: Profile) -> None:
    """So that a baseline can be shared and reviewed."""
    text = json.dumps({**found.to_json(), "functions": [], "lines": []})
    assert str(Path.home()) not in text
    assert str(found.model.parent) not in text
    files = {line["file"] for line in found.to_json()["lines"]}
    assert not [file for file in files if file.startswith(str(Path.home()))]


def test_a_profile_is_the_same_again(model: Path, found: Profile) -> None:
    assert profile(model, BOARD).to_json() == found.to_json()


def test_given_inputs(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", input_0=np.zeros((2, 1, 6, 6, 2), np.int8))
    first = profile(model, BOARD, inputs=tmp_path / "in.npz").to_json()
    assert set(first["inputs"]) == {"sha256"}
    np.savez(tmp_path / "in.npz", input_0=np.ones((1, 1, 6, 6, 2), np.int8))
    assert profile(model, BOARD, inputs=tmp_path / "in.npz").to_json()["inputs"] != first["inputs"]


def test_edited_sources_are_what_is_counted(model: Path, found: Profile, tmp_path: Path) -> None:
    insert(sources(model, tmp_path / "c", BOARD), tmp_path / "c", 1, "for (volatile int i = 0; i < 100; i++) { }")
    edited = profile(model, BOARD, sources=tmp_path / "c")
    more = [
        (after.instructions or 0) - (before.instructions or 0)
        for before, after in zip(found.measurement.layers, edited.measurement.layers, strict=True)
    ]
    assert more[1] > 400
    assert (more[0], more[2], more[3]) == (0, 0, 0)


def test_nothing_counts_on_the_host(model: Path) -> None:
    with pytest.raises(BadInput, match="nothing counts on the board host") as error:
        profile(model, "host")
    assert "qemu_cortex_m3" in error.value.hint


def test_a_board_behind_a_port_counts_cycles() -> None:
    counter = counter_for(load_board("nucleo_f446re"), "socket://127.0.0.1:1")
    assert isinstance(counter, CycleCounter)
    counter = counter_for(load_board(BOARD), "socket://127.0.0.1:1")
    assert isinstance(counter, CycleCounter)


def test_a_board_behind_a_port_that_nobody_named() -> None:
    with pytest.raises(BadInput, match="say which"):
        counter_for(load_board("nucleo_f446re"))


@pytest.mark.parametrize(
    ("statement", "code", "word"),
    [(READ_NOWHERE, ExitCode.CRASH, "crash in layer 2"), (SPIN, ExitCode.TIMEOUT, "timeout in layer 2")],
)
def test_firmware_that_does_not_return(model: Path, tmp_path: Path, statement: str, code: ExitCode, word: str) -> None:
    insert(sources(model, tmp_path / "c", BOARD), tmp_path / "c", 2, statement)
    with pytest.raises(DidNotReturn, match=word) as error:
        profile(model, BOARD, sources=tmp_path / "c", timeout=0.5)
    assert error.value.exit_code is code
    assert f"--board {BOARD} --sources {tmp_path / 'c'}" in str(error.value)
