"""GCC: found, run, and quoted word for word when it refuses."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.board import Board
from harness.errors import ToolFailed, ToolMissing

TIMEOUT = 300.0  # seconds for one file; the slowest seen takes two
LONGEST_QUOTE = 4000  # characters of a compiler's words in an error

_HINTS = {
    "arm-none-eabi-gcc": "Debian and Ubuntu: apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi. "
    "Elsewhere: https://developer.arm.com/downloads/-/arm-gnu-toolchain-downloads",
    "gcc": "Debian and Ubuntu: apt-get install gcc libc6-dev.",
}


@dataclass(frozen=True)
class Gcc:
    path: str
    version: str  # first line of --version, and when the file was last changed: a new compiler makes new objects

    @property
    def release(self) -> str:
        """The first line of --version alone: the same on every machine that has this compiler."""
        return self.version.rpartition(" ")[0]

    def run(self, arguments: Sequence[str], folder: Path, file: str, made: Sequence[Path]) -> None:
        """Run it in `folder`, to make the files `made`.

        ToolFailed: its own words, the command, and `file`, which it was working on.
        """
        command = [self.path, *arguments]
        try:
            done = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=TIMEOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ToolFailed(
                f"the compiler did not end within {TIMEOUT:g} s", where=file, hint=_quote(command)
            ) from error
        except OSError as error:
            raise ToolFailed(f"cannot run the compiler: {error.strerror}", where=self.path) from error
        if done.returncode < 0:
            ended = signal.Signals(-done.returncode).name
            raise ToolFailed(f"the compiler was ended by {ended}", where=file, hint=_quote(command))
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip() or f"exit code {done.returncode} without a word"
            if len(words) > LONGEST_QUOTE:
                words = words[:LONGEST_QUOTE] + "\n…"
            raise ToolFailed(f"the compiler refused it:\n{words}", where=file, hint=_quote(command))
        lacking = [path.name for path in made if not path.is_file()]
        if lacking:
            raise ToolFailed(
                f"the compiler reports success but made no {' and no '.join(lacking)}", where=file, hint=_quote(command)
            )


def compiler(board: Board) -> Gcc:
    """The compiler for `board`. ToolMissing: it is not on the PATH."""
    return host_compiler() if board.cpu.core == "host" else _found("arm-none-eabi-gcc")


def host_compiler() -> Gcc:
    """The compiler for programs of this machine. ToolMissing: it is not on the PATH."""
    return _found("gcc")


def _found(name: str) -> Gcc:
    path = shutil.which(name)
    if path is None:
        raise ToolMissing(f"{name} is not on the PATH", hint=_HINTS[name])
    return Gcc(path, _version(path, Path(path).resolve().stat().st_mtime_ns))


@cache
def _version(path: str, changed: int) -> str:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise ToolFailed(
            f"the compiler does not tell its version: {words}", where=path, hint="Is it whole? `harness doctor` looks."
        ) from error
    return f"{done.stdout.splitlines()[0] if done.stdout else ''} {changed}"


def _quote(command: Sequence[str]) -> str:
    return f"The command was: {shlex.join(command)}"


def overflow(words: str) -> tuple[str, int] | None:
    """What the linker says does not fit: (memory region, bytes too many)."""
    found = re.search(r"region [`'](\w+)' overflowed by (\d+) bytes", words)
    return (found[1], int(found[2])) if found else None
