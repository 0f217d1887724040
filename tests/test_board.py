"""Boards: what comes with the harness is right, and what is wrong is refused with the file and the key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.board import CORES, RenodeRun, all_boards, board_names, core_target, load_board
from harness.errors import BadInput, BoardError, ExitCode
from harness.resources import boards_dir

MINE = """\
name = "mine"
description = "A board of my own"

[cpu]
core = "cortex-m4"
features = ["dsp", "fpu"]
flags = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard"]

[[memory]]
name = "flash"
kind = "flash"
address = 0x0800_0000
bytes = 524_288

[[memory]]
name = "sram"
kind = "ram"
address = 0x2000_0000
bytes = 131_072

[[memory]]
name = "ccm"
kind = "ram"
address = 0x1000_0000
bytes = 65_536

[sections]
code = "flash"
data = "ccm"
arena = "sram"

[stub]
stack_bytes = 4096
fault_stack_bytes = 768
record_stack_bytes = 1024
max_payload = 1024

[uart]
kind = "cmsdk"
address = 0x4000_4000

[runner]
kind = "serial"
baud = 115_200
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return path


def test_the_boards_that_come_with_the_harness() -> None:
    boards = {board.name: board for board in all_boards()}
    expected = {f"qemu_cortex_{core}" for core in ("m0", "m3", "m4", "m7", "m33", "m55")}
    assert expected | {"host"} <= set(boards)
    for name in expected:
        board = boards[name]
        assert name == f"qemu_{board.cpu.core.replace('-', '_')}"
        assert f"-mcpu={board.cpu.core}" in board.cpu.flags
        assert board.runner.kind == "qemu"
        assert ("-mfloat-abi=hard" in board.cpu.flags) == ("fpu" in board.cpu.features)
    smallest = boards["qemu_cortex_m0"]
    assert [region.bytes for region in smallest.memory] == [256 << 10, 16 << 10]
    assert smallest.stub_ram_bytes < 4096


def test_a_board_of_the_users_own(mine: Path) -> None:
    for name in (mine, str(mine)):
        board = load_board(name)
        assert board.target.core == "cortex-m4"
        assert board.target.features == {"dsp", "fpu"}
        assert board.region("ccm").end == 0x1001_0000
    assert board.target.ram_bytes == 131_072  # the stub is in the other RAM
    assert board.target.flash_bytes is not None
    assert board.target.flash_bytes < 524_288


@pytest.mark.parametrize("name", board_names())
def test_a_board_written_out_is_read_back(name: str, tmp_path: Path) -> None:
    board = load_board(name)
    path = tmp_path / f"{name}.toml"
    path.write_text(board.to_toml(), encoding="utf-8")
    assert load_board(path) == board


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_description_is_read_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    board = load_board("nucleo_f446re").model_copy(update={"description": text})
    path = tmp_path_factory.mktemp("boards") / "nucleo_f446re.toml"
    path.write_text(board.to_toml(), encoding="utf-8", newline="")
    assert load_board(path).description == text


def test_a_target_leaves_the_stub_its_share() -> None:
    board = load_board("qemu_cortex_m0")
    assert board.target.ram_bytes == 16384 - board.stub_ram_bytes


def test_an_unknown_board_names_the_known_ones() -> None:
    with pytest.raises(BoardError) as refusal:
        load_board("qemu_cortex_m33x")
    assert "no board is called 'qemu_cortex_m33x'" in str(refusal.value)
    assert "Did you mean qemu_cortex_m33?" in str(refusal.value)
    assert all(name in str(refusal.value) for name in board_names())
    assert refusal.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "cmsdk"', 'kind = "cmsdk"\nspeed = 3', "uart.speed: unknown key"),
        ("baud = 115_200", 'baud = 115_200\nmachine = "x"', "runner.machine: unknown key"),
        ("[cpu]", "colour = 3\n[cpu]", "colour: unknown key"),
        ("bytes = 131_072", "bytes = 131_072\nspeed = 1", "memory.1.speed: unknown key"),
        ("address = 0x0800_0000", 'address = "0x08000000"', "memory.0.address: Input should be a valid integer"),
        ("stack_bytes = 4096", "stack_bytes = 4096.0", "stub.stack_bytes: Input should be a valid integer"),
        ("stack_bytes = 4096", "stack_bytes = true", "stub.stack_bytes: Input should be a valid integer"),
        ("stack_bytes = 4096", "stack_bytes = 4095", "stub.stack_bytes: Input should be a multiple of 8"),
        ("bytes = 131_072", "bytes = 0", "memory.1.bytes: Input should be greater than 0"),
        ("bytes = 131_072", "bytes = -5", "memory.1.bytes: Input should be greater than 0"),
        ("address = 0x2000_0000", "address = 0x0801_0000", "memory.1: region 'sram' (0x08010000..0x08030000) overlaps"),
        ("address = 0x2000_0000", "address = 0xFFFF_0000", "memory.1: region 'sram' ends beyond the 32-bit address"),
        ('name = "ccm"', 'name = "sram"', "memory.2.name: two regions are called 'sram'"),
        ('arena = "sram"', 'arena = "psram"', "sections.arena: no memory region is called 'psram'"),
        ('arena = "sram"', 'arena = "flash"', "sections.arena: region 'flash' is flash, not ram"),
        ('core = "cortex-m4"', 'core = "cortex-m99"', "cpu.core: Input should be 'cortex-m0'"),
        ('core = "cortex-m4"', 'core = "cortex-m3"', "cpu.features: cortex-m3 never has dsp, fpu"),
        ('["dsp", "fpu"]', '["dsp", "avx"]', "cpu.features"),
        ('kind = "serial"', 'kind = "pigeon"', "runner"),
        ('kind = "cmsdk"', 'kind = "morse"', "uart.kind: there is no driver for 'morse'"),
        ('kind = "cmsdk"', 'kind = "../rpc/rpc"', "uart.kind"),
        ('name = "mine"', 'name = "yours"', "name: 'yours' is not the file's own name 'mine'"),
        ('name = "mine"', "", "name: Field required"),
        ('description = "A board of my own"', "description = ", "not TOML"),
        ('description = "A board of my own"', "description = " + 10_000 * "[", "not a board: tables or arrays within"),
        ('"-mcpu=cortex-m4"', '"-wrapper", "touch,pwned"', "cpu.flags.0: String should match pattern"),
        ('"-mcpu=cortex-m4"', '"-fplugin=./evil.so"', "cpu.flags.0: String should match pattern"),
        ('"-mcpu=cortex-m4"', '"@arguments"', "cpu.flags.0: String should match pattern"),
        ('core = "cortex-m4"', 'core = "cortex-m4"\ncore = "cortex-m4"', "not TOML"),
    ],
)
def test_a_wrong_description_is_one_error_with_file_and_key(mine: Path, old: str, new: str, words: str) -> None:
    assert old in MINE
    mine.write_text(MINE.replace(old, new, 1))
    with pytest.raises(BoardError) as refusal:
        load_board(mine)
    assert refusal.value.where == str(mine)
    assert words in str(refusal.value)
    assert "pydantic" not in str(refusal.value)


def test_several_mistakes_are_all_told(mine: Path) -> None:
    mine.write_text(MINE.replace("baud = 115_200", "baud = 0").replace("max_payload = 1024", "max_payload = 3"))
    with pytest.raises(BoardError, match=r"stub.max_payload.*runner.baud|runner.baud.*stub.max_payload"):
        load_board(mine)


RENODE = 'kind = "renode"\nplatform = "mine.repl"\nuart = "uart0"\n'


def test_a_platform_of_the_users_own(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.write_text(MINE.replace('kind = "serial"\nbaud = 115_200\n', RENODE))
    (mine.parent / "mine.repl").write_text("// a platform\n")
    monkeypatch.chdir("/")
    board = load_board(mine)
    assert isinstance(board.runner, RenodeRun)
    assert board.runner.platform == "// a platform\n"
    assert type(board).model_validate(board.model_dump()) == board


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mine.repl", "none.repl", "runner.platform: cannot read 'none.repl' beside the board's file: No such file"),
        ("mine.repl", "latin.repl", "runner.platform: cannot read 'latin.repl' beside the board's file: not UTF-8"),
        (
            "mine.repl",
            "folder.repl",
            "runner.platform: cannot read 'folder.repl' beside the board's file: Is a directory",
        ),
        (
            "mine.repl",
            "../mine.repl",
            "runner.platform: not the name of a .repl file beside the board's: '../mine.repl'",
        ),
        ("mine.repl", "mine.toml", "runner.platform: not the name of a .repl file"),
        ("mine.repl", "mine.repl\\n", "runner.platform: not the name of a .repl file"),
        ("mine.repl", "", "runner.platform: String should have at least 1 character"),
        ('platform = "mine.repl"\n', "", "runner.platform: Field required"),
        ('uart = "uart0"\n', "", "runner.uart: Field required"),
        ("uart0", "uart0 term; quit", "runner.uart: String should match pattern"),
        ('"uart0"', '"uart0"\nmachine = "x"', "runner.machine: unknown key"),
    ],
)
def test_a_wrong_platform_is_one_error_with_file_and_key(mine: Path, old: str, new: str, words: str) -> None:
    (mine.parent / "mine.repl").write_text("// a platform\n")
    (mine.parent / "latin.repl").write_bytes(b"// \xe9\n")
    (mine.parent / "folder.repl").mkdir()
    assert old in RENODE
    mine.write_text(MINE.replace('kind = "serial"\nbaud = 115_200\n', RENODE.replace(old, new, 1)))
    with pytest.raises(BoardError) as refusal:
        load_board(mine)
    assert refusal.value.where == str(mine)
    assert words in str(refusal.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="no such board file"):
        load_board(tmp_path / "none.toml")
    with pytest.raises(BoardError, match="cannot read the board file"):
        load_board(str(tmp_path) + "/")
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(BoardError, match="cannot read the board file"):
        load_board(tmp_path / "pipe.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(BoardError, match="not UTF-8 at byte 8"):
        load_board(tmp_path / "latin.toml")


def test_names_are_files() -> None:
    assert board_names() == sorted(path.stem for path in boards_dir().glob("*.toml"))


@pytest.mark.parametrize("core", CORES)
def test_a_core_alone_is_a_target_without_limits(core: str) -> None:
    target = core_target(core)
    assert (target.core, target.flash_bytes, target.ram_bytes) == (core, None, None)


def test_the_features_of_a_core() -> None:
    assert core_target("cortex-m55").features == {"dsp", "fpu", "mve"}
    assert core_target("cortex-m3").features == frozenset()


def test_an_unknown_core() -> None:
    with pytest.raises(BadInput, match="no core is called 'cortex-m99'"):
        core_target("cortex-m99")
