"""A guarded process ends with the harness, whatever ends the harness."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.errors import RunnerFailed
from harness.runners.process import ExitStatus, GuardedProcess

ROOT = Path(__file__).parents[2]
SLEEPER = """
import os, sys
from harness.runners.process import GuardedProcess
process = GuardedProcess(["sleep", "600"])
{fork}
print(process.pid, flush=True)
sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def assert_ends(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} was left behind"
        os.sched_yield()


def test_exit_status_and_stderr() -> None:
    process = GuardedProcess(["sh", "-c", "echo words >&2; exit 7"])
    assert process.poll(timeout=10) == ExitStatus(code=7)
    process.close()
    assert process.stderr == "words\n"
    assert str(process.poll()) == "exited with status 7"


def test_standard_output_beside_stderr_and_the_folder(tmp_path: Path) -> None:
    process = GuardedProcess(["sh", "-c", "pwd; echo words >&2; echo more"], log_stdout=True, folder=tmp_path)
    assert process.poll(timeout=10) == ExitStatus(code=0)
    assert process.stderr_since(len(f"{tmp_path}\n")) == b"words\nmore\n"
    process.close()
    assert process.stderr == f"{tmp_path}\nwords\nmore\n"


def test_signal_that_ended_it() -> None:
    process = GuardedProcess(["sleep", "600"])
    assert process.poll() is None
    process.send_signal(signal.SIGUSR1)
    assert process.poll(timeout=10) == ExitStatus(signal=signal.SIGUSR1)
    process.close()


def test_close_kills_its_children_too() -> None:
    process = GuardedProcess(["sh", "-c", "sleep 600 & echo $! >&2; wait"])
    deadline = time.monotonic() + 10
    while not process.stderr.endswith("\n"):
        assert time.monotonic() < deadline
    grandchild = int(process.stderr)
    process.close()
    process.close()
    assert_ends(process.pid)
    assert_ends(grandchild)


def test_program_that_is_not_there() -> None:
    with pytest.raises(RunnerFailed, match="/no/such/program: No such file"):
        GuardedProcess(["/no/such/program"])


def test_no_core_dump_and_no_endless_file() -> None:
    process = GuardedProcess(["sh", "-c", "ulimit -c >&2; exec cat /dev/zero >&2"])
    assert process.poll(timeout=30) == ExitStatus(signal=signal.SIGXFSZ)
    assert process.stderr.startswith("0\n")
    process.close()


@pytest.mark.parametrize(("limit", "most"), [(None, "unlimited"), (1 << 20, "2048")])
def test_limit_of_the_files_it_writes(limit: int | None, most: str) -> None:
    process = GuardedProcess(["sh", "-c", "ulimit -f"], log_stdout=True, file_limit=limit)
    assert process.poll(timeout=10) == ExitStatus(code=0)
    process.close()
    assert process.stderr == f"{most}\n"  # in blocks of 512 bytes


def test_killed_guardian_takes_the_program_with_it() -> None:
    process = GuardedProcess(["sleep", "600"])
    guardian = psutil.Process(process.pid).ppid()
    os.kill(guardian, signal.SIGKILL)
    assert_ends(process.pid)
    assert process.poll(timeout=10) == ExitStatus(signal=signal.SIGKILL)
    process.close()


def test_forgotten_process_ends() -> None:
    pid = GuardedProcess(["sleep", "600"]).pid
    gc.collect()
    assert_ends(pid)


@pytest.mark.parametrize("end", ["exit", "SIGINT", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("fork", ["", "if os.fork() == 0: os.read(0, 1); os._exit(0)"], ids=["alone", "forked"])
def test_end_of_the_harness_ends_it(end: str, fork: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER.format(fork=fork)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as harness:  # fmt: skip
        assert harness.stdout is not None
        assert harness.stdin is not None
        pid = int(harness.stdout.readline())
        assert is_running(pid)
        if end == "exit":
            harness.stdin.close()
        else:
            harness.send_signal(signal.Signals[end])
        harness.wait(timeout=20)
        assert_ends(pid)
        harness.stdout.close()
