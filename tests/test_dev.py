"""`dev` on machines that lack something: it says what and how, and does not run on."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

DEV = Path(__file__).resolve().parent.parent / "dev"

pytestmark = pytest.mark.skipif(not DEV.is_file(), reason="the tests run outside a checkout: there is no ./dev")


@pytest.fixture
def bare() -> Iterator[Path]:
    """A PATH with the shell's own tools, no compiler, no emulator and no package manager; anybody may read it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        fill(folder)
        yield folder


def fill(folder: Path) -> None:
    for name in ("bash", "env", "dirname", "tr", "sed", "cat", "sha256sum", "cut", "mktemp", "tail", "rm"):
        tool = shutil.which(name)
        assert tool is not None
        (folder / name).symlink_to(tool)


def dev(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        [str(DEV), *arguments], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    file.chmod(0o755)


def test_without_package_manager(bare: Path) -> None:
    done = dev(bare, "test")
    assert done.returncode == 1
    assert "arm-none-eabi-gcc" not in done.stdout
    for package in ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm", "gdb-multiarch"):
        assert package in done.stderr


def test_without_rights(bare: Path) -> None:
    """Nobody may answer a password prompt of a script: the command is named instead."""
    program(bare, "apt-get", "echo called >&2; exit 1")
    program(bare, "sudo", "exit 1")
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None or not os.access(DEV, os.R_OK):
            pytest.skip("run as root, and setpriv is not here to drop that")
        done = subprocess.run(
            [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", str(bare / "bash"), "-s", "--", "doctor"],
            # bash reads the script from standard input: the checkout may lie where only root can read.
            input=DEV.read_text().replace('cd "$(dirname "${BASH_SOURCE[0]}")"', "true"),
            env={"PATH": str(bare)},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )
    else:
        done = dev(bare, "doctor")
    assert done.returncode == 1, done.stderr
    assert "called" not in done.stderr
    assert "sudo apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm" in done.stderr


def test_failing_apt_shows_its_own_words(bare: Path) -> None:
    if os.geteuid() != 0:
        program(bare, "sudo", 'while [[ $1 == -* ]]; do shift; done; exec "$@"')
    program(bare, "apt-get", 'echo "E: Unable to locate package $*"; exit 100')
    done = dev(bare, "setup")
    assert done.returncode == 1
    assert "E: Unable to locate package" in done.stderr
    assert "apt-get install gcc-arm-none-eabi" in done.stderr
