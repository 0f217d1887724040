"""Functions of one compilation unit, and the functions inlined into them, as address ranges in a tree.

    Scope = name, ranges, inlined?, call_file, call_line, children: Scope*, die

Lexical blocks carry no name and are passed over: their inlined calls belong to the function around them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from elftools.dwarf.ranges import BaseAddressEntry

from harness.debug.image import Image

_MAX_DEPTH = 200  # of nested scopes and of references from one description to another; deeper is a damaged file

Range = tuple[int, int]  # first address, first address after it


@dataclass(frozen=True)
class Scope:
    name: str
    ranges: tuple[Range, ...]
    inlined: bool
    call_file: int  # number in the unit's file table of the call's place; 0 for a function of its own
    call_line: int | None
    children: tuple[Scope, ...]
    die: Any = field(default=None, compare=False, repr=False)  # pyelftools' description of it

    def covers(self, address: int) -> bool:
        return any(low <= address < high for low, high in self.ranges)

    def chain(self, address: int) -> list[Scope]:
        """The scopes around `address` from this one inwards."""
        inner = next((child for child in self.children if child.covers(address)), None)
        return [self, *inner.chain(address)] if inner else [self]


class ScopeReader:
    """Reads the scopes of the compilation unit `unit` (a pyelftools CompileUnit)."""

    def __init__(self, image: Image, unit: Any) -> None:
        self._image = image
        self._unit = unit

    def functions(self) -> list[Scope]:
        return [scope for scope in self._scopes(self._unit.get_top_DIE(), 0) if not scope.inlined]

    def ranges(self, die: Any) -> tuple[Range, ...]:
        """The code a description covers, without what the linker discarded."""
        attributes = die.attributes
        if "DW_AT_ranges" in attributes:
            found = self._listed(attributes["DW_AT_ranges"].value)
        elif "DW_AT_low_pc" in attributes and "DW_AT_high_pc" in attributes:
            low, high = attributes["DW_AT_low_pc"].value & ~1, attributes["DW_AT_high_pc"]
            # the assembler writes the Thumb bit into the addresses of its functions
            found = [(low, high.value & ~1 if high.form == "DW_FORM_addr" else low + high.value)]
        else:
            found = []
        return tuple((low, high) for low, high in found if low < high and not self._image.is_discarded(low))

    def _listed(self, offset: int) -> list[Range]:
        dwarf = self._image.dwarf
        lists = dwarf.range_lists() if dwarf is not None else None
        if lists is None:
            return []
        low = self._unit.get_top_DIE().attributes.get("DW_AT_low_pc")
        base = low.value if low else 0
        found: list[Range] = []
        for entry in lists.get_range_list_at_offset(offset, cu=self._unit):
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            else:
                start = 0 if entry.is_absolute else base
                found.append((start + entry.begin_offset, start + entry.end_offset))
        return found

    def _scopes(self, die: Any, depth: int, in_function: bool = False) -> list[Scope]:
        if depth > _MAX_DEPTH:
            return []
        found: list[Scope] = []
        for child in die.iter_children():
            if child.tag == "DW_TAG_subprogram":
                nested = self._scopes(child, depth + 1, True)
                ranges = self.ranges(child)
                # a function within a function stands beside it: it has code and calls of its own
                found += [scope for scope in nested if not scope.inlined]
                if ranges:
                    inner = tuple(scope for scope in nested if scope.inlined)
                    found.append(Scope(self._name(child), ranges, False, 0, None, inner, child))
            elif child.tag == "DW_TAG_inlined_subroutine":
                nested = self._scopes(child, depth + 1, True)
                ranges = self.ranges(child)
                if ranges:
                    file, line = (child.attributes.get(f"DW_AT_call_{what}") for what in ("file", "line"))
                    where = (file.value if file else 0, line.value or None if line else None)
                    found.append(Scope(self._name(child), ranges, True, *where, tuple(nested), child))
                else:
                    found += nested
            elif child.has_children and (child.tag not in _TYPES or (in_function and child.tag in _CLASSES)):
                # the functions of a class stand beside it, but those of one within a function: of lambdas, for one
                found += self._scopes(child, depth + 1, in_function)
        return found

    @staticmethod
    def _name(die: Any) -> str:
        name = inherited(die, "DW_AT_name")
        return "" if name is None else str(name.value.decode("utf-8", "replace"))


def inherited(die: Any, attribute: str) -> Any:
    """An attribute of a description or of the one it is an instance of; None when neither has it."""
    for _ in range(_MAX_DEPTH):
        if attribute in die.attributes:
            return die.attributes[attribute]
        origin = origin_of(die)
        if origin is None:
            break
        die = origin
    return None


def origin_of(die: Any) -> Any:
    """The description that `die` is an instance of: of an inlined function the function; None without one."""
    link = next((a for a in ("DW_AT_abstract_origin", "DW_AT_specification") if a in die.attributes), None)
    return None if link is None else die.get_DIE_from_attribute(link)


_CLASSES = frozenset(("DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_union_type"))
_TYPES = _CLASSES | frozenset(("DW_TAG_enumeration_type", "DW_TAG_array_type", "DW_TAG_subroutine_type"))


def covering(scopes: Iterable[Scope], address: int) -> Scope | None:
    """The function around `address`. Where descriptions overlap the smallest is right: the others were discarded."""
    found = [scope for scope in scopes if scope.covers(address)]
    return min(found, key=lambda scope: sum(high - low for low, high in scope.ranges), default=None)
