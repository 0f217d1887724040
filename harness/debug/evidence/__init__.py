"""What somebody has of a crash, read: a record of the firmware's own, or a log pasted from the field.

Each file has one format of logs, with an example at its top. A log is read by the first format that finds a crash in
it: those with marks of their own come before a list of registers, which all of them have.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import replace

from harness.debug.evidence import cmbacktrace, debugger, mbed, nuttx, plain, riot, rtthread, zephyr, zephyr_dump
from harness.debug.evidence.base import Evidence as Evidence
from harness.debug.evidence.base import Format
from harness.debug.evidence.cores import from_core
from harness.debug.evidence.records import from_record, records_in, starts_record
from harness.debug.evidence.text import Text, read_text
from harness.debug.gdb.core_file import is_core, is_elf
from harness.errors import BadInput

FORMATS: tuple[Format, ...] = tuple(
    module.FORMAT for module in (zephyr, zephyr_dump, cmbacktrace, mbed, nuttx, rtthread, riot, debugger, plain)
)
_BUILD_ID = re.compile(r"build[ _-]?id\W{0,4}([0-9a-f]{40}|[0-9a-f]{32})(?![0-9a-f])", re.IGNORECASE)
_LISTED = 6  # lines named in a note


def read_evidence(data: bytes, where: str) -> Evidence:
    """The first crash that `data` tells of. `where` names its origin in errors.

    BadInput: nothing can be read from it; the message says what was looked for.
    """
    return crashes_in(data, where)[0]


def crashes_in(data: bytes, where: str) -> list[Evidence]:
    """Every crash that `data` tells of, at least one. Raises as `read_evidence` does."""
    if is_core(data):
        return [from_core(data, where)]
    if is_elf(data):
        raise BadInput(
            "this is an ELF program, not a log",
            where=where,
            hint="Give it with --elf, and in its place the log or record of the crash.",
        )
    if starts_record(data):
        return [from_record(data, where)]
    if zephyr_dump.is_dump(data):
        return [zephyr_dump.from_dump(data, where)]
    text = read_text(data)
    found = records_in(data, text, where)
    if not found:
        found = _identified(next(filter(None, (log_format.find(text) for log_format in FORMATS)), []), text)
    if not found:
        marks = [log_format.mark for log_format in FORMATS]
        raise BadInput(
            "no crash was found in it" if data else "it is empty",
            where=where,
            hint=f"Looked for a fault record (binary, hexadecimal or base64), and for dumps of registers: "
            f"{', '.join(marks[:-1])}, or {marks[-1]}.",
        )
    return _counted(found)


def _identified(found: list[Evidence], text: Text) -> list[Evidence]:
    """Each with the last build ID that the firmware printed before it crashed, or else the first one after that."""
    ids = [
        (number, m[1]) for number, line in enumerate(text.lines, 1) if "uild" in line for m in _BUILD_ID.finditer(line)
    ]
    if not ids:
        return found
    numbers = [number for number, _ in ids]
    chosen = (max(0, bisect_left(numbers, evidence.line or 0) - 1) for evidence in found)
    return [replace(evidence, build_id=bytes.fromhex(ids[at][1])) for evidence, at in zip(found, chosen)]


def _counted(found: list[Evidence]) -> list[Evidence]:
    if len(found) == 1:
        return found
    lines = [str(evidence.line) for evidence in found if evidence.line is not None]
    places = f", at lines {', '.join(lines[:_LISTED])}{' …' if len(lines) > _LISTED else ''}" if lines else ""
    told = f"{len(found)} crashes were found{places}; this is number"
    return [replace(evidence, notes=(f"{told} {n}.", *evidence.notes)) for n, evidence in enumerate(found, 1)]
