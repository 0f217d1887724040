"""A linked ELF file as the debugger sees it: the bytes of its code, its symbols, and which addresses are instructions.

The file is read once and closed. Addresses are 32 bits and never carry the Thumb bit.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import ARMAttributesSection, SymbolTableSection

from harness.errors import BadInput

# What pyelftools lets escape when a file is not what its headers promise. Its own errors do not cover all of it.
MALFORMED = (ELFError, DWARFError, ConstructError, AssertionError, KeyError, IndexError, ValueError, TypeError,
             AttributeError, OverflowError, EOFError, RecursionError)  # fmt: skip

_WITHOUT_FAULT_STATUS = (11, 12, 16)  # Tag_CPU_arch of v6-M, v6S-M, v8-M baseline (ABI addenda, 3.3.5.2)
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4  # sh_flags
# a note: sizes of name and content, type, name
_BUILD_ID = re.compile(rb"\x04\0\0\0(.)\0\0\0\x03\0\0\0GNU\0", re.DOTALL)
_MAPPING = ("$t", "$a", "$d")  # Arm's mapping symbols: Thumb code, Arm code, data from here on (AAELF32 5.5.5)


@dataclass(frozen=True)
class Symbol:
    name: str
    address: int
    size: int  # bytes; 0: unknown

    def covers(self, address: int) -> bool:
        return self.address <= address < self.address + self.size


@dataclass(frozen=True)
class Section:
    name: str
    address: int
    size: int
    data: bytes  # empty when the file holds none, as for .bss
    writable: bool
    executable: bool

    def covers(self, address: int) -> bool:
        return self.address <= address < self.address + self.size


class Image:
    """An ELF file. Raises `BadInput` when it cannot be read or is none; DWARF is looked at only when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInput(f"cannot read the firmware: {error.strerror}", where=str(path)) from error
        try:
            self._elf = ELFFile(io.BytesIO(content))
            self.entry = int(self._elf["e_entry"]) & ~1
            self.is_arm = self._elf["e_machine"] == "EM_ARM"
            self.sections = _sections(self._elf)
            self._read_symbols()
        except MALFORMED as error:
            raise BadInput(
                f"not a usable ELF file ({error or type(error).__name__})",
                where=str(path),
                hint="Give the firmware.elf that was on the target, unstripped.",
            ) from error

    def _read_symbols(self) -> None:
        self.functions: list[Symbol] = []  # by address
        self.objects: list[Symbol] = []
        self._by_name: dict[str, Symbol] = {}
        mapping: list[tuple[int, bool]] = []
        flags = {index: int(s["sh_flags"]) for index, s in enumerate(self._elf.iter_sections())}
        table = self._elf.get_section_by_name(".symtab")
        for entry in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
            name, value = entry.name, int(entry["st_value"])
            if entry["st_shndx"] == "SHN_UNDEF" or not name:
                continue
            kind = entry["st_info"]["type"]
            if name[:2] in _MAPPING and (len(name) == 2 or name[2] == "."):
                # debug sections have mapping symbols as well, whose values are no addresses
                if flags.get(entry["st_shndx"], 0) & _ALLOC:
                    mapping.append((value, name[1] != "d"))
                continue
            symbol = Symbol(name, value & ~1 if kind == "STT_FUNC" else value, int(entry["st_size"]))
            if kind == "STT_FUNC":
                self.functions.append(symbol)
            elif kind == "STT_OBJECT" or (
                # GCC at -O0 gives static variables no type, unless each has a section of its own
                kind == "STT_NOTYPE" and symbol.size and flags.get(entry["st_shndx"], 0) & (_ALLOC | _EXECUTE) == _ALLOC
            ):
                self.objects.append(symbol)
            if entry["st_info"]["bind"] != "STB_LOCAL" or name not in self._by_name:
                self._by_name[name] = symbol
        # of several names for one address the one that sorts first, so that two runs agree
        self.functions.sort(key=lambda s: (s.address, -s.size, s.name))
        self.objects.sort(key=lambda s: (s.address, -s.size, s.name))
        mapping.sort()
        self._mapping_starts = [address for address, _ in mapping]
        self._mapping_is_code = [is_code for _, is_code in mapping]
        self._function_starts = [s.address for s in self.functions]
        self._function_addresses = frozenset(self._function_starts)

    @property
    def comments(self) -> list[str]:
        """The texts of .ident and #ident; those of equal words once."""
        section = self._elf.get_section_by_name(".comment")
        try:
            data = section.data() if section is not None else b""
        except MALFORMED:
            return []
        return [text.decode("utf-8", "replace") for text in data.split(b"\0") if text]

    @property
    def has_symbols(self) -> bool:
        """Whether functions have names; a file that was stripped has none."""
        return bool(self.functions)

    @property
    def has_code(self) -> bool:
        """Whether there are instructions; of a file that `objcopy --only-keep-debug` made there are none."""
        return any(section.executable and section.data for section in self.sections)

    @property
    def has_debug_information(self) -> bool:
        """Whether code is described (-g); frame information alone, which libraries bring, is not that."""
        return bool(self._elf.has_dwarf_info(strict=True))

    @cached_property
    def dwarf(self) -> DWARFInfo | None:
        """Debug information; None when there is none or it cannot be read."""
        try:
            if not self._elf.has_dwarf_info():
                return None
            return self._elf.get_dwarf_info(follow_links=False)
        except MALFORMED:
            return None

    @cached_property
    def has_fault_status(self) -> bool:
        """Whether the processor the file was built for has CFSR: all Cortex-M but Armv6-M and the Armv8-M baseline."""
        section = self._elf.get_section_by_name(".ARM.attributes")
        if not isinstance(section, ARMAttributesSection):
            return True
        try:
            found = [
                int(attribute.value)
                for part in section.iter_subsections()
                for scope in part.iter_subsubsections("TAG_FILE")
                for attribute in scope.iter_attributes("TAG_CPU_ARCH")
            ]
        except MALFORMED:
            return True
        return not any(architecture in _WITHOUT_FAULT_STATUS for architecture in found)

    @cached_property
    def build_id(self) -> bytes | None:
        """The GNU build ID, in whatever section the linker script put the note; None when there is none."""
        for section in self.sections:
            for found in _BUILD_ID.finditer(b"" if section.writable else section.data):
                content = section.data[found.end() : found.end() + found[1][0]]
                if found.start() % 4 == 0 and content:
                    return content
        return None

    def symbol(self, name: str) -> Symbol | None:
        return self._by_name.get(name)

    def starts_function(self, address: int) -> bool:
        return address in self._function_addresses

    def is_discarded(self, address: int) -> bool:
        """Whether debug information that begins at `address` speaks of a function the linker threw away.

        `--gc-sections` leaves the descriptions of discarded functions behind with address 0 — where a Cortex-M has its
        vector table and, after it, real functions that those descriptions would hide.
        """
        return address == 0 and not self.starts_function(0)

    def function_at(self, address: int) -> Symbol | None:
        """The function symbol whose code covers `address`; one without a size reaches to the next symbol."""
        index = bisect_right(self._function_starts, address) - 1
        first_without_size: Symbol | None = None
        for symbol in reversed(self.functions[max(0, index - 7) : index + 1]):
            if symbol.covers(address):
                # aliases share an address: take the first in order
                return self.functions[self._first_at(symbol.address)]
            if symbol.size == 0 and first_without_size is None and symbol.address == self.functions[index].address:
                first_without_size = symbol
        return first_without_size if first_without_size and self.is_code(address) else None

    def _first_at(self, address: int) -> int:
        index = bisect_right(self._function_starts, address) - 1
        while index > 0 and self._function_starts[index - 1] == address:
            index -= 1
        return index

    def object_at(self, address: int) -> Symbol | None:
        """The variable that `address` lies in."""
        return next((s for s in self.objects if s.covers(address)), None)

    def section_at(self, address: int) -> Section | None:
        return next((s for s in self.sections if s.covers(address)), None)

    def is_code(self, address: int) -> bool:
        """Whether an instruction can stand at `address`: executable, and in no literal pool or table."""
        section = self.section_at(address)
        if section is None or not section.executable:
            return False
        index = bisect_right(self._mapping_starts, address) - 1
        if index < 0 or self._mapping_starts[index] < section.address:
            # no mapping symbol says: an x86 host program, or symbols that were stripped
            return not self._mapping_starts or self.function_at(address) is not None
        return self._mapping_is_code[index]

    def may_run(self, address: int) -> bool:
        """Whether a program counter at `address` is still in the program: at code, or at what a function has as data.

        An instruction that the assembler does not know is often written as data (`.short 0xde05`) among the others.
        A literal pool looks the same, so this says nothing of words that may be return addresses.
        """
        if self.is_code(address):
            return True
        section = self.section_at(address)
        return section is not None and section.executable and self.function_at(address) is not None

    def instruction(self, address: int, length: int) -> bytes | None:
        """`length` bytes of the file from `address` on, if a program counter may be there. Code that runs from RAM is
        as it was linked."""
        section = self.section_at(address)
        if section is None or not self.may_run(address):
            return None
        data = section.data[address - section.address :][:length]
        return data if len(data) == length else None

    def constant(self, address: int, length: int) -> bytes | None:
        """`length` bytes that the program never writes (code, constants); None when they are not all in the file."""
        section = self.section_at(address)
        if section is None or section.writable:
            return None
        data = section.data[address - section.address :][:length]
        return data if len(data) == length else None


def _sections(elf: ELFFile) -> tuple[Section, ...]:
    sections = []
    for section in elf.iter_sections():
        flags = int(section["sh_flags"])
        if not flags & _ALLOC or not section["sh_size"]:
            continue
        sections.append(
            Section(
                section.name,
                int(section["sh_addr"]),
                int(section["sh_size"]),
                b"" if section["sh_type"] == "SHT_NOBITS" else section.data(),
                writable=bool(flags & _WRITE),
                executable=bool(flags & _EXECUTE),
            )
        )
    return tuple(sections)
