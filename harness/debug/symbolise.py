"""From an address to function, file and line, through every function inlined there.

DWARF is read lazily: the compilation unit around an address when that address is first asked for. Code without debug
information (a C library, hand-written assembly) still gets the name of its ELF symbol.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.debug.dwarf.lines import Line, LineTable
from harness.debug.dwarf.scopes import Range, Scope, ScopeReader, covering, inherited
from harness.debug.image import MALFORMED, Image
from harness.debug.source_files import SourceFiles


@dataclass(frozen=True)
class Place:
    """One function at an address. `inlined`: the compiler merged its code into the next outer one."""

    function: str | None
    file: str | None
    line: int | None
    inlined: bool = False
    scope: Scope | None = field(default=None, compare=False, repr=False)  # the function in debug information
    start: int | None = field(default=None, compare=False)  # line the function begins at, where that is known


class _Unit:
    """One compilation unit; each part of it is parsed when it is first needed."""

    def __init__(self, image: Image, unit: Any) -> None:
        self._image = image
        self._unit = unit
        self._reader = ScopeReader(image, unit)

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        top = self._unit.get_top_DIE()
        return self._reader.ranges(top) or tuple(self.lines.spans)

    @cached_property
    def lines(self) -> LineTable:
        assert self._image.dwarf is not None
        folder = self._unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
        program = self._image.dwarf.line_program_for_CU(self._unit)
        return LineTable(self._image, program, folder.value.decode("utf-8", "replace") if folder else "")

    @cached_property
    def functions(self) -> list[Scope]:
        return self._reader.functions()


class Symboliser:
    """Answers for one image, and keeps them. `search` is that of `SourceFiles`."""

    def __init__(self, image: Image, search: Sequence[Path] = ()) -> None:
        self.image = image
        self._files = SourceFiles(search)
        self._known: dict[tuple[int, bool], tuple[Place, ...]] = {}

    def at(self, address: int, *, executed: bool = False) -> tuple[Place, ...]:
        """The functions at `address`, innermost first; the last is the one that has code of its own.

        Empty when nothing is known of the address. The Thumb bit is ignored. For a return address pass an address
        inside the call, `return_address - 1`: the code after the call may belong to another line or function.
        `executed`: a program counter stood there, so that what a function has as data counts as well.
        """
        key = address & ~1, executed
        if key not in self._known:
            may_be = self.image.may_run if executed else self.image.is_code
            self._known[key] = self._look_up(key[0]) if may_be(key[0]) or not self.image.is_arm else ()
        return self._known[key]

    def _look_up(self, address: int) -> tuple[Place, ...]:
        symbol = self.image.function_at(address)
        try:
            unit = self._unit_at(address)
            if unit is not None:
                function = covering(unit.functions, address)
                line = unit.lines.at(address)
                if function is not None:
                    return self._chain(unit, function, address, line)
                if line is not None:
                    return (self._place(symbol.name if symbol else None, line),)
        except MALFORMED:
            pass  # damaged debug information: the symbol table may still be right
        return (Place(symbol.name, None, None),) if symbol else ()

    def _chain(self, unit: _Unit, function: Scope, address: int, line: Line | None) -> tuple[Place, ...]:
        # the line table has the innermost place; each inlined scope says from where it was called, which is the place
        # in the scope around it
        places = []
        for scope in reversed(function.chain(address)):
            places.append(
                replace(
                    self._place(scope.name or None, line, scope.inlined), scope=scope, start=_first_line(unit, scope)
                )
            )
            line = Line(address, unit.lines.file(scope.call_file), scope.call_line)
        return tuple(places)

    def _place(self, function: str | None, line: Line | None, inlined: bool = False) -> Place:
        if line is None or not line.file:
            return Place(function, None, None, inlined)
        return Place(function, self._files.openable(line.file), line.line, inlined)

    def unit_lines(self, address: int) -> LineTable | None:
        """The line table of the compilation unit around `address`."""
        try:
            unit = self._unit_at(address)
            return unit.lines if unit is not None else None
        except MALFORMED:
            return None

    def ranges_of(self, die: Any) -> tuple[Range, ...]:
        """The code that a description, such as that of a lexical block, covers."""
        return ScopeReader(self.image, die.cu).ranges(die)

    def _unit_at(self, address: int) -> _Unit | None:
        starts, ranges = self._index
        index = bisect_right(starts, address)
        # ranges seldom overlap, and then only by what a linker discarded: look back a little and take the closest
        for low, high, unit in reversed(ranges[max(0, index - 8) : index]):
            if low <= address < high:
                return unit
        return None

    @cached_property
    def _index(self) -> tuple[list[int], list[tuple[int, int, _Unit]]]:
        ranges: list[tuple[int, int, _Unit]] = []
        dwarf = self.image.dwarf
        try:
            for compilation in dwarf.iter_CUs() if dwarf is not None else ():
                unit = _Unit(self.image, compilation)
                ranges += [(low, high, unit) for low, high in unit.ranges]
        except MALFORMED:
            pass  # keep the units before the damage
        ranges.sort(key=lambda entry: entry[:2])
        return [low for low, _, _ in ranges], ranges


def _first_line(unit: _Unit, scope: Scope) -> int | None:
    """Where a function is declared, or, as of assembly, the line of its first instruction."""
    declared = inherited(scope.die, "DW_AT_decl_line")
    if declared is not None:
        return int(declared.value)
    first = None if scope.inlined else unit.lines.at(min(low for low, _ in scope.ranges))
    return first.line if first is not None else None
