"""The stack pointer of a log that also prints its stack: where it stood is proven, or not believed.

A stack pointer that is off by a frame or by its padding would make of any left-over word a return address that looks
certain. The exception frame itself stands below it, and its eight words are known from the registers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from harness.cpustate import MemorySpan
from harness.debug.evidence.causes import FRAME
from harness.rpc.fault_record import BASIC_FRAME, EXTENDED_FRAME, PADDED

_SEARCHED = 512  # bytes below the stack pointer of the log, and above it: a handler's own may have gone on
UNPROVEN = (
    "Where the stack pointer stood at the fault the log does not say for certain: callers are looked for among the "
    "words of its stack."
)


def proven(
    registers: dict[str, int], memory: Sequence[MemorySpan], notes: list[str], within: int = _SEARCHED
) -> tuple[dict[str, int], tuple[int, ...]]:
    """The registers with SP as it was before the exception frame was pushed, or without any; then, instead, the words
    of the stack that may be return addresses.

    The log's own is off by `within` bytes at most: the same words further away are those of an earlier exception.
    Registers of a log without its stack are left as they are.
    """
    sp = registers.get("sp")
    if sp is None or not memory:
        return registers, ()
    if all(name in registers for name in FRAME):
        frame = struct.pack("<8I", *(registers[name] for name in FRAME))
        extended = not registers["exc_return"] & 16 if "exc_return" in registers else None
        found = list(_before(frame, registers["xpsr"], extended, sp, memory, within))
        if len(found) == 1:
            return {**registers, "sp": found[0]}, ()
    listed = tuple(_odd_words(sp, memory))
    if listed:
        notes.append(UNPROVEN)
    return {name: value for name, value in registers.items() if name != "sp"}, listed


def _before(
    frame: bytes, xpsr: int, extended: bool | None, sp: int, memory: Sequence[MemorySpan], within: int
) -> Iterator[int]:
    """Stack pointers before the exception frames that stand near `sp`."""
    padding = 4 if xpsr & PADDED else 0
    sizes = [4 * BASIC_FRAME] if not extended else []
    sizes += [4 * EXTENDED_FRAME] if extended or extended is None else []
    lowest, highest = sp - within - max(sizes) - padding, sp + within - min(sizes) - padding
    for span in memory:
        end = max(0, highest + len(frame) - span.address)  # find would count a negative one from the other end
        at = span.data.find(frame, max(0, lowest - span.address), end)
        while at >= 0:
            address = span.address + at
            fitting = [address + size + padding for size in sizes if abs(address + size + padding - sp) <= within]
            # without EXC_RETURN the one that the log itself is nearest to
            if fitting and address % 4 == 0:
                yield min(fitting, key=lambda pointer: abs(pointer - sp))
            at = span.data.find(frame, at + 1, end)


def _odd_words(sp: int, memory: Sequence[MemorySpan]) -> Iterator[int]:
    for span in memory:
        if span.address <= sp < span.address + len(span.data) or span.address > sp:
            start = max(sp + 3 & ~3, span.address) - span.address
            data = span.data[start:]
            yield from (word for (word,) in struct.iter_unpack("<I", data[: len(data) & ~3]) if word & 1)
