"""The structural verifier, on a small schema of its own and against the accessors that it makes safe."""

from __future__ import annotations

import inspect
import re
import struct
import time
from collections.abc import Callable

import flatbuffers
import pytest
import tflite

from harness.compiler.frontends.flatbuffer import MAX_TABLES, Schema, verify
from harness.compiler.frontends.tflite_schema import OPTIONS, SCHEMA
from harness.errors import ModelError

TOY = Schema.parse(
    """
    # number is wide so that alignment matters; `other` is in the files, but nobody reads it
    Root  number:i64 name:string values:[i64] kind:u8 thing:<Things> nodes:[Node] names:[string] _ late:i16
    Node  next:Node children:[Node]
    """,
    root="Root",
    identifier=b"TOY1",
    unions={"Things": {1: "Node"}},
)


def node(builder: flatbuffers.Builder, *, following: int | None = None, children: int | None = None) -> int:
    builder.StartObject(2)
    if following is not None:
        builder.PrependUOffsetTRelativeSlot(0, following, 0)
    if children is not None:
        builder.PrependUOffsetTRelativeSlot(1, children, 0)
    return builder.EndObject()


def offsets(builder: flatbuffers.Builder, targets: list[int]) -> int:
    builder.StartVector(4, len(targets), 4)
    for target in reversed(targets):
        builder.PrependUOffsetTRelative(target)
    return builder.EndVector()


def toy(nodes: Callable[[flatbuffers.Builder], list[int]] = lambda b: [node(b), node(b)], tag: int = 1) -> bytearray:
    builder = flatbuffers.Builder(256)
    name = builder.CreateString("a name")
    builder.StartVector(8, 3, 8)
    for value in (30, 20, 10):
        builder.PrependInt64(value)
    values = builder.EndVector()
    names = offsets(builder, [builder.CreateString("one"), builder.CreateString("two")])
    thing = node(builder)
    members = offsets(builder, nodes(builder))
    builder.StartObject(10)
    builder.PrependInt64Slot(0, 7, 0)
    builder.PrependUOffsetTRelativeSlot(1, name, 0)
    builder.PrependUOffsetTRelativeSlot(2, values, 0)
    builder.PrependUint8Slot(3, tag, 0)
    builder.PrependUOffsetTRelativeSlot(4, thing, 0)
    builder.PrependUOffsetTRelativeSlot(5, members, 0)
    builder.PrependUOffsetTRelativeSlot(6, names, 0)
    builder.PrependUOffsetTRelativeSlot(7, name, 0)
    builder.PrependInt16Slot(8, 5, 0)
    builder.PrependInt16Slot(9, 6, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TOY1")
    return bytearray(builder.Output())


class Place:
    """Where things are in a file, by the `flatbuffers` package's own arithmetic."""

    def __init__(self, data: bytearray) -> None:
        self.root = struct.unpack_from("<I", data, 0)[0]
        self.table = flatbuffers.table.Table(data, self.root)
        self.vtable = self.root - struct.unpack_from("<i", data, self.root)[0]

    def slot(self, slot: int) -> int:
        """Of the vtable's entry."""
        return self.vtable + 4 + 2 * slot

    def field(self, slot: int) -> int:
        return self.root + self.table.Offset(4 + 2 * slot)

    def vector(self, slot: int) -> int:
        """Of the first element; the count is 4 before."""
        return self.table.Vector(self.table.Offset(4 + 2 * slot))


def test_a_sound_file_passes() -> None:
    verify(bytes(toy()), TOY, where="f")
    verify(bytes(toy(tag=0)), TOY, where="f")


SPOILED = {
    "root out of the file": (lambda p: (0, "<I", 1 << 20), "Root: offset 1048576 does not point into the file"),
    "root unaligned": (lambda p: (0, "<I", p.root + 2), "nothing can be aligned"),
    "vtable before the file": (lambda p: (p.root, "<i", 1 << 20), "vtable is said to be at byte -"),
    "vtable after the file": (lambda p: (p.root, "<i", -(1 << 20)), "the vtable runs past the end"),
    "vtable unaligned": (lambda p: (p.root, "<i", p.root - p.vtable + 1), "vtable is said to be at byte"),
    "vtable of odd length": (lambda p: (p.vtable, "<H", 23), "a vtable cannot be 23 bytes long"),
    "vtable too long": (lambda p: (p.vtable, "<H", 0xFFFE), "the vtable runs past the end"),
    "table too long": (lambda p: (p.vtable + 2, "<H", 0xFFFE), "the table runs past the end"),
    "field outside the table": (lambda p: (p.slot(0), "<H", 400), "Root.number: is placed at 400 in a table of"),
    "field over the vtable offset": (lambda p: (p.slot(8), "<H", 2), "Root.late: is placed at 2"),
    "field unaligned": (lambda p: (p.slot(0), "<H", p.table.Offset(4) - 4), "Root.number: is not aligned to 8 bytes"),
    "string out of the file": (lambda p: (p.field(1), "<I", 0xFFFFFFF0), "Root.name: offset 4294967280 does not"),
    "string to itself": (lambda p: (p.field(1), "<I", 0), "Root.name: offset 0 does not"),
    "string of 4 GB": (lambda p: (p.vector(1) - 4, "<I", 0xFFFFFFFF), "Root.name: a string of 4294967295 bytes"),
    "string without its zero": (lambda p: (p.vector(1) - 4, "<I", 5), "does not end with a zero byte"),
    "vector of 4 GB": (lambda p: (p.vector(2) - 4, "<I", 0xFFFFFFFF), "a vector of 4294967295 elements of 8 bytes"),
    "vector unaligned": (lambda p: (p.field(2), "<I", p.vector(2) - 8 - p.field(2)), "of 8 bytes are not aligned"),
    "bad union member": (lambda p: (p.field(4), "<I", 0xFFFFFFF0), "Root.thing: offset"),
    "bad table in a vector": (lambda p: (p.vector(5) + 4, "<I", 0xFFFFFFF0), "Root.nodes[1]: offset"),
    "bad string in a vector": (lambda p: (p.vector(6), "<I", 0xFFFFFFF0), "Root.names[0]: offset"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_one_spoiled_number_is_refused_with_its_place(name: str) -> None:
    data = toy()
    change, message = SPOILED[name]
    at, layout, value = change(Place(data))
    struct.pack_into(layout, data, at, value)
    with pytest.raises(ModelError, match=re.escape(message)) as raised:
        verify(bytes(data), TOY, where="file.toy")
    assert re.fullmatch(r"file\.toy, byte 0x[0-9a-f]+", raised.value.where)


def test_what_the_schema_does_not_read_may_be_anything() -> None:
    data = toy(tag=9)  # a union member that nobody knows
    place = Place(data)
    struct.pack_into("<I", data, place.field(4), 0xFFFFFFF0)
    struct.pack_into("<I", data, place.field(7), 0xFFFFFFF0)  # the slot marked "_"
    struct.pack_into("<H", data, place.slot(9), 0xFFFF)  # a slot after the last one listed
    verify(bytes(data), TOY, where="f")


@pytest.mark.parametrize("size", range(8))
def test_too_short_for_a_header(size: int) -> None:
    with pytest.raises(ModelError, match=f"a file of {size} bytes is too short"):
        verify(bytes(toy()[:size]), TOY, where="f")


def test_wrong_identifier() -> None:
    with pytest.raises(ModelError, match=r"b'TOY1', not the identifier 'TFL3'"):
        verify(bytes(toy()), SCHEMA, where="f")


def test_truncated_anywhere() -> None:
    data = bytes(toy())
    name_end = data.rindex(b"a name\0") + 7  # what was written first stands last; then there is only padding
    for size in range(name_end):
        with pytest.raises(ModelError):
            verify(data[:size], TOY, where="f")


def test_deep_nesting_ends_in_an_error_not_in_the_stack() -> None:
    def chain(builder: flatbuffers.Builder) -> list[int]:
        last = node(builder)
        for _ in range(5000):
            last = node(builder, following=last)
        return [last]

    with pytest.raises(ModelError, match="nested more than 64 deep"):
        verify(bytes(toy(chain)), TOY, where="f")


def test_a_cycle_ends_in_an_error() -> None:
    data = toy(lambda b: [node(b, following=node(b))])
    first = Place(data).vector(5)
    at = first + struct.unpack_from("<I", data, first)[0]
    field = at + flatbuffers.table.Table(data, at).Offset(4)
    struct.pack_into("<I", data, field, (at - field) % (1 << 32))  # wraps: an unsigned offset cannot point back
    with pytest.raises(ModelError, match=r"next: offset"):
        verify(bytes(data), TOY, where="f")


def test_exponential_sharing_is_refused_quickly() -> None:
    def bomb(builder: flatbuffers.Builder) -> list[int]:
        last = node(builder)
        for _ in range(40):  # each level refers to the one below ten times: 10^40 paths
            last = node(builder, children=offsets(builder, [last] * 10))
        return [last]

    start = time.perf_counter()
    with pytest.raises(ModelError, match="its own bytes more than 4 times over"):
        verify(bytes(toy(bomb)), TOY, where="f")
    assert time.perf_counter() - start < 5


@pytest.mark.slow
def test_the_number_of_tables_is_bounded() -> None:
    data = bytes(toy(lambda b: [node(b)] * (MAX_TABLES + 1)))
    with pytest.raises(ModelError, match=f"more than {MAX_TABLES} tables"):
        verify(data, TOY, where="f")


# --- the TFLite schema against the generated accessors of the `tflite` package ----------------------------------------


def _accessors(table: str) -> dict[int, tuple[str, str]]:
    """Slot → (field, what its accessor reads), from the accessors' own code."""
    found = {}
    for name, function in vars(getattr(tflite, table)).items():
        if not inspect.isfunction(function) or name == "Init" or name.endswith(("AsNumpy", "Length", "IsNone")):
            continue
        code = inspect.getsource(function)
        slot = (int(re.search(r"_tab\.Offset\((\d+)\)", code).group(1)) - 4) // 2
        number = re.search(r"_tab\.Get\(flatbuffers\.number_types\.(\w+)Flags", code)
        member = re.search(r"obj = (\w+)\(\)", code)
        if "_tab.Union(" in code:
            kind = f"<{name}>"
        elif number or member:
            kind = number.group(1) if number else member.group(1)
            kind = f"[{kind}]" if "_tab.Vector(" in code else kind
        else:
            kind = "string"
        found[slot] = (name, kind)
    return found


def _schema_kind(kind: object) -> str:
    match type(kind).__name__:
        case "_Vector":
            return f"[{_schema_kind(kind.element)}]"
        case "_Reference":
            return kind.table
        case "_String":
            return "string"
        case "_Union":
            return "<BuiltinOptions>"
    return f"{kind.bytes} bytes"


_BYTES = {"Int8": 1, "Uint8": 1, "Bool": 1, "Int32": 4, "Uint32": 4, "Float32": 4, "Int64": 8, "Uint64": 8}


def _with_sizes(kind: str) -> str:
    name = kind.strip("[]")
    return kind.replace(name, f"{_BYTES[name]} bytes") if name in _BYTES else kind


@pytest.mark.parametrize("table", sorted(SCHEMA.tables))
def test_schema_agrees_with_the_accessors(table: str) -> None:
    accessors = _accessors(table)
    for slot, field, kind in SCHEMA.tables[table]:
        name, read = accessors[slot]
        assert name.lower() == field.replace("_", "").lower()
        assert _schema_kind(kind) == _with_sizes(read)
    if table in OPTIONS.values():  # an operator may read any of its options: none may be missing
        assert set(accessors) == {slot for slot, _, _ in SCHEMA.tables[table]}


def test_every_builtin_option_is_verified() -> None:
    assert set(OPTIONS.values()) <= set(SCHEMA.tables)
    assert OPTIONS[tflite.BuiltinOptions.Conv2DOptions] == "Conv2DOptions"
