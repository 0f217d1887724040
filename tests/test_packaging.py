"""The wheel, installed into an empty environment and used from a folder that is not the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
DEMO_MODEL = "harness/_data/models/keywords_int8.tflite"

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "pyproject.toml").is_file(), reason="the tests run outside a checkout: there is nothing to package"
)


def run(*command: str | Path, cwd: Path, expect: int = 0) -> str:
    """Runs a command with nothing of this test's Python environment in sight; returns its standard output."""
    hidden = ("PYTHON", "VIRTUAL_ENV", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )
    words = " ".join(map(str, command))
    assert done.returncode == expect, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # Through the sdist, as a release is made: a file missing there would be missing in the wheel.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, CHECKOUT, cwd=folder)
    (path,) = folder.glob("layerproof-*.whl")
    return path


@pytest.fixture(scope="module")
def bin_dir(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment that has the wheel and what it depends on, and nothing else."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", environment, cwd=environment)
    run(environment / "bin" / "pip", "install", "--quiet", wheel, cwd=environment)
    return environment / "bin"


def tracked(folder: str) -> set[str]:
    """Files below `folder` of the checkout that are not left-overs of Python."""
    paths = (CHECKOUT / folder).rglob("*")
    return {
        path.relative_to(CHECKOUT).as_posix() for path in paths if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_everything_it_needs_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("boards", "firmware_stub"):
        wanted = {f"harness/_data/{name}" for name in tracked(folder)}
        assert wanted, folder
        assert wanted <= names, wanted - names
    assert {name for name in tracked("harness") if name.endswith((".py", ".c"))} <= names
    assert {DEMO_MODEL, "harness/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    strangers = {name for name in names if not name.startswith("harness/") and ".dist-info/" not in name}
    assert not strangers


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata_name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(metadata_name).decode()
        entry_points = archive.read(metadata_name.replace("METADATA", "entry_points.txt")).decode()
    assert "\nName: layerproof\n" in metadata
    assert "\nRequires-Python: >=3.10\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    for required in ("pytest", "pyserial", "pyelftools", "numpy", "tflite-runtime", "pexpect", "rich"):
        assert f"\nRequires-Dist: {required}" in metadata, required
    assert "[console_scripts]\nharness = harness.__main__:main" in entry_points
    assert "[pytest11]\nharness = harness.pytest_plugin" in entry_points


def test_data_is_found_in_the_installation(bin_dir: Path, tmp_path: Path) -> None:
    program = "import harness.resources as r; print(r.boards_dir(), r.firmware_stub_dir(), r.models_dir(), sep='\\n')"
    for line in run(bin_dir / "python", "-c", program, cwd=tmp_path).splitlines():
        assert Path(line).is_relative_to(bin_dir.parent), line


def test_command_line(bin_dir: Path, tmp_path: Path) -> None:
    boards = run(bin_dir / "harness", "boards", cwd=tmp_path)
    assert "qemu_cortex_m3" in boards
    assert boards == run(bin_dir / "python", "-m", "harness", "boards", cwd=tmp_path)


def test_verify_from_another_folder(bin_dir: Path, tmp_path: Path) -> None:
    model = (
        bin_dir.parent
        / run(
            bin_dir / "python",
            "-c",
            "import harness.resources as r; print(r.models_dir() / 'keywords_int8.tflite')",
            cwd=tmp_path,
        ).strip()
    )
    report = json.loads(
        run(bin_dir / "harness", "verify", model, "--board", "qemu_cortex_m3", "--json", "-", cwd=tmp_path)
    )
    assert report["verdict"] == "match"
    assert {layer["status"] for layer in report["layers"]} == {"match"}


def test_plugin_needs_nothing_but_the_installation(bin_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "from harness.resources import models_dir\n"
        "def test_keywords(verify_model):\n"
        "    assert verify_model(models_dir() / 'keywords_int8.tflite').verdict.value == 'match'\n"
    )
    pytest_program = bin_dir / "pytest"
    assert "1 passed" in run(pytest_program, "--board=qemu_cortex_m3", cwd=tmp_path)
    assert "1 skipped" in run(pytest_program, cwd=tmp_path)
