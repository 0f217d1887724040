"""Frames on the wire, and back.

    0x00 | COBS( type u8 | status i8 | sequence u16 | payload | CRC-32 u32 ) | 0x00

COBS leaves no zero byte inside, so a receiver that lost its place finds it again at the next zero; a zero in front ends
whatever noise came before. The CRC (zlib's) covers all that precedes it. Everything is little-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from cobs import cobs

HEADER = struct.Struct("<BbH")
CRC = struct.Struct("<I")
LONGEST = 1 << 16  # bytes between two zeros, far above any frame: beyond it the stream is noise


@dataclass(frozen=True)
class Frame:
    type: int  # code of a command or an event, or of a command with messages.REPLY set
    status: int  # of an answer, see messages.Status; 0 in all other frames
    sequence: int  # of the request, repeated in its answer and in the events that belong to it
    payload: bytes


def encode(frame: Frame) -> bytes:
    """The frame as it goes over the wire, with both of its zeros."""
    body = HEADER.pack(frame.type, frame.status, frame.sequence) + frame.payload
    return b"\0" + cobs.encode(body + CRC.pack(zlib.crc32(body))) + b"\0"


class FrameDecoder:
    """Cuts a stream of bytes into frames; `damaged` counts what was between zeros and is no frame."""

    def __init__(self) -> None:
        self.damaged = 0
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame | None]:
        """The frames that `data` completes, in order; None for each that is damaged."""
        first, *rest = data.split(b"\0")
        self._pending += first
        for following in rest:
            if self._pending:
                yield self._decode()
            self._pending += following
        if len(self._pending) > LONGEST:
            self._pending = self._pending[-LONGEST:]

    def _decode(self) -> Frame | None:
        encoded = bytes(self._pending)
        self._pending.clear()
        try:
            body = cobs.decode(encoded)
        except cobs.DecodeError:
            body = b""
        if len(body) < HEADER.size + CRC.size or zlib.crc32(body[: -CRC.size]) != CRC.unpack(body[-CRC.size :])[0]:
            self.damaged += 1
            return None
        kind, status, sequence = HEADER.unpack_from(body)
        return Frame(kind, status, sequence, body[HEADER.size : -CRC.size])
