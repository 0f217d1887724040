"""The doctor against real tools and against folders of broken ones."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness import doctor
from harness.errors import ExitCode


def examine() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.findings()}


def tool(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
def test_version_is_the_tools_own() -> None:
    told = subprocess.run(["arm-none-eabi-gcc", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout
    assert examine()["arm-none-eabi-gcc"].version == told.strip()


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("GNU gdb (Debian 13.1-3) 13.1", "13.1"),
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", "7.2.22"),
        ("arm-none-eabi-gcc (15:12.2.rel1-1) 12.2.1 20221205", "12.2.1"),
        ("arm-none-eabi-gcc (Arm GNU Toolchain 13.2.rel1 (Build arm-13.7)) 13.2.1 20231009", "13.2.1"),
        ("Renode, version 1.16.1.5678", "1.16.1"),
        ("no number", "no number"),
    ],
)
def test_version_in_a_line(line: str, version: str) -> None:
    assert doctor._version(line) == version


def test_nothing_installed(empty_path: Path) -> None:
    found = examine()
    for name in ("arm-none-eabi-gcc", "newlib", "qemu-system-arm", "gdb-multiarch", "gcc", "renode"):
        assert not found[name].ok, name
        assert found[name].problem
        assert found[name].hint
    assert found["python"].ok
    assert found["qemu-system-arm"].required
    assert not found["renode"].required


def test_exit_code_and_json(empty_path: Path) -> None:
    text = io.StringIO()
    diagnosis = doctor.run(Console(file=text, width=200))
    assert diagnosis.exit_code is ExitCode.INFRASTRUCTURE
    report = diagnosis.to_json()
    assert report["ready"] is False
    by_name = {finding["name"]: finding for finding in report["findings"]}
    assert by_name["qemu-system-arm"]["hint"] == "apt-get install qemu-system-arm"
    assert "apt-get install qemu-system-arm" in text.getvalue()
    assert "Something required is missing" in text.getvalue()


def test_command_line_writes_json_alone_to_standard_output() -> None:
    command = [sys.executable, "-m", "harness", "doctor", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    report = json.loads(done.stdout)
    assert done.returncode == (ExitCode.MATCH if report["ready"] else ExitCode.INFRASTRUCTURE)
    assert {finding["name"] for finding in report["findings"]} == set(examine())


def test_renode_by_its_variable(empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENODE", str(tmp_path / "mine"))
    finding = examine()["renode"]
    assert (finding.ok, finding.problem) == (False, f"RENODE names {tmp_path / 'mine'}, which is no program")
    assert "portable" in finding.hint
    tool(tmp_path, "mine", "printf 'Renode v1.16.1\\n  build: d66b0c2a-202611221959\\n  runtime: .NET 8.0.1\\n'")
    finding = examine()["renode"]
    assert (finding.ok, finding.version, finding.path) == (True, "1.16.1", str(tmp_path / "mine"))


def test_compiler_without_newlib(empty_path: Path) -> None:
    tool(
        empty_path, "arm-none-eabi-gcc", 'case "$1" in --version) echo "gcc 12";; *) echo "no stdint.h"; exit 1;; esac'
    )
    found = examine()
    assert found["arm-none-eabi-gcc"].ok
    assert not found["newlib"].ok
    assert "no stdint.h" in found["newlib"].problem


def test_qemu_without_a_machine_of_the_boards(empty_path: Path) -> None:
    tool(empty_path, "qemu-system-arm", 'case "$1" in --version) echo "QEMU 3.1";; *) echo "microbit  BBC";; esac')
    finding = examine()["qemu-system-arm"]
    assert not finding.ok
    assert finding.version == "3.1"
    assert "mps2-an385" in finding.problem
    assert "microbit" not in finding.problem


def test_broken_tool_is_not_a_traceback(empty_path: Path) -> None:
    tool(empty_path, "gdb-multiarch", "echo 'error while loading shared libraries'; exit 127")
    finding = examine()["gdb-multiarch"]
    assert not finding.ok
    assert "shared libraries" in finding.problem


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    finding = examine()["cache"]
    assert not finding.ok
    assert str(tmp_path / "file") in finding.path
