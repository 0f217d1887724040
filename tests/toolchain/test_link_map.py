"""The linker's map against the symbols of the image it describes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.toolchain.link_map import placed

pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")

CODE = """
const int a_table_whose_name_needs_a_line_of_its_own[25] = {1};
const char t[3] = "ab";
int f(int i) { return i + t[i & 1]; }
int entry(int i) { return f(i) + a_table_whose_name_needs_a_line_of_its_own[i & 15]; }
int thrown_away(int i) { return i * 77; }
"""


def test_every_section_has_the_size_of_its_symbol(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(CODE)
    flags = ["-mcpu=cortex-m3", "-O1", "-fno-inline", "-ffunction-sections", "-fdata-sections", "-nostdlib"]
    link = ["-Wl,--gc-sections", "-Wl,-e,entry", "-Wl,-Map=a.map"]
    for command in (["-c", "a.c", "-o", "a.o"], [*link, "a.o", "-o", "a.elf"]):
        subprocess.run(["arm-none-eabi-gcc", *flags, *command], cwd=tmp_path, check=True)
    found = {piece.section: piece for piece in placed(tmp_path / "a.map") if piece.file == "a.o"}
    names = subprocess.run(
        ["arm-none-eabi-nm", "-S", "a.elf"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    sizes = {line.split()[-1]: int(line.split()[1], 16) for line in names.stdout.splitlines() if len(line.split()) == 4}
    for name in ("f", "entry"):
        assert found[f".text.{name}"].bytes == sizes[name]
    for name in ("t", "a_table_whose_name_needs_a_line_of_its_own"):
        assert found[f".rodata.{name}"].bytes == sizes[name]
    assert ".text.thrown_away" not in found
