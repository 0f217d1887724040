"""Reports of the real sanitizers, made here by crashing a small program in every way the parser knows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import RunnerFailed
from harness.runners.base import ExitKind
from harness.runners.host import HostRunner
from harness.runners.sanitizer import parse_report
from tests.runners.test_qemu import Elf, receive

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

PROGRAM = r"""
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
static volatile int32_t table[4];
static volatile int32_t *volatile where = table;
__attribute__((noinline)) static void fault(char kind)
{
    volatile int32_t one = 1;
    if (kind == 'i') { table[one + 63] = 1; }                    /* index */
    if (kind == 'p') { where[one + 4] = 1; }                     /* pointer */
    if (kind == 'n') { *(volatile int32_t *)(uintptr_t)(one - 1) = 1; }   /* null */
    if (kind == 'w') { *(volatile int32_t *)(uintptr_t)(one * 64) = 1; }  /* wild */
    if (kind == 'o') { one += INT32_MAX; }                       /* overflow */
    if (kind == 'z') { one = one / (one - 1); }                  /* zero */
    if (kind == 't') { __builtin_trap(); }                       /* trap */
    if (kind == 's') { volatile char big[4096]; big[0] = 1; fault(kind); big[1] = 1; }   /* stack */
    if (kind == 'h') { for (;;) { } }                            /* hang */
    if (kind == 'e') { exit(3); }                                /* exit */
}
int main(void)
{
    char kind;
    while (read(0, &kind, 1) == 1) { fault(kind); if (write(1, &kind, 1) != 1) { return 1; } }
    return 0;
}
"""
CASES = {  # letter: kind of the report, words of its sentence, address
    "i": ("undefined-behaviour", "index 64 out of bounds", None),
    "p": ("global-buffer-overflow", "global-buffer-overflow on address", ...),
    "n": ("undefined-behaviour", "null pointer", 0),
    "w": ("SEGV", "SEGV on unknown address 0x000000000040", 0x40),
    "o": ("undefined-behaviour", "signed integer overflow", None),
    "z": ("undefined-behaviour", "division by zero", None),
    "t": ("ILL", "ILL on unknown address", ...),
    "s": ("stack-overflow", "stack-overflow on address", ...),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Elf:
    folder = tmp_path_factory.mktemp("host")
    (folder / "faults.c").write_text(PROGRAM)
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    subprocess.run(["gcc", *flags, "faults.c", "-o", "faults"], cwd=folder, check=True, capture_output=True)
    return Elf(folder / "faults")


def line_of(comment: str) -> int:
    return next(n for n, line in enumerate(PROGRAM.splitlines(), 1) if f"/* {comment} */" in line)


@pytest.mark.parametrize("letter", CASES)
def test_fault_of_the_program_is_a_crash_with_its_line(image: Elf, letter: str) -> None:
    kind, words, address = CASES[letter]
    comment = re.search(rf"kind == '{letter}'.*/\* (\w+) \*/", PROGRAM)
    assert comment is not None
    with HostRunner().start(image) as target:
        target.transport.write(letter.encode())
        with pytest.raises(EOFError):
            receive(target.transport, 1)
        gone = target.exit_reason(timeout=10)
    assert gone is not None
    assert gone.kind is ExitKind.CRASH
    report = parse_report(gone.detail)
    assert report is not None
    assert report.kind == kind
    assert words in report.sentence
    assert gone.what == report.sentence
    if address is not ...:
        assert report.address == address
    else:
        assert report.address is not None
    assert report.frames[0].function == "fault"
    assert report.frames[0].file is not None
    assert report.frames[0].file.endswith("faults.c")
    depth = 1 if letter == "s" else 0  # the stack overflows in the prologue of the next call
    assert report.frames[depth].line == line_of(comment[1])
    assert "main" in [frame.function for frame in report.frames] or letter == "s"


def test_hang_says_where_it_was(image: Elf) -> None:
    with HostRunner().start(image) as target:
        target.transport.write(b"xh")
        assert receive(target.transport, 2, seconds=0.3) == b"x"
        state = target.halt()
        report = parse_report(target.stderr)
        assert state is not None
        assert report is not None
        assert state.registers["pc"] == report.frames[0].pc
        assert (report.frames[0].function, report.frames[0].line) == ("fault", line_of("hang"))
        assert [frame.function for frame in report.frames[:2]] == ["fault", "main"]
        with pytest.raises(RunnerFailed, match="has ended"):
            target.read_memory(0, 4)


def test_program_that_exits_by_itself(image: Elf) -> None:
    with HostRunner().start(image) as target:
        target.transport.write(b"e")
        with pytest.raises(EOFError):
            receive(target.transport, 1)
        gone = target.exit_reason(timeout=10)
        assert gone is not None
        assert (gone.kind, gone.what) == (ExitKind.CRASH, "the program exited with status 3")


def test_killed_program_is_lost(image: Elf) -> None:
    with HostRunner().start(image) as target:
        os.kill(target.pid, 9)
        with pytest.raises(EOFError):
            receive(target.transport, 1)
        gone = target.exit_reason(timeout=10)
        assert gone is not None
        assert (gone.kind, gone.what) == (ExitKind.LOST, "the program was ended by SIGKILL")


def test_users_own_sanitizer_options_stay(image: Elf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASAN_OPTIONS", f"log_path={tmp_path / 'log'}:handle_abort=0")
    with HostRunner().start(image) as target:
        target.transport.write(b"w")
        with pytest.raises(EOFError):
            receive(target.transport, 1)
    (log,) = tmp_path.glob("log.*")
    assert parse_report(log.read_text()) is not None


def test_text_without_a_report() -> None:
    assert parse_report("") is None
    assert parse_report("Segmentation fault\n") is None
