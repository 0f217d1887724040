"""Passes can be left out from the command line, one by one: to see what each is worth, and whose fault something is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.compiler.pipeline import PASSES
from harness.verification import verify
from tests.edited_sources import four_layers


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return four_layers(tmp_path / "four.tflite")


def test_compile_records_what_was_left_out_and_verify_takes_it_back(model: Path, tmp_path: Path) -> None:
    folder, result = tmp_path / "c", tmp_path / "result.json"
    names = ["fold-views", "drop-channels"]
    options = [word for name in names for word in ("--without", name)]
    assert main(["compile", str(model), "-o", str(folder), *options, "--json", str(result)]) == 0
    assert json.loads(result.read_text())["without"] == sorted(names)
    assert json.loads((folder / "metadata.json").read_text())["without"] == sorted(names)
    assert main(["verify", str(model), "--sources", str(folder), "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    assert found["without"] == sorted(names)
    assert [layer["op"] for layer in found["layers"]].count("RESHAPE") == 1
    assert "--without" not in found["rerun"]  # the folder knows


@pytest.mark.parametrize("command", [["verify"], ["compile", "-o", "c"]])
def test_an_unknown_pass_is_answered_with_those_there_are(
    model: Path, command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command[0], str(model), *command[1:], "--without", "fold-everything"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "there is no pass 'fold-everything'" in said
    assert all(p.name in said for p in PASSES)


def test_sources_and_without_exclude_each_other(model: Path, tmp_path: Path) -> None:
    assert main(["verify", str(model), "--sources", str(tmp_path), "--without", "fold-views"]) == 2


@pytest.mark.parametrize("name", [p.name for p in PASSES])
def test_the_model_matches_without_any_one_pass(model: Path, name: str) -> None:
    report = verify(model, "qemu_cortex_m3", without=[name])
    assert report.ok
    assert report.source.without == (name,)
    assert f"--without {name}" in report.settings.command
