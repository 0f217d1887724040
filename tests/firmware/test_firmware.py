"""Firmware: what is in it, and what is said when it cannot be built."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.board import STUB_FLASH_BYTES, STUB_STATE_BYTES, Board, load_board
from harness.errors import BadInput, DoesNotFit, InfrastructureError, ToolFailed, ToolMissing
from harness.firmware import Firmware, build
from harness.toolchain import gcc
from tests import sample_model
from tests.firmware.conftest import M3, replaced

EMBEDDED = [f"qemu_cortex_{core}" for core in ("m0", "m3", "m4", "m7", "m33", "m55")] + ["nucleo_f446re"]

pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")


def tool(name: str, *arguments: str | Path) -> str:
    command = [f"arm-none-eabi-{name}", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(elf: Path) -> Mapping[str, int]:
    lines = (line.split() for line in tool("nm", elf).splitlines())
    return {words[2]: int(words[0], 16) for words in lines if len(words) == 3}


# ---- what is in it


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_figures_are_those_of_the_binutils(name: str, shared_cache: Path) -> None:
    board = load_board(name)
    built = build(sample_model.sample(board.cpu.core), board, cache=shared_cache)
    assert built.build_id.hex() in tool("readelf", "-n", built.elf)
    rows = [line.split() for line in tool("size", "-A", built.elf).splitlines()]
    sizes = {row[0]: int(row[1]) for row in rows if len(row) == 3 and row[0].startswith(".") and row[2] != "0"}
    sizes[".vectors"] = int(next(row[1] for row in rows if row and row[0] == ".vectors"))
    flash = ".vectors .text .rodata .build_id .weights .data"
    assert built.flash_bytes == sum(sizes.get(section, 0) for section in flash.split())
    assert built.flash_bytes - built.flash_code_bytes == sizes[".weights"] == 16
    ram = ".stack .fault_stack .fault_record .data .arena .bss"
    assert built.ram_bytes == sum(sizes.get(section, 0) for section in ram.split())
    assert built.flash_code_bytes <= STUB_FLASH_BYTES
    assert built.ram_bytes - sizes[".arena"] <= board.stub_ram_bytes


def test_the_stub_leaves_most_of_the_smallest_board(shared_cache: Path) -> None:
    built = build(sample_model.sample("cortex-m0"), load_board("qemu_cortex_m0"), cache=shared_cache)
    assert built.ram_bytes < 4096
    assert STUB_STATE_BYTES < 512


def test_stacks_arena_and_record_lie_where_the_fault_path_relies_on(firmware: Firmware) -> None:
    names = symbols(firmware.elf)
    ram = firmware.board.memory[1]
    assert names["harness_stack_bottom"] == ram.address  # an overflow leaves the RAM
    assert names["harness_stack_top"] - names["harness_stack_bottom"] >= firmware.board.stub.stack_bytes
    assert names["harness_stack_guard"] == ram.address - (1 << 20)
    assert names["harness_arena"] % 16 == 0
    fault_stack_end = names["layerproof_fault_stack"] + firmware.board.stub.fault_stack_bytes
    assert (
        names["harness_stack_top"]
        <= names["layerproof_fault_stack"]
        < fault_stack_end
        <= names["layerproof_fault_kept"]
    )
    assert "harness_current_layer" in names


def test_what_survives_a_reset_is_in_no_loaded_segment(firmware: Firmware) -> None:
    """An emulator that loads the program again on a reset must not clear it."""
    record = symbols(firmware.elf)["layerproof_fault_kept"]
    for line in tool("readelf", "-lW", firmware.elf).splitlines():
        if line.split()[:1] == ["LOAD"]:
            _, _, address, _, _, size, *_ = line.split()
            assert not int(address, 16) <= record < int(address, 16) + int(size, 16)


def test_debug_information_names_files_that_are_there(firmware: Firmware) -> None:
    names = symbols(firmware.elf)
    for function, file in (("double_1", "layers/001_double_1.c"), ("rpc_serve", "firmware_stub/rpc/rpc_server.c")):
        shown = tool("addr2line", "-e", firmware.elf, hex(names[function] & ~1)).strip().rpartition(":")[0]
        assert Path(shown).as_posix().removeprefix("./") == file
        assert (firmware.build_dir / file).is_file()
    text = (firmware.build_dir / "layers/001_double_1.c").read_text()
    assert text == firmware.source.files["layers/001_double_1.c"]


def test_every_function_can_be_unwound(firmware: Firmware) -> None:
    frames = tool("readelf", "--debug-dump=frames", firmware.elf)
    for function in ("model_run", "double_1", "rpc_serve"):
        assert f"pc={symbols(firmware.elf)[function] & ~1:08x}.." in frames


def test_the_same_source_gives_the_same_bytes_anywhere(tmp_path: Path, firmware: Firmware) -> None:
    again = build(sample_model.sample(), load_board(M3), cache=tmp_path / "elsewhere")
    assert again.elf.read_bytes() == firmware.elf.read_bytes()


def test_the_model_is_optimised_as_asked(shared_cache: Path, firmware: Firmware) -> None:
    plain = build(sample_model.sample(), load_board(M3), level="-O0", cache=shared_cache)
    assert plain.build_id != firmware.build_id
    assert "-O0" in _producer(plain, "layers/001_double_1.c")
    assert "-Os" in _producer(plain, "rpc_server.c")
    assert "-O2" in _producer(firmware, "layers/001_double_1.c")


def _producer(built: Firmware, file: str) -> str:
    text = tool("readelf", "--debug-dump=info", built.elf)
    units = text.split("Compilation Unit @")[1:]
    (unit,) = (part for part in units if re.search(rf"DW_AT_name.*{file}\n", part[:3000]))
    return next(line for line in unit.splitlines() if "DW_AT_producer" in line)


# ---- the stack


def test_the_stack_of_the_model_is_known(shared_cache: Path, firmware: Firmware) -> None:
    body = "    volatile int8_t big[3000];\n    big[0] = input[0];\n    output[0] = big[2999];\n"
    deep = build(sample_model.with_kernel(sample_model.sample(), 1, body), load_board(M3), cache=shared_cache)
    assert 0 < firmware.stack_bytes < 200
    assert 3000 <= deep.stack_bytes < 3200


def test_a_model_that_needs_more_stack_gets_it(shared_cache: Path) -> None:
    body = "    volatile int8_t big[9000];\n    big[0] = input[0];\n    output[0] = big[8999];\n"
    deep = build(sample_model.with_kernel(sample_model.sample(), 1, body), load_board(M3), cache=shared_cache)
    names = symbols(deep.elf)
    assert names["harness_stack_top"] - names["harness_stack_bottom"] > 9000


def test_a_stack_without_bound_is_the_one_reserved(shared_cache: Path) -> None:
    body = (
        "    void (*volatile again)(const int8_t *, int8_t *) = double_1;\n"
        "    volatile int8_t some[16];\n    some[0] = input[0];\n    again(input, output);\n    output[0] = some[1];\n"
    )
    board = load_board(M3)
    endless = build(sample_model.with_kernel(sample_model.sample(), 1, body), board, cache=shared_cache)
    assert endless.stack_bytes == board.stub.stack_bytes


# ---- what is refused


def test_an_arena_that_does_not_fit_is_refused_before_anything_is_built(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcc.Gcc, "run", lambda *arguments: pytest.fail("the compiler ran"))
    with pytest.raises(DoesNotFit) as refusal:
        build(sample_model.sample("cortex-m0", arena_bytes=16000), load_board("qemu_cortex_m0"), cache=cache)
    assert "16,000 bytes of RAM" in str(refusal.value)
    assert re.search(r"qemu_cortex_m0 has 1[23],\d{3} for it", str(refusal.value))


def test_constants_that_do_not_fit_are_refused_before_anything_is_built(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcc.Gcc, "run", lambda *arguments: pytest.fail("the compiler ran"))
    with pytest.raises(DoesNotFit, match="300,000 bytes of flash"):
        build(replace(sample_model.sample(), constant_bytes=300_000), load_board("qemu_cortex_m0"), cache=cache)


def test_what_only_the_linker_sees_is_refused_with_the_numbers(cache: Path) -> None:
    source = sample_model.sample("cortex-m0")
    big = replaced(
        source, {name: source.files[name].replace("[16]", "[300000]") for name in ("weights.h", "weights.c")}
    )
    with pytest.raises(DoesNotFit, match=r"30\d,\d{3} bytes of flash 'flash'; qemu_cortex_m0 has 262,144 there"):
        build(big, load_board("qemu_cortex_m0"), cache=cache)


def test_without_a_compiler_it_is_said_how_to_get_one(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolMissing, match="arm-none-eabi-gcc is not on the PATH") as refusal:
        build(sample_model.sample(), load_board(M3), cache=cache)
    assert "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi" in refusal.value.hint


def test_a_compiler_that_refuses_is_quoted(cache: Path) -> None:
    wrong = sample_model.with_kernel(sample_model.sample(), 1, "    output[0] = inptu[0];\n")
    with pytest.raises(ToolFailed) as refusal:
        build(wrong, load_board(M3), cache=cache)
    assert refusal.value.where == "layers/001_double_1.c"
    assert "'inptu' undeclared" in refusal.value.what
    assert "layers/001_double_1.c:5:17: error:" in refusal.value.what
    assert "The command was: " in refusal.value.hint
    assert " -c layers/001_double_1.c " in refusal.value.hint
    assert list((cache / "work").iterdir()) == []


def test_warnings_of_the_model_are_errors(cache: Path) -> None:
    careless = sample_model.with_kernel(
        sample_model.sample(), 1, "    int32_t wide = input[0];\n    output[0] = wide;\n"
    )
    with pytest.raises(ToolFailed, match="-Werror=conversion"):
        build(careless, load_board(M3), cache=cache)


def test_a_broken_compiler_is_not_a_python_error(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "arm-none-eabi-gcc"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    with pytest.raises(ToolFailed, match="the compiler does not tell its version"):
        build(sample_model.sample(), load_board(M3), cache=cache)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", "reports success but made no"),
        ("kill -9 $$", "the compiler was ended by SIGKILL"),
        ("exit 3", "exit code 3 without a word"),
    ],
)
def test_a_compiler_that_only_pretends(
    script: str, words: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "arm-none-eabi-gcc"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo fake 1.0; exit 0; fi\n{script}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ToolFailed, match=words) as refusal:
        build(sample_model.sample(), load_board(M3), cache=cache)
    assert "The command was: " in refusal.value.hint


def test_a_disk_that_is_full_is_no_python_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **options: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(InfrastructureError, match="No space left on device") as refusal:
        build(sample_model.sample(), load_board(M3), cache=cache)
    assert refusal.value.where.startswith(str(cache))
    assert "XDG_CACHE_HOME" in refusal.value.hint
    assert list((cache / "work").iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.c", "layers/../../outside.c", "firmware_stub/main.c", ""])
def test_files_do_not_leave_the_build_folder(path: str, cache: Path) -> None:
    with pytest.raises(BadInput, match="cannot be called"):
        build(replaced(sample_model.sample(), {path: ""}), load_board(M3), cache=cache)
    assert not (cache / "outside.c").exists()


def test_a_missing_handler_does_not_link(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how a command that has no C yet is found."""
    from harness import firmware as module

    stub = tmp_path / "firmware_stub"
    shutil.copytree(module.firmware_stub_dir(), stub)
    (stub / "rpc" / "rpc_checksum.c").unlink()
    monkeypatch.setattr(module, "firmware_stub_dir", lambda: stub)
    with pytest.raises(ToolFailed, match="undefined reference to `rpc_checksum'"):
        build(sample_model.sample(), load_board(M3), cache=cache)


def test_a_stack_with_memory_below_it_has_its_guard_inside(cache: Path) -> None:
    board: Board = load_board(M3)
    code, ram = board.memory
    low = ram.model_copy(update={"name": "low", "address": ram.address, "bytes": 4096})
    high = ram.model_copy(update={"address": ram.address + 4096, "bytes": 1 << 20})
    moved = board.model_copy(update={"memory": (code, low, high)})
    names = symbols(build(sample_model.sample(), moved, cache=cache).elf)
    assert names["harness_stack_guard"] == ram.address + 4096
    assert names["harness_stack_bottom"] == ram.address + 4096 + 256
