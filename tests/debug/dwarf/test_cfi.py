"""Call frame information, row by row, against readelf."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.debug.dwarf.cfi import CallFrames
from harness.debug.image import Image

_NUMBERS = {f"r{n}": n for n in range(16)} | {"ra": 14}


def _rows(elf: Path) -> list[tuple[int, int, dict[str, str]]]:
    """(first address, first address after it, column -> rule) of every row that readelf prints."""
    text = subprocess.run(
        ["arm-none-eabi-readelf", "--debug-dump=frames-interp", str(elf)], capture_output=True, text=True, check=True
    ).stdout
    rows = []
    for block in text.split("\n\n"):
        head = re.search(r"FDE.*pc=([0-9a-f]+)\.\.([0-9a-f]+)", block)
        if head is None or int(head[1], 16) == 0:  # what the linker discarded
            continue
        lines = block.splitlines()[1:]
        if not lines:  # it adds nothing to what holds for all functions of its file
            continue
        columns = lines[0].split()
        table = [line.split() for line in lines[1:] if line.strip()]
        starts = [int(row[0], 16) for row in table] + [int(head[2], 16)]
        for row, end in zip(table, starts[1:], strict=True):
            rows.append((int(row[0], 16), end, dict(zip(columns[1:], row[1:], strict=True))))
    return rows


def _told(row: Mapping[Any, Any], column: str) -> str:
    if column == "CFA":
        return f"r{row['cfa'].reg}+{row['cfa'].offset}"
    rule = row.get(_NUMBERS[column])
    if rule is None or rule.type in ("UNDEFINED", "SAME_VALUE"):
        return "u"
    assert rule.type == "OFFSET"
    return f"c{rule.arg:+d}"


@pytest.mark.parametrize(("core", "level"), [("m0", "-O2"), ("m3", "-O3"), ("m4", "-Os"), ("m33", "-O0")])
def test_every_row_is_the_one_that_readelf_prints(core: str, level: str, program: Callable[[str, str], Path]) -> None:
    elf = program(core, level)
    frames = CallFrames(Image(elf))
    checked = 0
    for start, end, rules in _rows(elf):
        for address in range(start, end, 2):
            row = frames.row(address)
            assert row is not None, hex(address)
            for column, rule in rules.items():
                if column in _NUMBERS or column == "CFA":
                    assert _told(row, column) == rule.replace("s", "u"), (hex(address), column)
            checked += 1
    assert checked > 800
