"""What can still be read of a stopped target: the bytes in its record, the constants in its ELF file, and, where the
target still answers, its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.cpustate import MemorySpan
from harness.debug.image import Image
from harness.errors import HarnessError
from harness.verdict import TargetStopped

ReadTarget = Callable[[int, int], bytes]  # address, bytes -> the bytes

_CHUNK = 64  # bytes asked of the target at once; smaller than any memory region's alignment
_MAX_FAILURES = 3  # of reading the target, after which it is left alone: each may cost a timeout


class Memory:
    """Reads never raise: what cannot be read is None."""

    def __init__(self, image: Image, spans: Iterable[MemorySpan] = (), read: ReadTarget | None = None) -> None:
        self._image = image
        self._spans = _joined(spans)
        self._read = read
        self._failures = 0
        self._chunks: dict[int, bytes | None] = {}

    def read(self, address: int, length: int) -> bytes | None:
        """`length` bytes at `address`, or None when they are not all known."""
        if address < 0 or length < 0 or address + length > 1 << 32:
            return None
        for start, data in self._spans:
            if start <= address and address + length <= start + len(data):
                return data[address - start : address - start + length]
        constant = self._image.constant(address, length)
        return constant if constant is not None else self._from_target(address, length)

    def word(self, address: int) -> int | None:
        data = self.read(address, 4)
        return None if data is None else int.from_bytes(data, "little")

    def next_span(self, address: int, within: int) -> int | None:
        """Where the first bytes of the record begin that lie above `address`, by at most `within` bytes."""
        return next((start for start, _ in self._spans if address < start <= address + within), None)

    def code(self, address: int, length: int) -> bytes | None:
        """Bytes of an instruction, from the ELF file: a target that crashed may have written over anything else."""
        return self._image.constant(address, length) if self._image.is_code(address) else None

    def _from_target(self, address: int, length: int) -> bytes | None:
        if self._read is None:
            return None
        first = address - address % _CHUNK
        parts = []
        for chunk in range(first, address + length, _CHUNK):
            if chunk not in self._chunks:
                self._chunks[chunk] = self._ask(chunk, _CHUNK)
            data = self._chunks[chunk]
            if data is None:
                return self._ask(address, length)  # a guard that closes only a part of the chunk
            parts.append(data)
        return b"".join(parts)[address - first : address - first + length]

    def _ask(self, address: int, length: int) -> bytes | None:
        if self._read is None or self._failures >= _MAX_FAILURES:
            return None
        try:
            data = self._read(address, length)
        except (HarnessError, TargetStopped, OSError, EOFError, ValueError):
            data = b""
        if len(data) == length:
            return bytes(data)
        self._failures += 1
        return None


def _joined(spans: Iterable[MemorySpan]) -> list[tuple[int, bytes]]:
    """The spans by address, neighbours joined, so that a read may cross from one into the next."""
    joined: list[tuple[int, bytes]] = []
    for span in sorted(spans, key=lambda s: s.address):
        if joined and joined[-1][0] + len(joined[-1][1]) == span.address:
            joined[-1] = (joined[-1][0], joined[-1][1] + span.data)
        else:
            joined.append((span.address, span.data))
    return joined
