"""What the documents say can be done is done here with their own words."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.board import core_target, load_board
from harness.cli import cli
from harness.compiler import compile_model
from harness.compiler.export import c_directory
from harness.compiler.ops import OPERATORS
from harness.debug.evidence import FORMATS, read_evidence
from harness.errors import ExitCode
from harness.resources import models_dir
from tests.test_architecture import ROWS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "models" / "README.md"]

pytestmark = pytest.mark.skipif(not README.is_file(), reason="the tests run outside a checkout: there are no documents")
needs_gcc = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed")


def block(path: Path, language: str) -> str:
    """The first code block of this language."""
    found = re.search(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None, f"{path.name} has no {language}"
    return found[1]


def rows(path: Path, first: str) -> list[tuple[str, ...]]:
    """The rows of the table whose first heading is `first`, as cells."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append(tuple(cell.strip() for cell in line.strip("|").split(" | ")))
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_commands_of_the_readme_exist() -> None:
    named = {re.match(r"`harness (\w+)", row[0])[1] for row in rows(README, "command")}  # type: ignore[index]
    assert named <= set(cli.commands)
    assert {"verify", "compile", "boards", "doctor", "demo"} <= named


@pytest.mark.parametrize("path", [README, ROOT / "docs" / "architecture.md"], ids=lambda path: path.name)
def test_exit_codes(path: Path) -> None:
    assert [int(row[0]) for row in rows(path, "exit code")] == sorted(ExitCode)


def test_operators_of_the_readme() -> None:
    sentence = re.search(r"Operators: (.*?), in int8", README.read_text(encoding="utf-8"), re.DOTALL)
    assert sentence is not None
    assert set(re.findall(r"[A-Z_0-9]{3,}", sentence[1])) == set(OPERATORS)


def test_modules_of_the_architecture() -> None:
    """The document names the same modules in the same order as the test that holds the order."""
    named = [
        name for row in rows(ROOT / "docs" / "architecture.md", "module") for name in re.findall(r"`(\w+)`", row[0])
    ]
    held = [name for row in ROWS for name in row if name != "__main__"]
    assert sorted(named) == sorted(held)
    order = {name: index for index, row in enumerate(ROWS) for name in row}
    assert [order[name] for name in named] == sorted(order[name] for name in named)


def test_logs_of_the_documents_are_read() -> None:
    """Each under a heading that is the format's name."""
    text = (ROOT / "docs" / "crash.md").read_text(encoding="utf-8")
    found = re.findall(r"^### (.+?)\n+```text\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert {name for name, _ in found} == {log_format.name for log_format in FORMATS}
    for name, log in found:
        evidence = read_evidence(log.encode(), name)
        assert evidence.format == name
        assert evidence.state.registers["pc"] == 0x1380
        assert not evidence.cut


def test_board_of_the_documents_loads(tmp_path: Path) -> None:
    path = tmp_path / "qemu_cortex_m3.toml"
    path.write_text(block(ROOT / "docs" / "boards.md", "toml"), encoding="utf-8")
    assert load_board(path) == load_board("qemu_cortex_m3")


@needs_gcc
def test_application_of_the_documents_compiles(tmp_path: Path) -> None:
    c_directory.write(compile_model(models_dir() / "keywords_int8.tflite", core_target("cortex-m4")), tmp_path)
    (tmp_path / "application.c").write_text(block(ROOT / "docs" / "c-interface.md", "c"), encoding="utf-8")
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wconversion"]
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-std=c11", *warnings, "-c", "-I.", "application.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


@needs_gcc
@needs_qemu
def test_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(models_dir() / "keywords_int8.tflite", tmp_path / "keywords.tflite")
    monkeypatch.chdir(tmp_path)
    code = block(README, "python\nimport harness").replace("\nreport", "import harness\nreport", 1)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == "Verdict.MATCH 3216\n"
