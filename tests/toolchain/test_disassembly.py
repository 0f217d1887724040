"""What objdump says of an image, read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import ToolFailed, ToolMissing
from harness.toolchain.disassembly import disassemble

pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")

CODE = """
    .syntax unified
    .thumb
    .global f
    .thumb_func
    .type f, %function
f:  push    {r4, lr}
    add.w   r5, r0, #8000
    ldr     r3, [r0, #4]
    bne.n   1f
    nop
1:  pop     {r4, pc}
    .word   0x12345678
    .type g, %function
g:  .inst.w 0xea5393a3          @ of Armv8.1-M: this objdump may not know it
    nop
"""


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    path = tmp_path / "a.elf"
    flags = ["-mcpu=cortex-m3", "-nostdlib", "-Wl,-Ttext=0x100", "-Wl,-e,f", "-x", "assembler", "-"]
    subprocess.run(["arm-none-eabi-gcc", *flags, "-o", str(path)], input=CODE, text=True, check=True)
    return path


def test_addresses_sizes_and_words(elf: Path) -> None:
    listing = disassemble(elf)
    run = listing.run(0x100, 6)
    assert [(i.address, i.size, i.mnemonic) for i in run] == [
        (0x100, 2, "push"),
        (0x102, 4, "add.w"),
        (0x106, 2, "ldr"),
        (0x108, 2, "bne.n"),
        (0x10A, 2, "nop"),
        (0x10C, 2, "pop"),
    ]
    assert run[0].operands == "{r4, lr}"
    assert run[1].operands == "r5, r0, #8000"
    assert run[2].operands == "r3, [r0, #4]"


def test_an_encoding_that_objdump_does_not_know_still_has_its_size(elf: Path) -> None:
    listing = disassemble(elf)
    unknown, after = listing.run(0x112, 2)
    assert (unknown.size, after.mnemonic) == (4, "nop")


def test_where_there_is_no_code(elf: Path) -> None:
    with pytest.raises(ToolFailed, match="0x00000200"):
        disassemble(elf).run(0x200, 1)


def test_no_objdump(elf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolMissing, match="objdump"):
        disassemble(elf)


def test_no_elf_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(ToolFailed, match="file format not recognized"):
        disassemble(tmp_path / "text")
