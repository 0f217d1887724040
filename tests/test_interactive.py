"""The command line as somebody at a terminal sees it: the display while it works, and Ctrl-C in the middle."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import psutil
import pytest

from harness.resources import models_dir

MODEL = models_dir() / "keywords_int8.tflite"
SECONDS = 60

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None,
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A place of its own for the cache, so that there is something to do, and for leftovers, so that they show."""
    for name in ("cache", "tmp", "work"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def terminal(home: Path) -> Iterator[pexpect.spawn]:
    environment = {**os.environ, "TERM": "xterm", "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home / "tmp")}
    # 300 samples keep the emulator busy long enough to be interrupted.
    arguments = ["-m", "harness", "verify", str(MODEL), "--board", "qemu_cortex_m3", "--samples", "300"]
    child = pexpect.spawn(
        sys.executable, arguments, cwd=str(home / "work"), env=environment, dimensions=(40, 130), timeout=SECONDS
    )
    yield child
    child.close(force=True)


def test_display_and_interrupt(terminal: pexpect.spawn, home: Path) -> None:
    terminal.expect_exact("building the firmware")
    terminal.expect_exact("running layers")
    started = psutil.Process(terminal.pid).children(recursive=True)
    assert any("qemu-system-arm" in process.name() for process in started)
    terminal.sendintr()
    terminal.expect_exact("interrupted")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    _, alive = psutil.wait_procs(started, timeout=SECONDS)
    assert alive == []
    assert list((home / "tmp").iterdir()) == []
    assert list((home / "work").iterdir()) == []
