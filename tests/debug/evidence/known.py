"""What of a crash whose truth is known the renderers of logs print."""

from __future__ import annotations

import struct

from harness.cpustate import CpuState

FRAME = ("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr")
SAVED = tuple(f"r{n}" for n in range(4, 12))


def get(state: CpuState, name: str) -> int:
    return state.registers.get(name, 0)


def stacked(state: CpuState, words: int = 400) -> list[tuple[int, int]]:
    """(address, word) from SP to the end of the stack it is in."""
    sp = state.registers["sp"]
    for span in state.memory:
        if span.address <= sp < span.address + len(span.data):
            data = span.data[sp - span.address :]
            found = struct.unpack(f"<{len(data) // 4}I", data[: len(data) & ~3])
            return [(sp + 4 * n, word) for n, word in enumerate(found[:words])]
    return []
