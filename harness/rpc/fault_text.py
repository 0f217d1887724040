"""Fault records in the text of a log, as `layerproof_fault_print` of firmware_stub/fault writes them.

layerproof-crash begin
layerproof-crash OFFSET BYTES CRC      a line for each 32 bytes of the record; OFFSET 4 digits, CRC 8, all hexadecimal
layerproof-crash end

CRC is zlib's CRC-32 of the line's bytes that starts from OFFSET. A log may put anything before and after a line's own
text, lines of others between, and repeat the whole; where a line was lost or damaged the same one of another printing
stands in.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.cpustate import MemorySpan
from harness.layout import LayoutError
from harness.rpc.fault_record import FaultRecord

MARK = "layerproof-crash "
LINE_BYTES = 32

_BEGIN = re.compile(re.escape(MARK) + r"begin\b")
_LINE = re.compile(re.escape(MARK) + r"([0-9a-f]{4}) ((?:[0-9a-f]{2}){1,32}) ([0-9a-f]{8})(?![0-9a-f])", re.IGNORECASE)
_HEAD_BYTES = FaultRecord.layout().size


@dataclass(frozen=True)
class TextRecord:
    """A record found in a text. `record` is None where too little of it is left; `notes` say what is missing.

    A record that is not whole holds the memory that is there, and is sealed anew: it is well-formed like any other.
    """

    line: int  # number of the line that it begins at, from 1
    record: FaultRecord | None
    notes: tuple[str, ...] = ()


def records_in_text(text: str) -> list[TextRecord]:
    """Every record in `text`, in order of appearance; printings of the same record count once. Never raises."""
    merged: list[_Printing] = []
    for printing in _printings(text):
        known = next((other for other in merged if other.shows_the_same(printing)), None)
        if known is None:
            merged.append(printing)
        else:
            known.pieces |= {offset: data for offset, data in printing.pieces.items() if offset not in known.pieces}
    return [_read(printing) for printing in merged]


@dataclass
class _Printing:
    """The lines of one record that arrived whole, as offset → bytes."""

    line: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    damaged: int = 0

    def shows_the_same(self, other: _Printing) -> bool:
        """The first line has the record's own CRC. Lines of which that one is missing could be anybody's."""
        return 0 in self.pieces and self.pieces[0] == other.pieces.get(0)


def _printings(text: str) -> Iterator[_Printing]:
    current: _Printing | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if MARK.strip() not in line:
            continue
        if _BEGIN.search(line):
            if current is not None and (current.pieces or current.damaged):
                yield current
            current = _Printing(number)
            continue
        found = _LINE.search(line)
        if found is None:
            if current is not None and not line.rstrip().endswith(MARK + "end"):
                current.damaged += 1
            continue
        offset, data = int(found[1], 16), bytes.fromhex(found[2])
        good = zlib.crc32(data, offset) == int(found[3], 16) and offset % LINE_BYTES == 0
        if current is None or (good and current.pieces.get(offset, data) != data):
            if current is not None:
                yield current  # the line that begins the next record was lost
            current = _Printing(number)
        if good:
            current.pieces[offset] = data
        else:
            current.damaged += 1
    if current is not None and (current.pieces or current.damaged):
        yield current


def _read(printing: _Printing) -> TextRecord:
    pieces = printing.pieces
    whole = _contiguous(pieces)
    if len(whole) < _HEAD_BYTES:
        lost = f"the line at offset {len(whole):#06x} of the crash record is missing or damaged"
        return TextRecord(printing.line, None, (f"{lost}: its registers are not all here",))
    head = FaultRecord.unpack(whole)
    try:
        head.check_version()
        if len(whole) >= head.total:
            return TextRecord(printing.line, FaultRecord.parse(whole[: head.total]))
    except LayoutError as error:
        return TextRecord(printing.line, None, (str(error),))
    spans, missing = _what_is_left(pieces, head.total)
    record = FaultRecord.unpack(whole[:_HEAD_BYTES]).sealed(tuple(spans))
    note = f"{missing} of {head.total} bytes of the crash record are missing from the log, of the memory that was kept"
    return TextRecord(printing.line, record, (note,))


def _contiguous(pieces: Mapping[int, bytes]) -> bytes:
    data = b""
    while len(data) in pieces:
        data += pieces[len(data)]
    return data


def _what_is_left(pieces: Mapping[int, bytes], total: int) -> tuple[list[MemorySpan], int]:
    """The runs of kept memory whose place is known, and how many bytes of the record are missing."""
    total = min(total, 0x10000)  # offsets have four digits
    known: list[int | None] = [None] * total
    for offset, data in pieces.items():
        known[offset : offset + len(data)] = data[: max(0, total - offset)]
    spans: list[MemorySpan] = []
    at = _HEAD_BYTES
    while at + 8 <= total and None not in known[at : at + 8]:
        address, size = (
            int.from_bytes(bytes(b for b in known[at + i : at + i + 4] if b is not None), "little") for i in (0, 4)
        )
        at += 8
        run: list[int] = []
        for index in range(at, min(at + size, total)):
            value = known[index]
            if value is not None:
                run.append(value)
            if run and (value is None or index == min(at + size, total) - 1):
                end = index + (value is not None)
                spans.append(MemorySpan((address + end - len(run) - at) % 2**32, bytes(run)))
                run = []
        at += size
    return spans, known.count(None)
