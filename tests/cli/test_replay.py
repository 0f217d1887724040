"""`harness replay` as a user meets it: what it says, what it returns, and gdb on a terminal of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import psutil
import pytest

from tests.cli.conftest import ROOT, Run
from tests.verification.kept import Kept, keep_run

BOARD = "qemu_cortex_m3"
SECONDS = 90


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kept]:
    """kept(kind) -> that run, made once, as a zip file."""
    runs: dict[str, Kept] = {}

    def get(kind: str) -> Kept:
        if kind not in runs:
            runs[kind] = keep_run(kind, BOARD, tmp_path_factory.mktemp(kind), zipped=True)
        return runs[kind]

    return get


@pytest.mark.parametrize(("kind", "code"), [("mismatch", 1), ("store", 3), ("timeout", 4)])
def test_exit_status_and_words(run: Run, kept: Callable[[str], Kept], kind: str, code: int) -> None:
    done = run("replay", kept(kind).bundle, "--json", "found.json")
    assert (done.returncode, done.stderr) == (code, "")
    verdict = kept(kind).report.verdict.value
    assert done.stdout.splitlines()[-1] == f"reproduced: the same {verdict} as then"
    assert ("Traceback (most recent call first)" in done.stdout) == (code > 1)


def test_json_has_it_all_and_nothing_else_is_printed(run: Run, kept: Callable[[str], Kept]) -> None:
    done = run("replay", kept("store").bundle, "--json", "-")
    found = json.loads(done.stdout)
    assert (found["reproduced"], found["verdict"], found["verdict_then"]) == (True, "crash", "crash")
    assert found["deviations"] == []
    assert found["report"]["crash"]["kind"] == "precise_bus_fault"


def test_what_a_failing_verify_says_last_is_how_to_replay_it(run: Run, kept: Callable[[str], Kept]) -> None:
    first = kept("store").report.settings
    done = run("verify", first.model, "--board", BOARD, "--sources", first.sources)
    assert done.returncode == 3
    command = done.stdout.splitlines()[-1]
    assert command.startswith("replay: harness replay ")
    again = run(*command.removeprefix("replay: harness ").split())
    assert again.returncode == 3
    assert again.stdout.splitlines()[-1] == "reproduced: the same crash as then"


def test_what_is_different_stands_before_the_end(run: Run, kept: Callable[[str], Kept], tmp_path: Path) -> None:
    shutil.unpack_archive(kept("mismatch").bundle, tmp_path / "kept")
    report = tmp_path / "kept" / "report.json"
    data = json.loads(report.read_text())
    data["layers"][1]["status"] = "propagated"
    report.write_text(json.dumps(data))
    done = run("replay", "kept")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "changed since the bundle was written: report.json" in lines
    assert "layer 1 (depthwise_conv2d_1), status: then propagated, now local" in lines
    assert lines[-1] == "not reproduced: 1 thing differs from the mismatch of then"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.zip"], ["nothing.zip", "no such file"]),
        (["."], ["no bundle", "bundle.json"]),
        (["text.zip"], ["text.zip", "no bundle"]),
        (["text.zip", "--", "-batch"], ["no --gdb"]),
        (["text.zip", "--gdb", "--json", "-"], ["--json"]),
    ],
)
def test_bad_input(run: Run, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    (tmp_path / "text.zip").write_text("no archive")
    done = run("replay", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_gdb_that_is_not_installed(run: Run, kept: Callable[[str], Kept], tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "qemu-system-arm").symlink_to(shutil.which("qemu-system-arm") or "")
    done = run("replay", kept("store").bundle, "--gdb", PATH=str(tools))
    assert done.returncode == 5
    assert "apt install gdb-multiarch" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("runner", "words"),
    [('kind = "serial"\nbaud = 115200', ["debug probe", "OpenOCD"]), (None, ["sanitizer", "emulated board"])],
)
def test_boards_that_gdb_cannot_be_attached_to(
    run: Run, kept: Callable[[str], Kept], tmp_path: Path, runner: str | None, words: list[str]
) -> None:
    if runner is None:
        folder = keep_run("store", "host", tmp_path / "host").bundle
    else:
        folder = tmp_path / "kept"
        shutil.unpack_archive(kept("store").bundle, folder)
        toml = folder / f"{BOARD}.toml"
        toml.write_text(toml.read_text().partition("[runner]")[0] + f"[runner]\n{runner}\n")
    done = run("replay", folder, "--gdb")
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr


# ---- on a terminal


@pytest.fixture
def tmp() -> Iterator[Path]:
    """A place for temporary files that is short enough for the path of a socket, and nobody else's."""
    with tempfile.TemporaryDirectory(prefix="lp") as folder:
        yield Path(folder)


@contextmanager
def gdb(bundle: Path, tmp: Path) -> Iterator[pexpect.spawn]:
    """gdb at its prompt, at the failure."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp), "TERM": "dumb"}
    arguments = ["-m", "harness", "replay", str(bundle), "--gdb", "--", "-nx"]
    child = pexpect.spawn(
        sys.executable, arguments, cwd=str(tmp), env=environment, dimensions=(40, 200), timeout=SECONDS
    )
    try:
        child.expect_exact("reproduced")
        child.expect_exact("(gdb) ")
        yield child
    finally:
        child.close(force=True)


def leave_nothing(child: pexpect.spawn, started: list[psutil.Process], tmp: Path) -> None:
    child.expect(pexpect.EOF)
    child.close()
    _, alive = psutil.wait_procs(started, timeout=SECONDS)
    assert alive == []
    assert list(tmp.iterdir()) == []


needs_gdb = pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="needs gdb-multiarch")


@needs_gdb
def test_ctrl_c_is_for_gdb_and_its_end_is_the_end_of_all(kept: Callable[[str], Kept], tmp: Path) -> None:
    with gdb(kept("timeout").bundle, tmp) as child:
        started = psutil.Process(child.pid).children(recursive=True)
        assert any("qemu" in process.name() for process in started)
        for _ in range(2):
            child.sendline("continue")
            child.expect_exact("Continuing.")
            child.sendintr()
            child.expect_exact("SIGINT")
            child.expect_exact("(gdb) ")
        child.sendline("backtrace")
        child.expect(r"#\d+ .* main \(\) at firmware_stub/main\.c:\d+")
        child.expect_exact("(gdb) ")
        child.sendline("kill")
        child.expect_exact("(y or n)")
        child.sendline("y")
        child.expect_exact("(gdb) ")
        child.sendline("quit")
        leave_nothing(child, started, tmp)
        assert child.exitstatus == 4


@needs_gdb
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_whoever_ends_it_nothing_is_left(kept: Callable[[str], Kept], tmp: Path, number: signal.Signals) -> None:
    with gdb(kept("store").bundle, tmp) as child:
        started = psutil.Process(child.pid).children(recursive=True)
        os.kill(child.pid, number)
        if number is signal.SIGKILL:  # nobody is left to tidy up: the emulator goes at once, gdb with its terminal
            emulators = [process for process in started if "qemu" in process.name()]
            _, alive = psutil.wait_procs(emulators, timeout=SECONDS)
            assert alive == []
            child.close(force=True)
            _, alive = psutil.wait_procs(started, timeout=SECONDS)
            assert alive == []
        else:
            leave_nothing(child, started, tmp)
            assert child.exitstatus == 128 + number
