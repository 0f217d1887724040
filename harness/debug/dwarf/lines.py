"""The line table of one compilation unit: address to source file and line."""

from __future__ import annotations

import posixpath
from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from harness.debug.image import Image


@dataclass(frozen=True)
class Line:
    address: int
    file: str
    line: int | None  # None: the compiler says that no line stands for this code
    statement: bool = True  # a good place to stop: the code at this address begins a statement


@dataclass(frozen=True)
class _Sequence:
    start: int
    end: int  # first address that it no longer describes
    rows: tuple[Line, ...]  # by address, one per address


class LineTable:
    """Line rows and file names of a compilation unit. `program` is pyelftools' line program of it, or None."""

    def __init__(self, image: Image, program: Any, directory: str) -> None:
        self._header = program.header if program is not None else None
        self._directory = directory
        self._names: dict[int, str] = {}
        self._sequences = sorted(self._decode(image, program), key=attrgetter("start")) if program is not None else []
        self._starts = [sequence.start for sequence in self._sequences]

    def at(self, address: int) -> Line | None:
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._sequences[index].end:
            return None
        rows = self._sequences[index].rows
        return rows[bisect_right(rows, address, key=attrgetter("address")) - 1]

    def after(self, address: int) -> int:
        """The address of the first row behind `address` in its sequence; `address` itself where there is none."""
        index = bisect_right(self._starts, address) - 1
        rows = self._sequences[index].rows if index >= 0 else ()
        following = bisect_right(rows, address, key=attrgetter("address"))
        return rows[following].address if following < len(rows) else address

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Address ranges that the table describes."""
        return [(sequence.start, sequence.end) for sequence in self._sequences]

    def file(self, number: int) -> str:
        """The path of the file a line row or a DW_AT_call_file names by number, made absolute where the table can."""
        if number not in self._names:
            self._names[number] = self._file(number)
        return self._names[number]

    def _file(self, number: int) -> str:
        if self._header is None:
            return ""
        # DWARF 5 counts files and folders from 0, folder 0 being the compilation's; before it files count from 1 and
        # folder 0 is not in the table (DWARF 5, 6.2.4)
        first = 0 if self._header["version"] >= 5 else 1
        if not 0 <= number - first < len(self._header["file_entry"]):
            return ""
        entry = self._header["file_entry"][number - first]
        folder = entry["dir_index"] - first
        folders = self._header["include_directory"]
        parts = [self._directory, _text(folders[folder]) if 0 <= folder < len(folders) else "", _text(entry["name"])]
        return posixpath.normpath(posixpath.join(*parts))

    def _decode(self, image: Image, program: Any) -> list[_Sequence]:
        sequences: list[_Sequence] = []
        rows: dict[int, Line] = {}
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.end_sequence:
                if rows and not image.is_discarded(min(rows)):
                    ordered = tuple(sorted(rows.values(), key=attrgetter("address")))
                    sequences.append(_Sequence(ordered[0].address, state.address, ordered))
                rows = {}
            else:
                row = Line(state.address, self.file(state.file), state.line or None, bool(state.is_stmt))
                # Of several rows for one address the last has the code; but one that is no statement is only the
                # place some part of the instruction came from, such as the closing brace for a division's result.
                if row.statement or row.address not in rows or not rows[row.address].statement:
                    rows[row.address] = row
        return sequences


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
