"""Builds examples/fault_module for an emulated core and talks to it over its UART."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.board import core_target, load_board
from harness.compiler import compile_model
from harness.compiler.export import c_directory
from harness.resources import models_dir
from harness.runners import runner_for
from harness.runners.base import Transport

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fault_module"
TIMEOUT = 30.0  # seconds for anything the firmware has to say
_BUILDS = tempfile.TemporaryDirectory(prefix="fault-module-")  # gone with the test process


@cache
def build(core: str, *flags: str) -> Path:
    """The ELF file; its map and the model's C are beside it. `flags` are of make."""
    folder = Path(tempfile.mkdtemp(prefix=f"{core}-", dir=_BUILDS.name))
    c_directory.write(compile_model(models_dir() / "keywords_int8.tflite", core_target(core)), folder / "model")
    command = ["make", "-C", str(EXAMPLE), f"CORE={core}", f"BUILD={folder}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "firmware.elf"


def line_of(text: str) -> int:
    """Number of the only line of main.c that holds `text`."""
    lines = (EXAMPLE / "main.c").read_text(encoding="utf-8").splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if text in line)
    return number


def nowhere(core: str) -> int:
    """The address with nothing that the Makefile gives the firmware of `core`."""
    (line,) = (text for text in (EXAMPLE / "Makefile").read_text().splitlines() if text.startswith(f"{core} "))
    return int(line.rpartition("|")[2], 16)


class Terminal:
    """The firmware's UART. `log` is all it said."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._unread = ""
        self.log = ""

    def send(self, command: str, answer: str) -> str:
        """Everything up to the line `answer`, which the command must lead to."""
        self._transport.write(command.encode())
        return self.wait(answer)

    def wait(self, answer: str) -> str:
        end = time.monotonic() + TIMEOUT
        while f"{answer}\r\n" not in self._unread:
            data = self._transport.read(65536, end)
            assert data, f"no {answer!r} in {self._unread[-500:]!r}"
            self._unread += data.decode("ascii")
        said, line, self._unread = self._unread.partition(f"{answer}\r\n")
        self.log += said + line
        return said + line


@dataclass(frozen=True)
class _Image:
    elf: Path


@contextmanager
def running(elf: Path, core: str) -> Iterator[Terminal]:
    board = load_board(f"qemu_{core.replace('-', '_')}")
    with runner_for(board).start(_Image(elf)) as target:
        terminal = Terminal(target.transport)
        terminal.wait("started")
        yield terminal
