"""What the linker put where: the input sections of GNU ld's map file, with the object file each came from.

.text.conv2d_0
               0x00000e24      0x248 objects/layers/000_conv2d_0.o
.text.crc32    0x000007e0       0x34 objects/firmware_stub/rpc/crc32.o
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BEGIN = "Linker script and memory map"  # before it stands what was discarded
_SECTION = re.compile(r"^ (\.[^\s]+|COMMON)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Placed:
    """One input section in the image."""

    section: str  # ".text.conv2d_0"
    address: int
    bytes: int
    file: str  # as it was given to the linker


def placed(path: Path) -> Iterator[Placed]:
    """Every input section of the map at `path` that takes memory, in order; debugging sections included."""
    text = path.read_text(encoding="utf-8", errors="replace").partition(_BEGIN)[2]
    joined = re.sub(r"^( \.\S+)\n\s+(?=0x)", r"\1 ", text, flags=re.MULTILINE)  # a long name has a line of its own
    for section, address, size, file in _SECTION.findall(joined):
        if int(size, 16):
            yield Placed(section, int(address, 16), int(size, 16), file)
