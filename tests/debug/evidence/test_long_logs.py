"""A device that resets all night fills megabytes: what they cost to read grows with their length, not with its square.

Compared are the times of a log and of one eight times as long, on the same machine and in the same process.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from harness.cpustate import CpuState, MemorySpan
from harness.debug.evidence import crashes_in
from harness.debug.evidence.stacks import proven
from harness.debug.memory import Memory, joined
from harness.errors import BadInput
from harness.rpc.fault_record import MAGIC
from harness.rpc.fault_text import records_in_text
from tests.debug.evidence import logs
from tests.debug.test_memory import NoImage

FACTOR = 8
AT_MOST = 24  # times as long: about 8 where the cost grows with the length, about 64 where it grows with its square

SP = 0x20001000
STATE = CpuState(
    {**dict.fromkeys((*logs.FRAME, *logs.SAVED), 0x08000C88), "sp": SP, "xpsr": 0x61000000, "exc_return": 0xFFFFFFF9},
    {"cfsr": 0x8200, "hfsr": 1 << 30, "bfar": 0x60000000, "mmfar": 0},
    (MemorySpan(SP, bytes(range(64))),),
    reason="busfault",
)
T = TypeVar("T")

pytestmark = pytest.mark.timeout(1200)  # so that a cost that grew too much is told as that


def _grows_with_the_length(run: Callable[[T], object], of: Callable[[int], T], count: int) -> None:
    few, many = of(count), of(FACTOR * count)
    least = min(_seconds(run, few) for _ in range(3))
    took = []
    while not took or (took[-1] >= AT_MOST * least and len(took) < 3):  # once more where the machine was busy
        took.append(_seconds(run, many))
    assert min(took) < AT_MOST * least, f"{least:.3f} s for {count}, {min(took):.3f} s for {FACTOR * count}"


def _seconds(run: Callable[[T], object], given: T) -> float:
    start = time.process_time()
    run(given)
    return time.process_time() - start


def _read(data: bytes) -> int:
    try:
        return len(crashes_in(data, "log"))
    except BadInput:
        return 0


@pytest.mark.parametrize("render", logs.LOGS, ids=lambda render: render.__name__)
def test_a_boot_loop(render: logs.Render) -> None:
    text = f"boot: GNU Build ID: {'ab' * 20}\n{render(STATE, lambda address, length: None)}"
    assert _read((text * 3).encode()) == 3
    _grows_with_the_length(_read, lambda count: (text * count).encode(), 125)


def _record_begins() -> str:
    """The first line of a record that calls itself longer than any log, behind other bytes."""
    return (bytes(8) + struct.pack("<II", MAGIC, 0xFFFFFFFF)).hex()


ENDLESS: dict[str, tuple[Callable[[int], str], int]] = {
    "a list of registers a line": (lambda n: "R0 = 0x00000000 hello PC: 0x00001380\n" * n, 1500),
    "lists on one line": (lambda n: ("R0=0x0 PC=0x1380 " * 200 + "\n") * n, 5),
    "a list, then memory": (lambda n: f"R0 = 0x1 PC: 0x1380 SP: {SP:#x}\n{SP:08x}: {'00000000 ' * 8}\n" * n, 500),
    "a list without an end": (lambda n: "R0 = 0x00000000\n" * n, 2500),
    "hexadecimal lines": (lambda n: f"{_record_begins()}\n" + f"{'00' * 32}\n" * n, 20_000),
    "hexadecimal lines between others": (lambda n: f"{_record_begins()}\n" + f"other\n{'00' * 32}\n" * n, 10_000),
    "a name that does not end": (lambda n: f"Fault on thread {' ' * 50 * n}!\n", 20),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends(name: str) -> None:
    text_of, count = ENDLESS[name]
    _grows_with_the_length(_read, lambda count: text_of(count).encode(), count)


def test_printings_of_many_records() -> None:
    def text_of(count: int) -> str:
        lines = [(data, zlib.crc32(data)) for data in (number.to_bytes(16, "little") for number in range(count))]
        return "".join(f"layerproof-crash begin\nlayerproof-crash 0000 {d.hex()} {crc:08x}\n" for d, crc in lines)

    assert len(records_in_text(text_of(9))) == 9
    _grows_with_the_length(records_in_text, text_of, 2000)


def _scattered(count: int) -> list[MemorySpan]:
    return [MemorySpan(SP + 2 * number, b"\x55") for number in range(count)]


def test_memory_in_many_pieces() -> None:
    _grows_with_the_length(joined, _scattered, 1000)


def test_reading_memory_in_many_pieces() -> None:
    def read(memory: Memory) -> None:
        for number in range(400):
            memory.read(SP + number, 1)
            memory.read(end - number, 1)
            memory.next_span(end - number, 4)

    image: Any = NoImage()
    end = SP + 2 * 8000
    few, many = (Memory(image, _scattered(count)) for count in (1000, 8000))
    least = min(_seconds(read, few) for _ in range(3))
    assert min(_seconds(read, many) for _ in range(3)) < 4 * least


class _Watched(bytes):
    """Counts the places at which something was found in it."""

    found = 0

    def find(self, *args: Any) -> int:
        at = super().find(*args)
        self.found += at >= 0
        return at


@pytest.mark.parametrize("sp", [SP, SP + 0x8000, SP + 0xFFF0, SP - 0x400, SP + 0x20000])
def test_an_exception_frame_is_looked_for_near_the_stack_pointer_only(sp: int) -> None:
    data = _Watched(0x10000)
    registers = {**dict.fromkeys(logs.FRAME, 0), "sp": sp}
    proven(registers, [MemorySpan(SP, data)], [], 16)
    assert data.found <= 2 * 16 + 104
