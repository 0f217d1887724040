"""Packets of gdb's remote serial protocol (GDB manual, appendix E.1), the side of the stub.

$payload#checksum     two hex digits, the sum of the payload's bytes modulo 256
} x                   in a payload: the byte x ^ 0x20; for the bytes $ # } and *
+ -                   a packet arrived well, or did not and must be sent again
0x03                  outside packets: the user pressed Ctrl-C
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

MAX_PAYLOAD = 16384  # bytes that a packet may have; announced to gdb, and what is longer is not collected
_ESCAPED = re.compile(rb"[$#}*]")
_ESCAPE = re.compile(rb"\}(.)", re.S)


class Mark(Enum):
    """What can come beside packets."""

    ACK = "+"
    NAK = "-"
    INTERRUPT = "interrupt"
    DAMAGED = "damaged"  # a packet whose checksum is wrong, or that is too long


def frame(payload: bytes) -> bytes:
    """The packet of `payload`, in which nothing may need an escape: see `escape`."""
    return b"$%s#%02x" % (payload, sum(payload) & 255)


def escape(data: bytes) -> bytes:
    """Binary data as a part of a payload."""
    return _ESCAPED.sub(lambda found: bytes((0x7D, found[0][0] ^ 0x20)), data)


@dataclass
class Reader:
    """Takes the bytes of a connection as they come, in pieces of any size."""

    _waiting: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[bytes | Mark]:
        """The payloads and marks that `data` completes, in order. No bytes whatever make it raise."""
        self._waiting += data
        while self._waiting:
            first = self._waiting[0]
            if first != ord("$"):
                del self._waiting[0]
                mark = _MARKS.get(first)
                if mark is not None:
                    yield mark
                continue  # the rest is noise of the line, and is not answered
            end = self._waiting.find(b"#")
            if (end if end >= 0 else len(self._waiting)) > MAX_PAYLOAD:
                del self._waiting[: end if end >= 0 else len(self._waiting)]
                yield Mark.DAMAGED
                continue
            if end < 0 or len(self._waiting) < end + 3:
                return
            payload, checksum = bytes(self._waiting[1:end]), bytes(self._waiting[end + 1 : end + 3])
            del self._waiting[: end + 3]
            yield _unescaped(payload) if checksum.lower() == b"%02x" % (sum(payload) & 255) else Mark.DAMAGED


_MARKS = {ord("+"): Mark.ACK, ord("-"): Mark.NAK, 3: Mark.INTERRUPT}


def _unescaped(payload: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: bytes((found[1][0] ^ 0x20,)), payload)
