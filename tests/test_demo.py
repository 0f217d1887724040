"""`harness demo` as a user runs it, and that it does not say yes to what is wrong."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import demo, seeding
from harness.compiler.csource import CSource, Layer
from harness.errors import ExitCode

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None,
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "harness", "demo", "--json", str(folder / "demo.json")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((folder / "demo.json").read_text())
    assert report["ok"] is True
    return {"text": done.stdout, **{step["step"]: step["report"] for step in report["steps"]}}


def test_bundled_model_matches(steps: dict[str, Any]) -> None:
    assert steps["verify"]["verdict"] == "match"
    assert all(layer["mismatches"] == 0 for layer in steps["verify"]["layers"])


def test_the_miscompiled_layer_is_named(steps: dict[str, Any]) -> None:
    statuses = [layer["status"] for layer in steps["miscompile"]["layers"]]
    assert statuses.count("local") == 1
    wrong = statuses.index("local")
    assert 0 < wrong < len(statuses) - 2
    assert set(statuses[:wrong]) == {"match"}
    assert set(statuses[wrong + 1 :]) == {"propagated"}


def test_the_crash_has_function_file_line_and_layer(steps: dict[str, Any]) -> None:
    crash = steps["crash"]["crash"]
    assert crash["address"] == seeding.UNMAPPED
    layer = steps["crash"]["layers"][crash["layer"]]
    frame = next(frame for frame in crash["frames"] if frame["function"] == layer["name"])
    assert Path(frame["file"]).name == Path(layer["file"]).name
    assert f"{Path(layer['file']).name}:{frame['line']}" in steps["text"]
    assert f"layer {crash['layer']}" in steps["text"]


def test_a_miscompile_that_is_none_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the seeded fault changed nothing, everything would match: the demo must then fail."""

    def harmless(source: CSource, layer: Layer, by: int = 1) -> seeding.Edit:
        return seeding.Edit(layer, 1, "", "", source)

    monkeypatch.setattr(demo, "miscompile", harmless)
    text = io.StringIO()
    result = demo.run(Console(file=text, width=160))
    assert result.exit_code is ExitCode.INFRASTRUCTURE
    complaints = {step.name: step.complaints for step in result.steps}
    assert complaints["verify"] == complaints["crash"] == ()
    assert "the verdict is match, not mismatch" in complaints["miscompile"]
    assert "the verdict is match, not mismatch" in text.getvalue()
    assert "came out as they should" not in text.getvalue()
