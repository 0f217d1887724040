"""Checks the structure of a flatbuffer before anything reads it.

The generated accessors of the `flatbuffers` package trust their input: an offset out of the file is an exception in
the middle of nowhere, a false vector length is gigabytes of garbage. `verify` walks everything that a schema says can
be read, and refuses the file at the first offset, length or alignment that is not sound; afterwards the accessors are
safe on exactly those tables and fields. The schema is text:

    schema = table*                     one a line; a line that starts with "#" is a comment
    table  = Name field*                fields in slot order; slots after the last one listed are not looked at
    field  = name:type | _              "_": a slot that the file may fill and we never read
    type   = scalar | string | Name | [scalar] | [string] | [Name] | <Name>
    scalar = i8 | u8 | bool | i16 | u16 | i32 | u32 | f32 | i64 | u64
    <Name>                              a union, tagged by the u8 in the slot before; Name is the caller's table of tags

Layout checked, after https://flatbuffers.dev/internals: a table starts with the signed distance back to its vtable;
a vtable is u16s: its own bytes, the table's bytes, then each field's place in the table, 0 for absent; offsets to
strings, vectors and tables are unsigned, relative to where they stand; strings and vectors start with a u32 count.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from harness.errors import ModelError

MAX_DEPTH = 64  # tables inside tables; the format's own verifier uses the same
MAX_TABLES = 1 << 18  # a model of a thousand layers has about ten thousand
MAX_REUSE = 4  # times over that the file's bytes may be visited: sharing is legal, exponential sharing is an attack
_FREE_WORK = 1 << 16  # bytes, so that tiny files may share freely

_SCALARS = {"i8": 1, "u8": 1, "bool": 1, "i16": 2, "u16": 2, "i32": 4, "u32": 4, "f32": 4, "i64": 8, "u64": 8}
_HINT = "The file is damaged or was not written by a TensorFlow Lite converter; export the model again."

Tags = Mapping[int, str]  # union tag → table


@dataclass(frozen=True)
class _Scalar:
    bytes: int


@dataclass(frozen=True)
class _String:
    bytes: int = 4


@dataclass(frozen=True)
class _Reference:
    table: str
    bytes: int = 4


@dataclass(frozen=True)
class _Vector:
    element: _Scalar | _String | _Reference
    bytes: int = 4


@dataclass(frozen=True)
class _Union:
    tags: Tags
    bytes: int = 4


_Type = _Scalar | _String | _Reference | _Vector | _Union
_Path = tuple["_Path | None", str]  # linked from the leaf up, so that it costs nothing until an error needs it


@dataclass(frozen=True)
class Schema:
    """What can be read from a file: its root table, and the fields of each table as (slot, name, type)."""

    root: str
    identifier: bytes  # the four bytes at offset 4
    tables: Mapping[str, tuple[tuple[int, str, _Type], ...]]

    @classmethod
    def parse(cls, text: str, *, root: str, identifier: bytes, unions: Mapping[str, Tags] | None = None) -> Schema:
        """Reads the grammar above. `unions` maps the name in <Name> to its tags; an unknown name is a KeyError."""
        tables: dict[str, tuple[tuple[int, str, _Type], ...]] = {}
        for line in text.splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            table, *fields = line.split()
            read = [(slot, field.partition(":")) for slot, field in enumerate(fields) if field != "_"]
            tables[table] = tuple((slot, name, _parse_type(kind, unions or {})) for slot, (name, _, kind) in read)
        return cls(root, identifier, tables)


def _parse_type(text: str, unions: Mapping[str, Tags]) -> _Type:
    if text.startswith("<"):
        return _Union(unions[text[1:-1]])
    if text.startswith("["):
        element = _parse_type(text[1:-1], unions)
        if isinstance(element, (_Vector, _Union)):
            raise ValueError(f"a schema cannot have {text}")
        return _Vector(element)
    if text == "string":
        return _String()
    return _Scalar(_SCALARS[text]) if text in _SCALARS else _Reference(text)


def verify(data: bytes, schema: Schema, *, where: str) -> None:
    """Raises `ModelError` naming `where`, the byte offset and the field unless all of `schema` is readable in `data`.

    Time and memory are linear in the size of `data`, whatever is in it.
    """
    if len(data) < 8:
        raise ModelError(f"a file of {len(data)} bytes is too short to hold a model", where=where, hint=_HINT)
    if data[4:8] != schema.identifier:
        wanted = schema.identifier.decode("ascii")
        raise ModelError(f"bytes 4 to 7 are {data[4:8]!r}, not the identifier {wanted!r}", where=where)
    walk = _Walk(data, schema, where)
    path: _Path = (None, schema.root)
    walk.table(schema.root, walk.follow(0, path), path, 0)


class _Walk:
    def __init__(self, data: bytes, schema: Schema, where: str) -> None:
        self.data = data
        self.schema = schema
        self.where = where
        self.work = MAX_REUSE * len(data) + _FREE_WORK  # bytes that may still be visited
        self.tables = MAX_TABLES  # and tables

    def table(self, name: str, at: int, path: _Path, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.fail(at, path, f"tables are nested more than {MAX_DEPTH} deep")
        self.tables -= 1
        if self.tables < 0:
            self.fail(at, path, f"the file has more than {MAX_TABLES} tables")
        vtable = at - self.number("<i", at, path, "the table")
        if vtable < 0 or vtable % 2:
            self.fail(at, path, f"its vtable is said to be at byte {vtable}")
        vtable_bytes = self.number("<H", vtable, path, "the vtable")
        table_bytes = self.number("<H", vtable + 2, path, "the vtable")
        if vtable_bytes < 4 or vtable_bytes % 2:
            self.fail(vtable, path, f"a vtable cannot be {vtable_bytes} bytes long")
        self.spend(vtable, vtable_bytes, path, "the vtable")
        self.spend(at, table_bytes, path, "the table")
        slots = struct.unpack_from(f"<{vtable_bytes // 2 - 2}H", self.data, vtable + 4)

        def place(slot: int) -> int:
            return slots[slot] if slot < len(slots) else 0

        for slot, field, kind in self.schema.tables[name]:
            offset = place(slot)
            if offset == 0:
                continue
            child: _Path = (path, f".{field}")
            if offset < 4 or offset + kind.bytes > table_bytes:
                self.fail(vtable + 4 + 2 * slot, child, f"is placed at {offset} in a table of {table_bytes} bytes")
            if (at + offset) % kind.bytes:
                self.fail(at + offset, child, f"is not aligned to {kind.bytes} bytes")
            if isinstance(kind, _Union):
                tag = self.data[at + place(slot - 1)] if place(slot - 1) else 0
                if tag in kind.tags:  # an unknown tag is a table we never read
                    self.value(_Reference(kind.tags[tag]), at + offset, child, depth)
            else:
                self.value(kind, at + offset, child, depth)

    def value(self, kind: _Type, at: int, path: _Path, depth: int) -> None:
        if isinstance(kind, _Reference):
            self.table(kind.table, self.follow(at, path), path, depth + 1)
        elif isinstance(kind, _String):
            self.string(self.follow(at, path), path)
        elif isinstance(kind, _Vector):
            self.vector(kind.element, self.follow(at, path), path, depth)

    def vector(self, element: _Scalar | _String | _Reference, at: int, path: _Path, depth: int) -> None:
        count = self.number("<I", at, path, "the vector")
        start = at + 4
        if count and start % element.bytes:
            self.fail(start, path, f"elements of {element.bytes} bytes are not aligned")
        self.spend(start, count * element.bytes, path, f"a vector of {count} elements of {element.bytes} bytes")
        if not isinstance(element, _Scalar):
            for index in range(count):
                self.value(element, start + 4 * index, (path, f"[{index}]"), depth)

    def string(self, at: int, path: _Path) -> None:
        count = self.number("<I", at, path, "the string")
        self.spend(at + 4, count + 1, path, f"a string of {count} bytes and its terminator")
        if self.data[at + 4 + count] != 0:
            self.fail(at + 4 + count, path, "the string does not end with a zero byte")

    def follow(self, at: int, path: _Path) -> int:
        """Where the unsigned offset at `at` points to."""
        offset = self.number("<I", at, path, "the offset")
        if offset == 0 or at + offset > len(self.data):
            self.fail(at, path, f"offset {offset} does not point into the file ({len(self.data)} bytes)")
        if offset % 4:
            self.fail(at, path, f"offset {offset} points to where nothing can be aligned")
        return at + offset

    def number(self, layout: str, at: int, path: _Path, what: str) -> int:
        size = struct.calcsize(layout)
        if at % size:
            self.fail(at, path, f"{what} is not aligned to {size} bytes")
        if at + size > len(self.data):
            self.fail(at, path, f"{what} runs past the end of the file ({len(self.data)} bytes)")
        return int(struct.unpack_from(layout, self.data, at)[0])

    def spend(self, at: int, count: int, path: _Path, what: str) -> None:
        """`count` bytes from `at` are going to be read: they must be there, and not over and over again."""
        if at + count > len(self.data):
            self.fail(at, path, f"{what} runs past the end of the file ({len(self.data)} bytes)")
        self.work -= count
        if self.work < 0:
            self.fail(at, path, f"the file refers to its own bytes more than {MAX_REUSE} times over")

    def fail(self, at: int, path: _Path, what: str) -> NoReturn:
        labels = []
        node: _Path | None = path
        while node is not None:
            node, label = node
            labels.append(label)
        raise ModelError(f"{''.join(reversed(labels))}: {what}", where=f"{self.where}, byte {at:#x}", hint=_HINT)
