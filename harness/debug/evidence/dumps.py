"""Memory that logs and debuggers print: an address, and the words from there on."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.cpustate import MemorySpan

# gdb's x/wx, OpenOCD's mdw, J-Link's mem32, NuttX's stack dump: one address, then words
ROW = re.compile(
    r"(?<![\w/])(?:0x)?(?P<address>[0-9a-f]{8})(?:\s*<[^>]{1,80}>)?\s*[:=]\s*"
    r"(?P<words>(?:0x[0-9a-f]{8}|[0-9a-f]{8})(?:[ \t]+(?:0x[0-9a-f]{8}|[0-9a-f]{8}))*)(?![0-9a-z_])",
    re.IGNORECASE,
)
_PAIR = re.compile(r"\baddr: *([0-9a-f]{8})\s+data: *([0-9a-f]{8})(?![0-9a-z_])", re.IGNORECASE)  # CmBacktrace


def rows(lines: Iterable[str]) -> tuple[MemorySpan, ...]:
    """Memory from lines of an address and words."""
    return memory_of(map(ROW.search, lines))


def memory_of(found: Iterable[re.Match[str] | None]) -> tuple[MemorySpan, ...]:
    """Memory from what `ROW` found in lines. Of a word that is given twice the first counts."""
    words: dict[int, int] = {}
    for row in filter(None, found):
        address = int(row["address"], 16)
        for number, word in enumerate(row["words"].split()):
            words.setdefault(address + 4 * number, int(word, 16))
    return _spans(words)


def pairs(lines: Iterable[str]) -> tuple[MemorySpan, ...]:
    """Memory from lines of one address and one word, in the order printed: the first span is the first of the log."""
    found = [(int(m[1], 16), int(m[2], 16)) for m in map(_PAIR.search, lines) if m is not None]
    return _spans(dict(reversed(found)))


def _spans(words: dict[int, int]) -> tuple[MemorySpan, ...]:
    """Neighbouring words as one span; words at odd addresses or past the end of memory are damage and left out."""
    spans: list[tuple[int, bytearray]] = []
    for address in sorted(words):
        if address % 4 or address > 0xFFFFFFFC:
            continue
        data = words[address].to_bytes(4, "little")
        if spans and spans[-1][0] + len(spans[-1][1]) == address:
            spans[-1][1].extend(data)
        else:
            spans.append((address, bytearray(data)))
    return tuple(MemorySpan(address, bytes(data)) for address, data in spans)
