"""A variable's bytes as C would write the value, shortened to a line."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from harness.debug.dwarf.location import OPTIMISED_OUT, Content, InBytes, Unknown
from harness.debug.dwarf.types import Member, Type
from harness.debug.image import MALFORMED
from harness.debug.memory import Memory

_ELEMENTS = 8  # of an array that are shown
_MEMBERS = 8  # of a structure
_DEPTH = 3  # of arrays and structures within one another
_CHARACTERS = 48  # of a string
_HEXADECIMAL = 0x1000  # unsigned numbers from here on are shown in both ways: they may be addresses
_SCALARS = frozenset({"signed", "unsigned", "bool", "char", "enum", "pointer"})


@dataclass(frozen=True)
class ValuePrinter:
    """`describe(address)` is a short name of what lies at an address, empty without one."""

    memory: Memory
    describe: Callable[[int], str]

    def shown(self, type_: Type, content: Content, depth: int = 0) -> str:
        """Raises Unknown when nothing of it is known, or one of MALFORMED."""
        bare = type_.bare
        if bare.kind == "array":
            return self._array(bare, content, depth)
        if bare.kind == "record":
            return self._record(bare, content, depth)
        if bare.kind == "float":
            return _float(content.read(0, size_of(bare)))
        number = scalar(type_, content)
        if number is None:
            return "0x" + content.read(0, size_of(bare))[:8][::-1].hex()
        if bare.kind == "pointer":
            return self._pointer(bare, number)
        if bare.kind == "bool":
            return {0: "false", 1: "true"}.get(number, f"{number} (a bool that is neither true nor false)")
        if bare.kind == "enum":
            return bare.enumerators.get(number, f"{number} (no enumerator of {bare.name})")
        if bare.kind == "char":
            return f"{_quoted(bytes([number & 255]), chr(39))} ({number})"
        return f"{number} (0x{number:x})" if not bare.signed and number >= _HEXADECIMAL else str(number)

    def _pointer(self, bare: Type, number: int) -> str:
        if number == 0:
            return "NULL"
        text = f"0x{number:08x}"
        target = bare.target
        # int8_t is a number: only what is called char is text
        if target.kind == "char" or (target.name in ("const char", "volatile char") and target.bare.kind == "char"):
            string = self._string(number)
            if string is not None:
                return f"{text} {string}"
        place = self.describe(number)
        return f"{text} → {place}" if place else text

    def _string(self, address: int) -> str | None:
        data = b""
        while len(data) <= _CHARACTERS and not data.endswith(b"\0"):
            byte = self.memory.read(address + len(data), 1)
            if byte is None:
                return None
            data += byte
        text = data.rstrip(b"\0")
        return _quoted(text[:_CHARACTERS], '"') + ("…" if len(text) > _CHARACTERS else "")

    def _array(self, bare: Type, content: Content, depth: int) -> str:
        return self._row(bare.target, bare.counts, content, 0, depth)

    def _row(self, element: Type, counts: tuple[int | None, ...], content: Content, offset: int, depth: int) -> str:
        """The part of an array that begins at `offset` and has `counts` elements in each of its dimensions."""
        size, count = element.size, counts[0] if counts else None
        for inner in counts[1:]:
            size = None if size is None or inner is None else size * inner
        if not size or count is None or depth >= _DEPTH:
            return "{…}"
        if element.bare.kind == "char" and len(counts) == 1:
            return _quoted(content.read(offset, min(count, _CHARACTERS)).split(b"\0")[0], '"')
        shown, why = [], ""
        for index in range(min(count, _ELEMENTS)):
            place = offset + index * size
            try:
                if len(counts) > 1:
                    shown.append(self._row(element, counts[1:], content, place, depth + 1))
                else:
                    shown.append(self.shown(element, _Part(content, place), depth + 1))
            except Unknown as reason:
                why = str(reason)
                shown.append(why)
        if why and all(text == why for text in shown):
            raise Unknown(why)
        return "{" + ", ".join([*shown, *([f"… {count} in all"] if count > _ELEMENTS else [])]) + "}"

    def _record(self, bare: Type, content: Content, depth: int) -> str:
        if depth >= _DEPTH:
            return "{…}"
        shown = []
        known, why = False, OPTIMISED_OUT
        members = list(islice(bare.members(), _MEMBERS + 1))
        for member in members[:_MEMBERS]:
            text, found = self._member(member, content, depth)
            known |= found
            why = text if not found else why
            shown.append(f"{member.name} = {text}" if member.name else text)
        if shown and not known:
            raise Unknown(why)
        return "{" + ", ".join([*shown, *(["…"] if len(members) > _MEMBERS else [])]) + "}"

    def _member(self, member: Member, content: Content, depth: int) -> tuple[str, bool]:
        if member.bits is None:
            return self._part(member.type, content, member.offset, size_of(member.type), depth)
        first, width = member.bits
        try:
            data = content.read(member.offset + first // 8, (first % 8 + width + 7) // 8)
        except Unknown as why:
            return str(why), False
        number = int.from_bytes(data, "little") >> first % 8 & (1 << width) - 1
        if member.type.bare.signed and number >> width - 1:
            number -= 1 << width
        size = size_of(member.type)
        return self.shown(member.type, InBytes((number & (1 << 8 * size) - 1).to_bytes(size, "little"))), True

    def _part(self, type_: Type, content: Content, offset: int, size: int, depth: int) -> tuple[str, bool]:
        """The text of a part, or why it is not known; and whether it is."""
        try:
            return self.shown(type_, _Part(content, offset), depth + 1), True
        except Unknown as why:
            return str(why), False


class _Part(Content):
    def __init__(self, whole: Content, offset: int) -> None:
        self._whole, self._offset = whole, offset

    def read(self, offset: int, size: int) -> bytes:
        return self._whole.read(self._offset + offset, size)


def scalar(type_: Type, content: Content) -> int | None:
    """The value of an integer, enumerator, character or pointer; None for a type of another kind. Raises Unknown."""
    bare = type_.bare
    if bare.kind not in _SCALARS:
        return None
    size = size_of(bare)
    return int.from_bytes(content.read(0, size), "little", signed=bare.kind != "pointer" and bare.signed)


def size_of(type_: Type) -> int:
    """Bytes of a value of this type. Raises Unknown, also for a size that no variable has."""
    size = type_.size
    if size is None or not 0 < size <= 1 << 20:
        raise Unknown("of a type whose size is not known")
    return size


def _float(data: bytes) -> str:
    formats = {2: np.float16, 4: np.float32}
    if len(data) in formats:
        return str(np.frombuffer(data, formats[len(data)])[0])
    if len(data) == 8:
        return str(struct.unpack("<d", data)[0])
    raise Unknown("a float of a size that is not known")


def _quoted(data: bytes, quote: str) -> str:
    """As a C literal; nothing in it can act on a terminal."""
    text = data.decode("latin-1")
    escaped = (
        "\\" + c if c in ("\\", quote) else c if " " <= c <= "~" else c.encode("unicode_escape").decode()
        if c in "\n\r\t" else f"\\x{ord(c):02x}"
        for c in text
    )  # fmt: skip
    return quote + "".join(escaped) + quote


# What reading the debug information of a variable can raise, apart from Unknown.
UNREADABLE = (*MALFORMED, struct.error)
