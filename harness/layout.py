"""Binary layouts that Python and the firmware share, described once as dataclasses.

    class Span(Struct):                       struct span {
        offset: U32                               uint32_t offset;
        name: Annotated[bytes, Array(8)]          uint8_t name[8];
        data: Tail                            };                     the tail follows the struct

A `Struct` is a frozen dataclass whose annotations say how each field is stored: little-endian, each field aligned to
its own size, no hidden padding, so that a C struct of the same fields has the same bytes on every processor. A field of
type `Tail` may stand last: all bytes that follow the fixed part.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, cast, get_type_hints

_S = TypeVar("_S", bound="Struct")


class LayoutError(ValueError):
    """Bytes that do not fit the layout they were said to have, or a value that does not fit its field."""


@dataclass(frozen=True)
class Scalar:
    """An integer, held as int."""

    code: str  # of the module struct
    c: str

    @property
    def size(self) -> int:
        return struct.calcsize(self.code)


@dataclass(frozen=True)
class Array:
    """A fixed number of bytes, held as bytes; or of 32-bit words, held as a tuple of int."""

    count: int
    word: Scalar = Scalar("B", "uint8_t")


class _Rest:
    """Marks the tail."""


U8 = Annotated[int, Scalar("B", "uint8_t")]
I8 = Annotated[int, Scalar("b", "int8_t")]
U16 = Annotated[int, Scalar("H", "uint16_t")]
U32 = Annotated[int, Scalar("I", "uint32_t")]
WORD = Scalar("I", "uint32_t")
Tail = Annotated[bytes, _Rest()]


@dataclass(frozen=True)
class Field:
    name: str
    kind: Scalar | Array
    offset: int  # bytes from the start of the struct

    @property
    def size(self) -> int:
        return self.kind.size if isinstance(self.kind, Scalar) else self.kind.count * self.kind.word.size

    @property
    def alignment(self) -> int:
        return self.kind.size if isinstance(self.kind, Scalar) else self.kind.word.size

    def declare(self) -> str:
        """The C declaration of the field, without indentation."""
        if isinstance(self.kind, Scalar):
            return f"{self.kind.c} {self.name};"
        return f"{self.kind.word.c} {self.name}[{self.kind.count}];"

    def store(self, value: Any) -> bytes:
        if isinstance(self.kind, Scalar):
            return struct.pack("<" + self.kind.code, value)
        if len(value) != self.kind.count:
            raise LayoutError(f"{self.name}: {len(value)} elements where {self.kind.count} belong")
        return struct.pack(f"<{self.kind.count}{self.kind.word.code}", *value)

    def load(self, data: bytes) -> Any:
        if isinstance(self.kind, Scalar):
            return struct.unpack_from("<" + self.kind.code, data, self.offset)[0]
        if self.kind.word.size == 1:
            return data[self.offset : self.offset + self.kind.count]
        return struct.unpack_from(f"<{self.kind.count}{self.kind.word.code}", data, self.offset)


@dataclass(frozen=True)
class Layout:
    fields: tuple[Field, ...]
    size: int  # of the fixed part, bytes
    tail: str | None  # the field that holds what follows


class Struct:
    """Base of every shared layout; subclasses are frozen dataclasses."""

    @classmethod
    def layout(cls) -> Layout:
        known: Any = cls
        return _layout(known)

    def pack(self) -> bytes:
        """The bytes of this value. LayoutError: a field's value is out of range."""
        layout = self.layout()
        try:
            parts = [field.store(getattr(self, field.name)) for field in layout.fields]
        except struct.error as error:
            raise LayoutError(f"{type(self).__name__}: {error}") from error
        return b"".join(parts) + (getattr(self, layout.tail) if layout.tail else b"")

    @classmethod
    def unpack(cls: type[_S], data: bytes) -> _S:
        """The value that `data` holds, whole. LayoutError: too short, or longer than the layout allows."""
        layout = cls.layout()
        if len(data) < layout.size or (layout.tail is None and len(data) > layout.size):
            raise LayoutError(f"{cls.__name__}: {len(data)} bytes where {layout.size} belong")
        values = {field.name: field.load(data) for field in layout.fields}
        if layout.tail:
            values[layout.tail] = data[layout.size :]
        return cls(**values)


@cache
def _layout(cls: type[Any]) -> Layout:
    fields: list[Field] = []
    tail = None
    offset = 0
    for name, hint in get_type_hints(cls, include_extras=True).items():
        kinds = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, (Scalar, Array, _Rest))]
        if not kinds:
            continue
        if tail is not None:
            raise TypeError(f"{cls.__name__}.{name}: nothing can follow the tail {tail}")
        if isinstance(kinds[0], _Rest):
            tail = name
            continue
        field = Field(name, kinds[0], offset)
        if offset % field.alignment:
            raise TypeError(f"{cls.__name__}.{name}: offset {offset} is not a multiple of {field.alignment}")
        fields.append(field)
        offset += field.size
    widest = max((field.alignment for field in fields), default=1)
    if offset % widest:
        raise TypeError(f"{cls.__name__}: C would pad its {offset} bytes to a multiple of {widest}")
    return Layout(tuple(fields), offset, tail)


def describe(cls: type[Struct]) -> str:
    """One canonical line a layout: what the schema hash is made of."""
    layout = cls.layout()
    fields = ", ".join(f"{field.declare()[:-1]} @{field.offset}" for field in layout.fields)
    return f"{cls.__name__}({layout.size}): {fields}" + (f", {layout.tail}[]" if layout.tail else "")


def render_struct(cls: type[Struct], name: str, static_assert: str = "_Static_assert") -> str:
    """`struct name { … };` and assertions that the compiler lays it out as Python does. Empty without fixed fields."""
    layout = cls.layout()
    if not layout.fields:
        return ""
    lines = [f"struct {name} {{", *(f"    {field.declare()}" for field in layout.fields), "};"]
    lines.extend(
        f'{static_assert}(offsetof(struct {name}, {field.name}) == {field.offset}, "{name}.{field.name}");'
        for field in layout.fields
    )
    lines.append(f'{static_assert}(sizeof(struct {name}) == {layout.size}, "{name}");')
    return "\n".join(lines) + "\n"


def summary(cls: type[Struct]) -> str:
    """First paragraph of the class's docstring, on one line: the comment above its C form."""
    return " ".join(cast(str, cls.__doc__).strip().split("\n\n")[0].split())
