"""Fault records in the text of a log, as `layerproof_fault_print` of firmware_stub/fault writes them.

layerproof-crash begin
layerproof-crash OFFSET BYTES CRC      a line for each 16 bytes of the record; OFFSET 4 digits, CRC 8, all hexadecimal
layerproof-crash end

CRC is zlib's CRC-32 of the line's bytes that starts from OFFSET. Lines of 32 bytes are read as well. A log may put
anything before and after a line's own text, lines of others between, and repeat the whole; where a line was lost or
damaged the same one of another printing stands in.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.cpustate import MemorySpan
from harness.layout import LayoutError
from harness.rpc.fault_record import FaultRecord, RecordFlag

MARK = "layerproof-crash "
LINE_BYTES = 16

_ANY = re.compile(re.escape(MARK.strip()), re.IGNORECASE)
_BEGIN = re.compile(re.escape(MARK) + r"begin\b", re.IGNORECASE)
_END = re.compile(re.escape(MARK) + r"end\s*$", re.IGNORECASE)
_LINE = re.compile(re.escape(MARK) + r"([0-9a-f]{4}) ((?:[0-9a-f]{2}){1,32}) ([0-9a-f]{8})(?![0-9a-f])", re.IGNORECASE)
_HEAD_BYTES = FaultRecord.layout().size
_LARGEST = 0x10000  # bytes of a record: offsets have four digits


def _bytes_of(name: str) -> range:
    field = next(field for field in FaultRecord.layout().fields if field.name == name)
    return range(field.offset, field.offset + field.size)


# What a crash is still told truly without. FPCCR is not in it: by it is known how long the exception frame is.
_SINGLES, _FILE = _bytes_of("s0_s31"), _bytes_of("file")
_FLOATS = {  # by the flag that says whether the record has them
    RecordFlag.FLUSHED: (*_SINGLES[:64], *_bytes_of("fpscr"), *_bytes_of("vpr")),
    RecordFlag.FLOAT: _SINGLES[64:],
}
_DISPENSABLE = frozenset((*_SINGLES, *_bytes_of("fpscr"), *_bytes_of("vpr"), *_FILE))
_CUT_OFF = "…".encode()


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
    by_first_line: dict[bytes, _Printing] = {}
    for printing in _printings(text):
        # It has the record's own CRC. Lines of which that one is missing could be anybody's.
        first = printing.pieces.get(0)
        known = printing if first is None else by_first_line.setdefault(first, printing)
        if known is printing:
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


def _printings(text: str) -> Iterator[_Printing]:
    current: _Printing | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if not _ANY.search(line):
            continue
        if _BEGIN.search(line):
            if current is not None and (current.pieces or current.damaged):
                yield current
            current = _Printing(number)
            continue
        found = _LINE.search(line)
        if found is None:
            if current is not None and not _END.search(line):
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
    known = _known(printing.pieces, _HEAD_BYTES)
    lost = frozenset(at for at, value in enumerate(known) if value is None)
    if lost - _DISPENSABLE:
        at = min(lost - _DISPENSABLE)
        where = f"the line at offset {at - at % LINE_BYTES:#06x} of the crash record is missing or damaged"
        return TextRecord(printing.line, None, (f"{where}: its registers are not all here",))
    head = FaultRecord.unpack(bytes(value or 0 for value in known))
    try:
        head.check_version()
        known = _known(printing.pieces, min(head.total, _LARGEST))
        if None not in known and head.total <= _LARGEST:
            return TextRecord(printing.line, FaultRecord.parse(bytes(value or 0 for value in known)))
    except LayoutError as error:
        return TextRecord(printing.line, None, (str(error),))
    head, told = _without(head, lost)
    if None in known[_HEAD_BYTES:] or head.total > _LARGEST:
        told.append("the memory that was kept")
    note = f"{known.count(None)} of {head.total} bytes of the crash record are missing from the log"
    what = f", of {' and of '.join(told)}" if told else ", none of which this crash has a use for"
    return TextRecord(printing.line, head.sealed(tuple(_memory_in(known))), (note + what,))


def _known(pieces: Mapping[int, bytes], total: int) -> list[int | None]:
    """The first `total` bytes of the record; None where they are missing."""
    known: list[int | None] = [None] * total
    for offset, data in pieces.items():
        known[offset : offset + len(data)] = data[: max(0, total - offset)]
    return known


def _without(head: FaultRecord, lost: Collection[int]) -> tuple[FaultRecord, list[str]]:
    """`head`, of which the bytes at `lost` are zeros, made to say no more than is known, and what it then lacks."""
    told = []
    gone = [flag for flag, places in _FLOATS.items() if head.flags & flag and any(at in lost for at in places)]
    if gone:
        told.append("floating-point registers")
        head = replace(head, flags=head.flags & ~sum(gone))
    cut = next((n for n, at in enumerate(_FILE) if at in lost), None)
    # it stays an assertion: without the flag the fault by which it stopped would be told as the cause
    if head.flags & RecordFlag.ASSERT and cut is not None and 0 not in head.file[:cut]:
        told.append("the name of the assertion's file")
        name = head.file[: min(cut, len(head.file) - len(_CUT_OFF))] + _CUT_OFF
        head = replace(head, file=name.ljust(len(head.file), b"\0"))
    return head, told


def _memory_in(known: Sequence[int | None]) -> list[MemorySpan]:
    """The runs of kept memory whose place is known."""
    total = len(known)
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
    return spans
