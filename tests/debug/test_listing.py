"""Source lines and instructions around a place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.debug.crash import explain
from harness.debug.listing import SourceLine, is_library, source_lines
from tests.debug import lab
from tests.debug.conftest import Crashes


def test_the_lines_around_one(tmp_path: Path) -> None:
    file = tmp_path / "a.c"
    file.write_bytes(b"one\r\ntwo\x0c\nthree\nf\xffur\nfive\nsix\n")
    found = source_lines(str(file), 2)
    assert found == tuple(
        SourceLine(number, text)
        for number, text in enumerate(["one", "two\x0c", "three", "f\ufffdur", "five", "six"], 1)
    )
    file.write_text("\n".join(str(number) for number in range(1, 101)))
    assert [line.text for line in source_lines(str(file), 50)] == [str(number) for number in range(46, 55)]
    assert [line.number for line in source_lines(str(file), 100)] == list(range(96, 101))
    file.write_text("x" * 100_000)
    assert len(source_lines(str(file), 1)[0].text) == 200


@pytest.mark.parametrize("line", [None, 0, -3, 4, 1 << 40])
def test_a_line_that_is_not_there_is_no_listing(line: int | None, tmp_path: Path) -> None:
    file = tmp_path / "a.c"
    file.write_text("one\ntwo\nthree\n")
    assert source_lines(str(file), line) == ()


def test_only_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    large = tmp_path / "large"
    with large.open("wb") as sparse:
        sparse.truncate(1 << 30)
    for name in (
        "/dev/zero",
        str(tmp_path),
        str(tmp_path / "pipe"),
        str(tmp_path / "none"),
        "a\0b",
        "x" * 9999,
        str(large),
    ):
        assert source_lines(name, 1) == ()
    assert source_lines(None, 1) == ()


@pytest.mark.parametrize(
    ("file", "library"),
    [
        (None, True),
        ("/home/x/src/newlib-salsa/newlib/libc/search/qsort.c", True),
        ("../../../newlib/libc/machine/arm/memcpy-armv7m.S", True),
        ("/build/gcc-12.2/libgcc/config/arm/lib1funcs.S", True),
        ("/home/x/newlib.c", False),
        ("layers/003_conv2d_3.c", False),
    ],
)
def test_what_is_a_library(file: str | None, library: bool) -> None:
    assert is_library(file) is library


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("core", lab.CORES)
def test_every_crash_shows_its_line_and_its_instruction(
    core: str, level: str, crashes: Callable[[str, str], Crashes]
) -> None:
    found = crashes(core, level)
    for crash in found.found:
        scenario = crash.scenario
        if core in scenario.impossible or scenario.chain is None or crash.on_process_stack or not crash.stacked:
            continue
        explained = explain(crash.state, found.image)
        own = next(e for e in scenario.chain if e.file)
        listing = next(entry for entry in explained.listings if entry.function == own.function)
        marked = next(line for line in listing.source if line.number == listing.line)
        assert marked.number == own.line
        assert marked.text == (lab.FIRMWARE / own.file).read_text().splitlines()[own.line - 1]
        innermost = explained.listings[0]
        addresses = [instruction.address for instruction in innermost.instructions]
        assert innermost.at in addresses
        assert len(addresses) <= 9
        jumped = scenario.kind in ("null_call", "bad_jump", "execute_never")
        if not jumped:
            assert innermost.at == crash.state.registers["pc"]
        at = next(i for i in innermost.instructions if i.address == innermost.at)
        wanted = {None: "str", "undefined_instruction": "udf", "divide_by_zero": "sdiv", "unaligned_access": "ldr"}
        if scenario.name == "load_in_leaf":
            assert at.text.startswith("ldr")
        elif scenario.name == "libc" and core == "m0":
            assert at.text.startswith(("str", "stm"))
        elif jumped:
            assert at.text.startswith("blx")
        elif scenario.kind in wanted:
            assert at.text.startswith(wanted[scenario.kind]), (scenario.name, at.text)


def test_a_crash_in_the_c_library_shows_the_users_line_too(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m3", "-O2")
    crash = explain(found.of("libc").state, found.image)
    assert [listing.function for listing in crash.listings] == ["memcpy", "libc"]
    assert crash.listings[0].instructions
    assert any("memcpy(" in line.text for line in crash.listings[1].source)
    assert crash.frames[crash.listings[1].frame].function == "libc"
    call = next(i for i in crash.listings[1].instructions if i.address == crash.listings[1].at)
    assert call.text.endswith("<memcpy>")
