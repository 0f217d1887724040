"""Renode for the tests: the stand-in as a program, and the traffic that was recorded of a real one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = Path(os.environ.get("LAYERPROOF_RENODE_TRAFFIC") or ROOT.parent / "shared" / "renode")


def recording(name: str) -> Any:
    """A recording of Renode 1.16.1; skips the test where there is none."""
    path = RECORDINGS / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {RECORDINGS}: put it there or name another folder in LAYERPROOF_RENODE_TRAFFIC")
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else text


def shape(text: str) -> str:
    """Of a command or an answer: what must be the same whatever numbers, folders and ends of lines it has."""
    text = re.sub(r"(?<=[@' ])/[^' ]*/", "FOLDER/", text)
    return " ".join(re.sub(r"0x[0-9A-Fa-f]+|\b\d+\b", "N", text).split())


def stand_in(folder: Path, change: str = "", **environment: Path) -> str:
    """A program in `folder` that behaves like Renode, but for what `change`, a piece of Python, makes of it."""
    script, program = folder / "renode.py", folder / "renode"
    imports = "import os, sys, time\nfrom tests.runners import fake_renode"
    script.write_text(f"{imports}\n{change}\nfake_renode.main()\n")
    settings = "".join(f"export {name}='{value}'\n" for name, value in environment.items())
    run = f"exec '{sys.executable}' '{script}' \"$@\""
    program.write_text(f"#!/bin/sh\n{settings}export PYTHONPATH='{ROOT}'\n{run}\n")
    program.chmod(0o755)
    return str(program)


def counting_plugin(folder: Path) -> Path:
    """What lets the stand-in count instructions; skips the test where it cannot be built."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    built = folder / "count.so"
    source = Path(__file__).with_name("count.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", str(source), "-o", str(built)], check=True)
    return built
