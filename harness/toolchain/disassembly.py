"""The instructions of a linked Arm image, as objdump prints them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ToolFailed, ToolMissing
from harness.toolchain.gcc import TIMEOUT

#     2194:	f500 55fa 	add.w	r5, r0, #8000	@ 0x1f40
_LINE = re.compile(
    r"^ *([0-9a-f]+):\t([0-9a-f]{4}(?: [0-9a-f]{4})?) *\t(?:([a-z][\w.]*)(?:\t([^\t\n@;]*))?)?", re.MULTILINE
)


@dataclass(frozen=True)
class Instruction:
    address: int
    size: int  # bytes
    mnemonic: str  # as printed, with conditions and widths: "addeq.w"; empty where objdump does not know the encoding
    operands: str

    @property
    def end(self) -> int:
        """Address of what comes behind it."""
        return self.address + self.size


@dataclass(frozen=True)
class Listing:
    """All instructions of an image by address; `image` is for messages."""

    image: Path
    instructions: Mapping[int, Instruction]

    def run(self, start: int, length: int) -> list[Instruction]:
        """`length` instructions from `start` on. ToolFailed: there are not so many behind one another."""
        found: list[Instruction] = []
        address = start
        while len(found) < length:
            instruction = self.instructions.get(address)
            if instruction is None:
                raise ToolFailed(f"objdump shows no instruction at {address:#010x}", where=str(self.image))
            found.append(instruction)
            address = instruction.end
        return found


def disassemble(elf: Path) -> Listing:
    """ToolMissing: there is no objdump for Arm. ToolFailed: it cannot read `elf`; with its own words."""
    program = shutil.which("arm-none-eabi-objdump")
    if program is None:
        raise ToolMissing(
            "arm-none-eabi-objdump is not on the PATH",
            hint="Debian and Ubuntu: apt-get install binutils-arm-none-eabi.",
        )
    try:
        done = subprocess.run(
            [program, "-d", "-w", str(elf)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailed(f"cannot run objdump: {error}", where=program) from error
    if done.returncode != 0:
        raise ToolFailed(f"objdump refused it:\n{done.stderr.strip()}", where=str(elf))
    found = {}
    for address, code, mnemonic, operands in _LINE.findall(done.stdout):
        place = int(address, 16)
        found[place] = Instruction(place, 2 * len(code.split()), mnemonic, operands.strip())
    return Listing(elf, found)
