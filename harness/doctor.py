"""`harness doctor`: what the harness needs of this machine, what of it is here, and how to get the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.board import all_boards
from harness.errors import ExitCode, HarnessError
from harness.resources import cache_dir
from harness.runners.renode import HOW_TO_GET, absence, find_renode

_TIMEOUT = 30.0  # seconds for a tool to tell its version; only a broken one takes so long


@dataclass(frozen=True)
class Finding:
    """What is known of one thing the harness uses."""

    name: str
    needed_for: str
    required: bool  # False: only the part named in `needed_for` is lost without it
    ok: bool
    version: str = ""  # empty when it is not there
    path: str = ""
    problem: str = ""  # why `ok` is False
    hint: str = ""  # how to get it; empty when `ok`


@dataclass(frozen=True)
class _Outcome:
    code: int | None  # exit code; None: it could not be started or did not end
    text: str  # standard output and error together


def findings() -> Iterator[Finding]:
    """Examines one thing after the other; each takes at most some tenths of a second."""
    for examine in _EXAMINATIONS:
        yield examine()


@dataclass(frozen=True)
class Diagnosis:
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether everything required is here."""
        return all(finding.ok for finding in self.findings if finding.required)

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.MATCH if self.ready else ExitCode.INFRASTRUCTURE

    def to_json(self) -> dict[str, Any]:
        return {"ready": self.ready, "findings": [asdict(finding) for finding in self.findings]}


def run(console: Console) -> Diagnosis:
    """Examines this machine and prints what it found."""
    diagnosis = Diagnosis(tuple(findings()))
    _print(console, diagnosis)
    return diagnosis


def _print(console: Console, diagnosis: Diagnosis) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "what", "version", "needed for"):
        table.add_column(heading, overflow="fold")
    for finding in diagnosis.findings:
        mark = "[green]ok[/]" if finding.ok else "[red]missing[/]" if finding.required else "[yellow]absent[/]"
        table.add_row(mark, finding.name, finding.version, finding.needed_for)
    console.print(table)
    for finding in diagnosis.findings:
        if not finding.ok:
            console.print(Text.assemble("\n", (finding.name, "bold"), f": {finding.problem}\n  {finding.hint}"))
    console.print("\nEverything required is here." if diagnosis.ready else "\n[red]Something required is missing.[/]")


def _call(*command: str, text: str = "") -> _Outcome:
    try:
        done = subprocess.run(
            command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_TIMEOUT
        )
    except OSError as error:
        return _Outcome(None, error.strerror or str(error))
    except subprocess.TimeoutExpired:
        return _Outcome(None, f"did not end within {_TIMEOUT:.0f} s")
    return _Outcome(done.returncode, done.stdout.strip())


def _tool(program: str, *, needed_for: str, required: bool, hint: str) -> Finding:
    """Looks for `program` on PATH and asks its version."""
    path = shutil.which(program)
    if path is None:
        return Finding(program, needed_for, required, False, problem="not on PATH", hint=hint)
    return _asked(program, path, needed_for=needed_for, required=required, hint=hint)


def _asked(program: str, path: str, *, needed_for: str, required: bool, hint: str) -> Finding:
    """Asks the program at `path` its version."""
    outcome = _call(path, "--version")
    first = outcome.text.partition("\n")[0]
    if outcome.code != 0:
        return Finding(program, needed_for, required, False, path=path, problem=f"{path}: {first}", hint=hint)
    return Finding(program, needed_for, required, True, version=_version(first), path=path)


def _version(line: str) -> str:
    """The version in the line a tool prints: three numbers, else two; brackets hold the distribution's own."""
    plain = re.sub(r"\(.*?\)", "", line)
    found = re.search(r"\d+\.\d+\.\d+", plain) or re.search(r"\d+\.\d+", plain) or re.search(r"\d+\.\d+[.\d]*", line)
    return found[0] if found else line


def _python() -> Finding:
    version = platform.python_version()
    ok = sys.version_info >= (3, 10)
    hint = "" if ok else "Install Python 3.11: apt-get install python3.11 python3-venv"
    problem = "" if ok else f"Python {version} is older than 3.10"
    return Finding("python", "everything", True, ok, version, sys.executable, problem, hint)


def _arm_gcc() -> Finding:
    hint = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"
    return _tool("arm-none-eabi-gcc", needed_for="every board but host", required=True, hint=hint)


_CORTEX_M = ("-mcpu=cortex-m3", "-mthumb", "--specs=nano.specs", "--specs=nosys.specs", "-Wl,--gc-sections")
_USES_LIBC = "#include <stdint.h>\n#include <string.h>\nint main(int n, char **v) { return memcmp(v, &n, 4); }\n"


def _newlib() -> Finding:
    hint = "apt-get install libnewlib-arm-none-eabi"
    compiler = shutil.which("arm-none-eabi-gcc")
    if compiler is None:
        problem = "cannot be tried without arm-none-eabi-gcc"
        return Finding("newlib", "every board but host", True, False, problem=problem, hint=hint)
    with tempfile.TemporaryDirectory() as folder:
        elf = str(Path(folder) / "probe.elf")
        outcome = _call(compiler, *_CORTEX_M, "-x", "c", "-", "-o", elf, text=_USES_LIBC)
    library = _call(compiler, "-mcpu=cortex-m3", "-mthumb", "-print-file-name=libc_nano.a").text
    if outcome.code != 0:
        problem = "a small program does not link: " + outcome.text.partition("\n")[0]
        return Finding("newlib", "every board but host", True, False, path=library, problem=problem, hint=hint)
    return Finding("newlib", "every board but host", True, True, "links for cortex-m3", library)


def _host_gcc() -> Finding:
    hint = "apt-get install gcc libc6-dev"
    finding = _tool("gcc", needed_for="the board host", required=False, hint=hint)
    if not finding.ok:
        return finding
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "probe")
        sanitizers = "-fsanitize=address,undefined"
        outcome = _call(finding.path, sanitizers, "-x", "c", "-", "-o", program, text="int main(void) { return 0; }\n")
        if outcome.code == 0:
            outcome = _call(program)
    if outcome.code != 0:
        problem = "a program with sanitizers does not build and run: " + outcome.text.partition("\n")[0]
        return Finding("gcc", "the board host", False, False, finding.version, finding.path, problem, hint)
    return finding


def _qemu() -> Finding:
    name, hint = "qemu-system-arm", "apt-get install qemu-system-arm"
    finding = _tool(name, needed_for="boards qemu_*", required=True, hint=hint)
    if not finding.ok:
        return finding
    offered = {line.split()[0] for line in _call(finding.path, "-machine", "help").text.splitlines() if line.strip()}
    try:
        wanted = {board.runner.machine for board in all_boards() if board.runner.kind == "qemu"}
    except HarnessError as error:
        return Finding(name, "boards qemu_*", True, False, finding.version, finding.path, str(error), "")
    missing = sorted(str(machine) for machine in wanted - offered)
    if missing:
        problem = f"this QEMU has no machine {', '.join(missing)}"
        hint = "QEMU 7.2 or newer has them all."
        return Finding(name, "boards qemu_*", True, False, finding.version, finding.path, problem, hint)
    return finding


def _gdb() -> Finding:
    hint = "apt-get install gdb-multiarch"
    return _tool(
        "gdb-multiarch",
        needed_for="harness replay --gdb, and looking into a core file by hand",
        required=False,
        hint=hint,
    )


def _renode() -> Finding:
    name, needed_for, path = "renode", "boards renode_*", find_renode()
    if path is None:
        return Finding(name, needed_for, False, False, problem=absence(), hint=HOW_TO_GET)
    return _asked(name, path, needed_for=needed_for, required=False, hint=HOW_TO_GET)


def _oracle() -> Finding:
    """The reference interpreter; its own process imports it, here only its presence and version are looked at."""
    needed_for = "comparing with a reference"
    for module, distribution in (("tflite_runtime", "tflite-runtime"), ("ai_edge_litert", "ai-edge-litert")):
        spec = importlib.util.find_spec(module)
        if spec is not None:
            version = f"{distribution} {importlib.metadata.version(distribution)}"
            return Finding("oracle", needed_for, True, True, version, str(Path(spec.origin or "").parent))
    hint = "pip install 'tflite-runtime==2.14.*' 'numpy<2' on Python 3.10 or 3.11, ai-edge-litert on newer ones"
    problem = "neither tflite-runtime nor ai-edge-litert is installed"
    return Finding("oracle", needed_for, True, False, problem=problem, hint=hint)


def _cache() -> Finding:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        hint = "Make the folder writable, or name another one in XDG_CACHE_HOME."
        problem = f"cannot write there: {error.strerror}"
        return Finding("cache", "firmware builds", True, False, path=str(folder), problem=problem, hint=hint)
    free = shutil.disk_usage(folder).free
    return Finding("cache", "firmware builds", True, True, f"{free / 1e9:.1f} GB free", str(folder))


_EXAMINATIONS: tuple[Callable[[], Finding], ...] = (
    _python,
    _oracle,
    _arm_gcc,
    _newlib,
    _qemu,
    _cache,
    _host_gcc,
    _gdb,
    _renode,
)
