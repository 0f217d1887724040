"""The versions of all that had a part in a run: what to look at first when it comes out differently."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from contextlib import suppress
from functools import cache

from harness.board import Board, QemuRun
from harness.errors import HarnessError
from harness.toolchain.gcc import compiler

ABSENT = "not installed"
_TIMEOUT = 30.0  # seconds for a program to tell its version; only a broken one takes so long
_ORACLES = {"tflite-ref": "tflite-runtime", "litert-ref": "ai-edge-litert", "numpy": "numpy"}


def versions(board: Board, oracle: str) -> dict[str, str]:
    """Version by name, for a run on `board` against the oracle called `oracle`. What is not here is `ABSENT`."""
    found = {
        "harness": _package("layerproof"),
        "python": platform.python_version(),
        "gcc": ABSENT,
        "oracle": "a file" if oracle not in _ORACLES else f"{_ORACLES[oracle]} {_package(_ORACLES[oracle])}",
        "platform": f"{platform.system()} {platform.machine()}",
    }
    with suppress(HarnessError):
        found["gcc"] = compiler(board).release
    if isinstance(board.runner, QemuRun):
        found["qemu"] = _program("qemu-system-arm")
    return found


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


@cache
def _program(name: str) -> str:
    """The first line of what a program says to --version."""
    path = shutil.which(name)
    if path is None:
        return ABSENT
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT
        )
        return done.stdout.partition("\n")[0].strip() or "unknown"
    return "unknown"
