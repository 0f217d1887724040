"""The firmware's own record, wherever it stands: a file of its own, a recorded serial line, a dump pasted as text."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.debug.evidence.base import Evidence
from harness.debug.evidence.text import Text
from harness.errors import BadInput
from harness.layout import LayoutError
from harness.rpc.fault_record import MAGIC, FaultRecord
from harness.rpc.fault_text import records_in_text
from harness.rpc.framing import FrameDecoder
from harness.rpc.messages import Fault

NAME = "layerproof record"
_MAGIC = MAGIC.to_bytes(4, "little")
_LEAST = FaultRecord.layout().size  # bytes of a record
_LARGEST = 1 << 20  # bytes of a record; stacks are smaller
_MOST = 16  # places that look like the start of a record and are tried

_OFFSET = re.compile(r"^\s*(?:0x)?[0-9a-f]{4,8}(?::|\s*\||\s{2,})", re.IGNORECASE)  # of xxd, hexdump -C
_HEX = re.compile(r"(?:(?:0x)?[0-9a-f]{2}[ ,:]{0,2}){4,}", re.IGNORECASE)
_HEX_MAGIC = re.compile("[ ,]{0,2}(?:0x)?".join(f"{byte:02x}" for byte in _MAGIC), re.IGNORECASE)
_BASE64_MAGIC = re.compile(base64.b64encode(_MAGIC)[:5].decode())
_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")


def from_record(data: bytes, where: str) -> Evidence:
    """The crash of a binary record, whole. BadInput: it is cut short or was damaged."""
    try:
        record = FaultRecord.parse(data)
    except LayoutError as error:
        raise BadInput(str(error), where=where) from error
    return _evidence(record)


def _evidence(record: FaultRecord) -> Evidence:
    return Evidence(record.cpu_state(), NAME, record.build_id if any(record.build_id) else None)


def records_in(data: bytes, text: Text, where: str) -> list[Evidence]:
    """Every record in `data`, which `text` is as text, each once. One printed by the fault module may lack memory.

    BadInput: there are only such that are cut short or damaged.
    """
    found: dict[bytes, Evidence] = {}
    damage: BadInput | None = None  # a printed record's before any other's, and a dump's before that of the raw text
    for printed in records_in_text("\n".join(text.lines)):
        if printed.record is None:
            damage = damage or BadInput("; ".join(printed.notes), where=f"{where}, line {printed.line}")
        else:
            evidence = replace(_evidence(printed.record), line=printed.line, cut=bool(printed.notes))
            found.setdefault(printed.record.pack(), replace(evidence, notes=printed.notes))
    damage_of_printed = damage is not None
    for source in (data, *_of_the_serial_line(data), *_dumped_as_text(text)):
        for start in _starts(source):
            total = int.from_bytes(source[start + 4 : start + 8], "little")
            record = source[start : start + min(max(total, _LEAST), _LARGEST)]
            try:
                found.setdefault(record, from_record(record, where))
            except BadInput as error:
                damage = damage if damage_of_printed else error
    if damage is not None and not found:
        raise damage
    return list(found.values())


def starts_record(data: bytes) -> bool:
    return data.startswith(_MAGIC)


def _starts(data: bytes) -> Iterator[int]:
    at = -1
    for _ in range(_MOST):
        at = data.find(_MAGIC, at + 1)
        if at < 0:
            return
        yield at


def _of_the_serial_line(data: bytes) -> Iterator[bytes]:
    """The record that the RPC's frames carry in pieces, each with its place."""
    record = bytearray()
    for frame in FrameDecoder().feed(data):
        if frame is None or frame.type != Fault.code:
            continue
        try:
            piece = Fault.unpack(frame.payload)
        except LayoutError:
            continue
        if piece.offset == 0:
            if record:
                yield bytes(record)
            record = bytearray(piece.data)
        elif piece.offset == len(record):
            record += piece.data
    if record:
        yield bytes(record)


def _dumped_as_text(text: Text) -> Iterator[bytes]:
    for start, of_line in ((_HEX_MAGIC, _hexadecimal), (_BASE64_MAGIC, _base64)):
        if any(map(start.search, text.lines)):
            yield from _joined(text, of_line)


def _joined(text: Text, of_line: Callable[[str], bytes]) -> Iterator[bytes]:
    """The bytes of neighbouring lines, put together; what is in no such line lies between two of them."""
    data = bytearray()
    start = -1  # of the first record in `data`
    for line in text.lines:
        piece = of_line(line)
        if piece:
            unsearched = max(0, len(data) - len(_MAGIC) + 1)
            data += piece
            start = start if start >= 0 else data.find(_MAGIC, unsearched)
        elif data:
            if start >= 0 and len(data) < min(int.from_bytes(data[start + 4 : start + 8], "little"), _LARGEST):
                continue  # another line of the log came between
            yield bytes(data)
            data, start = bytearray(), -1
    if data:
        yield bytes(data)


def _hexadecimal(line: str) -> bytes:
    offset = _OFFSET.match(line)
    if offset:
        rest = line[offset.end() :].lstrip()
        # the column of characters stands behind a bar, or behind two spaces
        line = rest.split("|")[0] if "|" in rest else rest.split("  ")[0]
    longest = max((found[0] for found in _HEX.finditer(line)), key=len, default="")
    digits = re.sub(r"0x|[ ,:]", "", longest, flags=re.IGNORECASE)
    return bytes.fromhex(digits) if len(digits) >= 8 else b""


def _base64(line: str) -> bytes:
    longest = max((found[0] for found in _BASE64.finditer(line)), key=len, default="")
    try:
        return base64.b64decode(longest[: len(longest) - len(longest) % 4], validate=True)
    except (binascii.Error, ValueError):
        return b""
