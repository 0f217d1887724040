"""gdb on the user's terminal, attached to a stub: an emulator's, or that of a crash."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ToolMissing

_PROGRAMS = ("gdb-multiarch", "arm-none-eabi-gdb")  # a plain gdb mostly knows this machine's processor only
_END_SECONDS = 5.0  # for gdb to end when it is told to


@dataclass(frozen=True)
class Gdb:
    program: str

    @classmethod
    def found(cls) -> Gdb:
        """The gdb for Arm that is installed. ToolMissing: there is none."""
        for name in _PROGRAMS:
            path = shutil.which(name)
            if path is not None:
                return cls(path)
        raise ToolMissing(
            f"no gdb for Arm is installed: neither {' nor '.join(_PROGRAMS)} is on the PATH",
            hint="On Debian and Ubuntu: apt install gdb-multiarch. Elsewhere it comes with the Arm GNU toolchain.",
        )

    def run(self, elf: Path, socket: Path | str, sources: Sequence[Path], arguments: Sequence[str] = ()) -> int:
        """Run gdb on `elf`, attached to the stub at `socket` (a Unix socket, or host:port), until it ends; its status.

        It has the terminal and Ctrl-C for itself. `sources` are the folders that the names in the debug information
        are relative to, `arguments` come last. Nothing that lies beside the ELF or in it is executed.
        """
        command = [self.program, "-q", "-iex", "set auto-load off", "-iex", "set debuginfod enabled off", str(elf)]
        for option in (*(f"directory {_quoted(folder)}" for folder in reversed(sources)),
                       # where the MPU hides a part of a page the emulator shows a debugger nothing of it
                       "set trust-readonly-sections on",
                       "set print elements 16",  # gdb takes every int8_t * for a string
                       f"target remote {socket}"):  # fmt: skip
            command += ["-ex", option]
        with _interrupts_are_its_own():
            process = subprocess.Popen([*command, *arguments])
            try:
                return process.wait()
            finally:
                _end(process)


def _quoted(folder: Path) -> str:
    """A path as one word of a gdb command."""
    text = str(folder.absolute()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


@contextmanager
def _interrupts_are_its_own() -> Iterator[None]:
    """Ctrl-C reaches all programs of the terminal; here only gdb reacts. A handler is not inherited, SIG_IGN is."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End gdb where something ended us: it would stay with a terminal that is no longer its own."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
