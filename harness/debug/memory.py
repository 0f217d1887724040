"""What can still be read of a stopped target: the bytes in its record, the constants in its ELF file, and, where the
target still answers, its memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import pairwise

from harness.cpustate import MemorySpan
from harness.debug.image import Image
from harness.errors import HarnessError
from harness.verdict import TargetStopped

ReadTarget = Callable[[int, int], bytes]  # address, bytes -> the bytes

_CHUNK = 64  # bytes asked of the target at once; smaller than any memory region's alignment
_PIECE = 1024  # bytes read at once of what may be large
_LAZY_SAVING = (0xE000EF34, 8)  # FPCCR, FPCAR; zero on a core without (DDI 0403E B3.2.20 and B3.2.21)
_MAX_FAILURES = 3  # of reading the target, after which it is left alone: each may cost a timeout


class Memory:
    """Reads never raise: what cannot be read is None. Where `spans` overlap the earlier one counts. After
    `max_failures` of `read` the target is left alone; None: never."""

    def __init__(
        self,
        image: Image,
        spans: Iterable[MemorySpan] = (),
        read: ReadTarget | None = None,
        max_failures: int | None = _MAX_FAILURES,
    ) -> None:
        self._image = image
        self._spans = joined(spans)
        self._starts = [start for start, _ in self._spans]
        self._read = read
        self._failures = 0
        self._max_failures = max_failures
        self._chunks: dict[int, bytes | None] = {}

    def read(self, address: int, length: int) -> bytes | None:
        """`length` bytes at `address`, or None when they are not all known."""
        if address < 0 or length < 0 or address + length > 1 << 32:
            return None
        at = bisect_right(self._starts, address) - 1
        if at >= 0:
            start, data = self._spans[at]
            if address + length <= start + len(data):
                return data[address - start : address - start + length]
        constant = self._image.constant(address, length)
        return constant if constant is not None else self._from_target(address, length)

    def word(self, address: int) -> int | None:
        data = self.read(address, 4)
        return None if data is None else int.from_bytes(data, "little")

    def next_span(self, address: int, within: int) -> int | None:
        """Where the first bytes of the record begin that lie above `address`, by at most `within` bytes."""
        at = bisect_right(self._starts, address)
        return next((start for start in self._starts[at : at + 1] if start <= address + within), None)

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
        if self._read is None or (self._max_failures is not None and self._failures >= self._max_failures):
            return None
        data = _asked(self._read, address, length)
        self._failures += data is None
        return data


def joined(spans: Iterable[MemorySpan]) -> list[tuple[int, bytes]]:
    """The spans as disjoint runs of (address, bytes) by address, so that a read may cross from one into the next.

    Where spans overlap the earlier one of `spans` counts. Nothing lies past the 32-bit address space.
    """
    known = [(span.address, min(span.address + len(span.data), 1 << 32), span.data) for span in spans]
    coming = sorted(((start, number) for number, (start, end, _) in enumerate(known) if start < end), reverse=True)
    edges = sorted({edge for start, end, _ in known if start < end for edge in (start, end)})
    covering: list[int] = []  # what has begun, as a heap: the earliest of `spans` is its first
    runs: list[tuple[int, bytearray]] = []
    for at, until in pairwise(edges):
        while coming and coming[-1][0] == at:
            heappush(covering, coming.pop()[1])
        while covering and known[covering[0]][1] <= at:
            heappop(covering)
        if not covering:
            continue
        start, _, data = known[covering[0]]
        if not runs or runs[-1][0] + len(runs[-1][1]) != at:
            runs.append((at, bytearray()))
        runs[-1][1].extend(data[at - start : until - start])
    return [(start, bytes(data)) for start, data in runs]


def live_memory(image: Image, read: ReadTarget) -> tuple[MemorySpan, ...]:
    """What `read` gives of all that the program of `image` can write: variables, stacks, the arena; and of FPCCR and
    FPCAR, without which gdb does not unwind a frame that has floating-point registers.

    What cannot be read is left out; after a few failures so is the rest, as each may cost a timeout.
    """
    wanted = [_LAZY_SAVING]
    for section in (s for s in image.sections if s.writable):
        end = section.address + section.size
        wanted += [(at, min(_PIECE, end - at)) for at in range(section.address, end, _PIECE)]
    spans = []
    failures = 0
    for address, length in wanted:
        data = _asked(read, address, length)
        if data is not None:
            spans.append(MemorySpan(address, data))
        else:
            failures += 1
        if failures == _MAX_FAILURES:
            break
    return tuple(spans)


def _asked(read: ReadTarget, address: int, length: int) -> bytes | None:
    try:
        data = read(address, length)
    except (HarnessError, TargetStopped, OSError, EOFError, ValueError):
        return None
    return bytes(data) if len(data) == length else None
