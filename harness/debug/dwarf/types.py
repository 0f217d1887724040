"""The type of a variable, as debug information describes it.

    Type = name, kind, size, and by kind: target | element, count | members: Member* | enumerators
    Member = name, type, offset, bits?

Read lazily, one description at a time: a structure may hold a pointer to itself, and a file may be damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from harness.debug.image import MALFORMED

Kind = Literal["signed", "unsigned", "bool", "char", "float", "enum", "pointer", "record", "array", "function", "other"]

_MAX_DEPTH = 50  # of typedefs, qualifiers and pointers upon one another; deeper is a damaged file
_QUALIFIERS = {
    "DW_TAG_const_type": "const",
    "DW_TAG_volatile_type": "volatile",
    "DW_TAG_restrict_type": "restrict",
    "DW_TAG_atomic_type": "_Atomic",
}
_KINDS: Mapping[str, Kind] = {
    "DW_TAG_enumeration_type": "enum",
    "DW_TAG_pointer_type": "pointer",
    "DW_TAG_structure_type": "record",
    "DW_TAG_union_type": "record",
    "DW_TAG_class_type": "record",
    "DW_TAG_array_type": "array",
    "DW_TAG_subroutine_type": "function",
}
_KEYWORDS = {"DW_TAG_structure_type": "struct", "DW_TAG_union_type": "union", "DW_TAG_enumeration_type": "enum"}
# DW_ATE_*, DWARF 5 table 7.11
_BOOLEAN, _FLOAT, _SIGNED, _SIGNED_CHAR, _UNSIGNED, _UNSIGNED_CHAR, _UTF = 2, 4, 5, 6, 7, 8, 16
_ENCODINGS: Mapping[int, Kind] = {
    _BOOLEAN: "bool",
    _FLOAT: "float",
    _SIGNED: "signed",
    _SIGNED_CHAR: "signed",
    _UNSIGNED: "unsigned",
    _UNSIGNED_CHAR: "unsigned",
    _UTF: "unsigned",
}


@dataclass(frozen=True)
class Member:
    name: str
    type: Type
    offset: int  # bytes from the start of the record
    bits: tuple[int, int] | None = None  # of a bit-field: position counted from the lowest bit at `offset`, and width


class Type:
    """`die` is pyelftools' description of the type; None stands for void. What is malformed raises one of MALFORMED."""

    def __init__(self, die: Any, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("a type that is made of types without end")
        self._die = die
        self._depth = depth

    @cached_property
    def bare(self) -> Type:
        """Without typedefs and qualifiers."""
        if self._tag in _QUALIFIERS or self._tag == "DW_TAG_typedef":
            return self.target.bare
        return self

    @cached_property
    def target(self) -> Type:
        """What a pointer points to, a typedef or qualifier stands before, an array is made of."""
        has = self._die is not None and "DW_AT_type" in self._die.attributes
        return Type(self._die.get_DIE_from_attribute("DW_AT_type") if has else None, self._depth + 1)

    @cached_property
    def name(self) -> str:
        """As C writes it, such as `const int8_t *restrict` or `int[4]`."""
        try:
            return self._written()
        except MALFORMED:
            return "?"

    def _written(self) -> str:
        named = self._text("DW_AT_name")
        if self._die is None:
            return "void"
        if self._tag in _QUALIFIERS:
            word, target = _QUALIFIERS[self._tag], self.target
            return f"{target.name}{word}" if target.name.endswith("*") else f"{word} {target.name}"
        if self._tag == "DW_TAG_pointer_type":
            if self.target.bare.kind == "function":
                return f"{self.target.bare.target.name} (*)()"
            return f"{self.target.name}{'' if self.target.name.endswith('*') else ' '}*"
        if self._tag == "DW_TAG_array_type":
            return self.target.name + "".join("[]" if count is None else f"[{count}]" for count in self.counts)
        if self._tag in _KEYWORDS:
            return f"{_KEYWORDS[self._tag]} {named}" if named else _KEYWORDS[self._tag]
        return named or "?"

    @cached_property
    def kind(self) -> Kind:
        """Of the type itself: ask that of `bare`."""
        if self._tag == "DW_TAG_base_type":
            if self._text("DW_AT_name") == "char":
                return "char"
            return _ENCODINGS.get(self._number("DW_AT_encoding") or 0, "other")
        return _KINDS.get(self._tag, "other")

    @cached_property
    def size(self) -> int | None:
        """Bytes; None where the file does not say."""
        bare = self.bare
        if bare.kind == "array":
            total = bare.target.size
            for count in bare.counts:
                total = None if total is None or count is None else total * count
            return total
        found = bare._number("DW_AT_byte_size")
        return 4 if found is None and bare.kind == "pointer" else found

    @cached_property
    def counts(self) -> tuple[int | None, ...]:
        """Elements of an array in each dimension; None where that is known only at run time."""
        return tuple(_count(child) for child in self._children("DW_TAG_subrange_type"))

    @property
    def signed(self) -> bool:
        """Whether numbers of this type can be negative; plain char on Arm cannot, other compilers may say otherwise."""
        encoding = self._number("DW_AT_encoding")
        if self.kind == "enum" and encoding is None:
            return any(value < 0 for value in self.enumerators)
        return encoding in (_SIGNED, _SIGNED_CHAR)

    @cached_property
    def enumerators(self) -> Mapping[int, str]:
        found: dict[int, str] = {}
        for child in self._children("DW_TAG_enumerator"):
            found.setdefault(int(child.attributes["DW_AT_const_value"].value), text_of(child, "DW_AT_name"))
        return found

    def members(self) -> Iterator[Member]:
        """Those of a record, in their order."""
        for child in self._children("DW_TAG_member"):
            attributes = child.attributes
            type_ = Type(child.get_DIE_from_attribute("DW_AT_type"), self._depth + 1)
            place = attributes.get("DW_AT_data_member_location")
            offset = int(place.value) if place is not None else 0
            bits = None
            if "DW_AT_bit_size" in attributes:
                width = int(attributes["DW_AT_bit_size"].value)
                if "DW_AT_data_bit_offset" in attributes:
                    first = int(attributes["DW_AT_data_bit_offset"].value)
                    offset, bits = first // 8, (first % 8, width)
                elif "DW_AT_bit_offset" in attributes:  # DWARF 3: counted from the highest bit of its storage unit
                    storage = 8 * int(attributes["DW_AT_byte_size"].value if "DW_AT_byte_size" in attributes
                                      else type_.size or 0)  # fmt: skip
                    bits = (storage - int(attributes["DW_AT_bit_offset"].value) - width, width)
            yield Member(text_of(child, "DW_AT_name"), type_, offset, bits)

    @property
    def _tag(self) -> str:
        return "" if self._die is None else str(self._die.tag)

    def _text(self, attribute: str) -> str:
        return "" if self._die is None else text_of(self._die, attribute)

    def _number(self, attribute: str) -> int | None:
        found = None if self._die is None else self._die.attributes.get(attribute)
        return None if found is None or not isinstance(found.value, int) else found.value

    def _children(self, tag: str) -> Iterator[Any]:
        return iter(()) if self._die is None else (c for c in self._die.iter_children() if c.tag == tag)


def text_of(die: Any, attribute: str) -> str:
    """A description's string attribute; empty without one."""
    found = die.attributes.get(attribute)
    return "" if found is None else found.value.decode("utf-8", "replace")


def _count(subrange: Any) -> int | None:
    for attribute, more in (("DW_AT_count", 0), ("DW_AT_upper_bound", 1)):
        found = subrange.attributes.get(attribute)
        if found is not None:
            # an expression or a reference stands there where the bound is a variable
            return (
                found.value + more if isinstance(found.value, int) and found.form.startswith("DW_FORM_data") else None
            )
    return None
