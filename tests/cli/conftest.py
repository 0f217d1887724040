"""The command line, run in a process of its own in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

import harness
from tests.models import Net

ROOT = Path(harness.__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that begins empty."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path: Path, cache: Path) -> Run:
    """run(*arguments) in an empty folder."""

    def call(*arguments: str | Path, stdout: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache), **environment}
        with ExitStack() as stack:
            return subprocess.run(
                [sys.executable, "-m", "harness", *map(str, arguments)],
                stdout=subprocess.PIPE if stdout is None else stack.enter_context(Path(stdout).open("w")),
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                env=variables,
                timeout=120,
            )

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    net = Net(seed=1)
    net.softmax(net.fully_connected(net.input((1, 8)), 4))
    path = tmp_path / "tiny.tflite"
    path.write_bytes(net.build())
    return path
