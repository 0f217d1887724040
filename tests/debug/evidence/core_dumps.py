"""Zephyr's core dumps, made of crashes whose truth is known: the file, and the lines that a log has of it."""

from __future__ import annotations

import struct

from harness.cpustate import CpuState
from tests.debug.evidence.known import FRAME, SAVED, get, stacked

# the reasons that CONFIG_SIMPLIFIED_EXCEPTION_CODES=n tells apart: bit of CFSR, K_ERR_ARM_…
_REASONS = {0: 20, 1: 19, 3: 18, 4: 17, 8: 27, 9: 25, 10: 26, 11: 24, 12: 23,
            16: 36, 17: 35, 18: 34, 19: 33, 20: 32, 24: 31, 25: 30}  # fmt: skip


def binary(state: CpuState, *, core: int = 3, thread: bytes = b"", frame_address: bool = False) -> bytes:
    """The binary core dump. `core` is the version of its registers; `frame_address`: with the SP of old versions."""
    sp = state.registers["sp"]
    frame = struct.pack("<8I", *(get(state, name) for name in FRAME))
    frame += b"" if get(state, "exc_return") & 16 else bytes(72)
    below = frame + (bytes(4) if get(state, "xpsr") & 1 << 9 else b"")
    dumped = below + b"".join(struct.pack("<I", word) for _, word in stacked(state))
    registers = [*(get(state, name) for name in FRAME), sp - len(below) if frame_address else sp]
    if core >= 2:
        registers += [get(state, name) for name in SAVED]
    if core >= 3:
        registers += [1, 0x30]
    reason = next((code for bit, code in _REASONS.items() if state.fault_status.get("cfsr", 0) >> bit & 1), 0)
    data = struct.pack("<2sHHBBI", b"ZE", 2 if core >= 3 else 1, 3, 5, 0, reason)
    data += struct.pack("<cHH", b"A", core, 4 * len(registers)) + struct.pack(f"<{len(registers)}I", *registers)
    data += struct.pack("<cHH", b"T", 1, len(thread)) + thread if thread else b""
    start = sp - len(below)
    for address, memory in ((start & ~0xFFF | 0x20000000, b"thread struct..."), (start, dumped)):
        data += struct.pack("<cHII", b"M", 1, address, address + len(memory)) + memory
    return data


def lines(data: bytes) -> list[str]:
    """A core dump as the logging backend prints it: a line for each header, and one for each 32 bytes behind it."""
    found, at, sizes = ["BEGIN#", data[:12].hex()], 12, {b"A": 5, b"T": 5, b"M": 11}
    while at < len(data):
        size = sizes[data[at : at + 1]]
        header = struct.unpack_from("<cHII" if size == 11 else "<cHH", data, at)
        length = header[-1] - (header[-2] if size == 11 else 0)
        found.append(data[at : at + size].hex())
        content = data[at + size : at + size + length]
        found += [content[first : first + 32].hex() for first in range(0, len(content), 32)]
        at += size + length
    return [f"#CD:{line}" for line in (*found, "END#")]
