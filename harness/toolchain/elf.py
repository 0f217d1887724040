"""What the linked ELF says of itself: its build ID and how much memory it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection

from harness.errors import ToolFailed

WEIGHTS = ".weights"  # the output section that the linker script puts the model's constants in


@dataclass(frozen=True)
class Sizes:
    flash: int  # bytes of all that is stored
    code: int  # of it, without the weights
    ram: int  # bytes of variables, stacks and arena


def begins(path: Path) -> bool:
    """Whether there is a file that begins as an ELF file does: after a power failure new files may be empty."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except FileNotFoundError:
        return False


def build_id(elf: Path) -> bytes:
    """The GNU build ID. ToolFailed: there is none."""
    with elf.open("rb") as stream:
        for section in _open(stream, elf).iter_sections():
            if isinstance(section, NoteSection) and section.name == ".note.gnu.build-id":
                return _note(section.data())
            if section.name == ".build_id":
                return _note(section.data())
    raise ToolFailed("the linker wrote no build ID", where=str(elf))


def sizes(elf: Path) -> Sizes:
    """Bytes of flash and RAM that the sections of an embedded ELF take."""
    flash = weights = ram = 0
    with elf.open("rb") as stream:
        for section in _open(stream, elf).iter_sections():
            if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC:
                continue
            size = section["sh_size"]
            stored = section["sh_type"] != "SHT_NOBITS"
            flash += size if stored else 0
            ram += size if section["sh_flags"] & SH_FLAGS.SHF_WRITE else 0
            weights += size if section.name == WEIGHTS else 0
    return Sizes(flash=flash, code=flash - weights, ram=ram)


def _open(stream: IO[bytes], elf: Path) -> ELFFile:
    try:
        return ELFFile(stream)
    except ELFError as error:
        raise ToolFailed(f"not an ELF file: {error}", where=str(elf)) from error


def _note(note: bytes) -> bytes:
    """The description of the one note: sizes of name and description, type, name "GNU", description."""
    name, length = (int.from_bytes(note[at : at + 4], "little") for at in (0, 4))
    start = 12 + (name + 3) // 4 * 4
    return note[start : start + length]
