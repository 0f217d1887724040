"""Crashes of the test programs as fault records, and words that only left-overs of earlier calls can be."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

from harness.cpustate import MemorySpan
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.thumb import call_before, fetch
from harness.debug.unwinding.unwind import Chain, Unwinder
from harness.rpc.fault_record import (
    BASIC_FRAME,
    EXTENDED_FRAME,
    MAGIC,
    NO_LAYER,
    SEALED_FROM,
    VERSION,
    FaultRecord,
    RecordFlag,
)
from tests.debug import lab
from tests.debug.conftest import Crashes
from tests.debug.evidence.logs import FRAME, SAVED

_NUMBERS = {"nmi": 2, "hardfault": 3, "memmanage": 4, "busfault": 5, "usagefault": 6, "securefault": 7}


def sound(found: Crashes) -> list[lab.Crashed]:
    """The crashes whose exception frame was written, with a chain of calls that is known."""
    return [crashed for crashed in found.found if crashed.stacked and _has_one_chain(crashed.scenario, found.core.name)]


def _has_one_chain(scenario: lab.Scenario, core: str) -> bool:
    chain = scenario.chain or ()
    return bool(chain) and core not in scenario.impossible and not any(expected.repeats for expected in chain)


def truth(crashed: lab.Crashed) -> list[str]:
    return [expected.function for expected in crashed.scenario.expected(crashed.on_process_stack)]


def sealed(record: FaultRecord) -> bytes:
    """The record's bytes with the length and the CRC they must have, whatever its memory is."""
    data = replace(record, magic=MAGIC, total=len(record.pack())).pack()
    return data[:8] + struct.pack("<I", zlib.crc32(data[SEALED_FROM:])) + data[SEALED_FROM:]


def record_of(crashed: lab.Crashed, build_id: bytes = bytes(20)) -> FaultRecord:
    """What the firmware stub would have kept of it: registers, frame, and the stack that was in use."""
    state = crashed.state
    registers, status = state.registers, state.fault_status
    address = registers["psp"] if registers["exc_return"] & 4 else registers["msp"]
    size = 32 if registers["exc_return"] & 16 else 4 * EXTENDED_FRAME
    span = next(s for s in state.memory if s.address <= address < s.address + len(s.data))
    end = address + size - span.address
    words = struct.unpack(f"<{size // 4}I", span.data[end - size : end])
    flags = RecordFlag.FRAME | (RecordFlag.STATUS if any(status.values()) else 0)
    floats, fpscr = words[BASIC_FRAME : BASIC_FRAME + 16], words[-2] if len(words) > BASIC_FRAME else 0
    return FaultRecord(
        magic=MAGIC, total=0, crc32=0, version=VERSION, flags=int(flags), build_id=build_id, layer=NO_LAYER,
        exception=_NUMBERS[state.reason], exc_return=registers["exc_return"], msp=registers["msp"],
        psp=registers["psp"], control=registers["control"], primask=0, basepri=0, faultmask=0, msplim=0, psplim=0,
        r4_r11=tuple(registers[name] for name in SAVED), frame_address=address, frame=words[:BASIC_FRAME],
        s0_s31=(*floats, *([0] * (32 - len(floats)))), fpscr=fpscr, vpr=0, fpccr=0,
        **{name: status.get(name, 0) for name in ("cfsr", "hfsr", "mmfar", "bfar", "afsr", "shcsr", "sfsr", "sfar")},
        line=0, file=bytes(40), memory=b"",
    ).sealed((MemorySpan(address + size, span.data[end:]),))  # fmt: skip


class _Recording(Memory):
    """Remembers which words were asked for."""

    def __init__(self, image: Image, state_memory: tuple) -> None:
        super().__init__(image, state_memory)
        self.asked: set[int] = set()

    def read(self, address: int, length: int) -> bytes | None:
        self.asked.update(range(address & ~3, address + length, 4))
        return super().read(address, length)


def unwound(image: Image, record: FaultRecord) -> tuple[Chain, set[int]]:
    """The chain of a record, and the addresses of all words that were read on the way."""
    state = record.cpu_state()
    memory = _Recording(image, state.memory)
    return Unwinder(image, memory).unwind(state), memory.asked


def stale(image: Image, chain: list[str]) -> list[int]:
    """Return addresses, Thumb bit set, into functions that are not in the chain."""
    return [address | 1 for address in _return_addresses(image, frozenset(chain))]


def _return_addresses(image: Image, without: frozenset[str]) -> Iterator[int]:
    read = Memory(image).code
    for function in image.functions:
        if function.name in without:
            continue
        at = function.address
        while at < function.address + function.size:
            instruction = fetch(read, at)
            at += 4 if instruction is not None and instruction[1] is not None else 2
            if call_before(read, at) is not None:
                yield at


def frame_words(record: FaultRecord) -> dict[str, int]:
    return dict(zip(FRAME, record.frame))
