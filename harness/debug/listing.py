"""What stands around a place in a program: lines of its source file, and instructions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.debug.disassembly import Disassembler, Instruction

_LINES = 4  # of the source file, before and after
_BEFORE, _AFTER = 5, 3  # instructions
_LONGEST = 200  # characters of a line that are kept
_LARGEST = 8 << 20  # bytes of a source file that is read

# Folders of C libraries and compiler run-times as their own builds name them. Toolchains come with debug information of
# these, but with sources that nobody has.
_LIBRARY = re.compile(r"(^|/)(newlib|libgloss|libgcc|picolibc|compiler-rt|libstdc\+\+-v3|glibc|musl)[^/]*/")


@dataclass(frozen=True)
class SourceLine:
    number: int
    text: str


@dataclass(frozen=True)
class Listing:
    """Of one frame of the traceback. `source` is empty when the file cannot be read, `instructions` where there is no
    code."""

    frame: int  # index in `Crash.frames`
    function: str
    file: str | None
    line: int | None  # of `source`, the one to look at
    at: int | None  # address of the instruction to look at: the one that faulted, or for a caller its call
    source: tuple[SourceLine, ...] = ()
    instructions: tuple[Instruction, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "frame": self.frame,
            "function": self.function,
            "file": self.file,
            "line": self.line,
            "source": [{"line": line.number, "text": line.text} for line in self.source],
            "at": self.at,
            "instructions": [{"address": i.address, "code": i.code.hex(), "text": i.text} for i in self.instructions],
        }


def is_library(file: str | None) -> bool:
    """Whether code is of the C library or the compiler's own, not of the user: by its file, or because it has none."""
    return file is None or _LIBRARY.search(file) is not None


def source_lines(file: str | None, line: int | None) -> tuple[SourceLine, ...]:
    """The lines around `line`, as they are in the file; none when it cannot be read or has no such line."""
    if file is None or line is None:
        return ()
    path = Path(file)
    try:
        # a name out of debug information may be that of a device or a pipe
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return ()
        text = path.read_bytes().decode("utf-8", "replace")
    except (OSError, ValueError):
        return ()
    lines = text.removesuffix("\n").split("\n")
    if not 1 <= line <= len(lines):
        return ()
    first = max(1, line - _LINES)
    return tuple(
        SourceLine(number, lines[number - 1].removesuffix("\r")[:_LONGEST])
        for number in range(first, min(line + _LINES, len(lines)) + 1)
    )


def instructions(disassembler: Disassembler, address: int | None) -> tuple[Instruction, ...]:
    """Those around `address`."""
    return () if address is None else disassembler.around(address, _BEFORE, _AFTER)
