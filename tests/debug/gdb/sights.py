"""gdb-multiarch, asked what it sees of a crash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.debug.lab import Expected

GDB = shutil.which("gdb-multiarch")
needs_gdb = pytest.mark.skipif(GDB is None, reason="gdb-multiarch is not installed")


@dataclass(frozen=True)
class Target:
    open: str  # the command that opens it
    memory: tuple[tuple[int, int], ...] = ()  # (address, bytes) to read
    commands: tuple[str, ...] = ()  # to run then


@dataclass(frozen=True)
class Frame:
    function: str | None
    file: str  # without its folders; empty: not known
    line: int | None
    kind: str  # "inlined", "exception" for what gdb calls <signal handler called>, else empty
    pc: int

    def is_at(self, place: Expected) -> bool:
        same = (self.function, self.kind == "inlined") == (place.function, place.inlined)
        return same and (place.line is None or (self.file, self.line) == (place.file, place.line))


@dataclass(frozen=True)
class Seen:
    said: str  # when the target was opened
    frames: tuple[Frame, ...]  # innermost first
    error: str  # that ended the frames
    registers: dict[str, str]
    memory: tuple[bytes | None, ...]
    answers: tuple[str, ...]

    def register(self, name: str) -> int | None:
        """An integer register; None when gdb says that it is not available."""
        shown = self.registers[name].split()[0]
        return None if shown == "<unavailable>" else int(shown, 0)


def look(elf: Path, targets: Sequence[Target], folder: Path) -> list[Seen]:
    """What one gdb sees of each target in turn."""
    assert GDB is not None
    (folder / "seen.json").unlink(missing_ok=True)
    (folder / "look_at.json").write_text(json.dumps([vars(target) for target in targets]))
    environment = os.environ | {"LOOK_AT": str(folder / "look_at.json"), "SEEN": str(folder / "seen.json")}
    environment.pop("DEBUGINFOD_URLS", None)
    script = Path(__file__).with_name("in_gdb.py")
    options = [f"-iex=set {name} off" for name in ("confirm", "pagination", "debuginfod enabled")]
    done = subprocess.run(
        [GDB, "-nx", "-batch", *options, str(elf), "-x", str(script)],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert (folder / "seen.json").is_file(), done.stderr
    return [_seen(found) for found in json.loads((folder / "seen.json").read_text())]


def _seen(found: dict[str, Any]) -> Seen:
    frames = (
        Frame(name, Path(file).name if file else "", line, kind, pc) for name, file, line, kind, pc in found["frames"]
    )
    memory = tuple(None if data is None else bytes.fromhex(data) for data in found["memory"])
    return Seen(found["said"], tuple(frames), found["error"], found["registers"], memory, tuple(found["answers"]))
