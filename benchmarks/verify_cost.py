"""What a verification costs besides the model itself: seconds by stage, and bytes on the wire."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.board import Board
from harness.errors import InfrastructureError
from harness.firmware import Firmware
from harness.runners import runner_for
from harness.session import Session
from harness.verification import verify

SEED = 1
TRANSFER = 65_536  # bytes


@dataclass(frozen=True)
class Wire:
    """A transfer of `payload` bytes; `sent` and `received` are all that went over the line during it."""

    direction: str
    payload: int
    sent: int
    received: int

    @property
    def overhead(self) -> float:
        """Bytes in the direction of the payload that are not payload, per byte of payload."""
        return (self.sent if self.direction == "write" else self.received) / self.payload - 1


@contextmanager
def empty_cache() -> Iterator[None]:
    """A firmware cache that starts empty and is thrown away, whatever this machine has built before."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = before


def wall_time(path: Path) -> dict[str, Mapping[str, float]]:
    """Seconds of each stage of `verify` on the Cortex-M3: with an empty firmware cache, and right after that."""
    with empty_cache():
        return {name: verify(path, "qemu_cortex_m3", seed=SEED).timings for name in ("cold", "warm")}


def wire(firmware: Firmware, board: Board) -> tuple[Wire, ...]:
    """Writes 64 KB of random bytes to RAM nobody uses and reads them back."""
    if board.sections is None:
        raise InfrastructureError(f"{board.name} has no memory map to choose an address from")
    ram = board.region(board.sections.data)
    address = ram.address + ram.bytes // 2
    data = random.Random(SEED).randbytes(TRANSFER)
    with Session(firmware, runner_for(board)) as session:
        start = len(session.traffic)
        session.write_memory(address, data)
        middle = len(session.traffic)
        if session.read_memory(address, TRANSFER) != data:
            raise InfrastructureError("memory read back differs from what was written")
        pieces = session.traffic
        found = []
        for direction, part in (("write", pieces[start:middle]), ("read", pieces[middle:])):
            sent = sum(len(piece.data) for piece in part if piece.outgoing)
            received = sum(len(piece.data) for piece in part if not piece.outgoing)
            found.append(Wire(direction, TRANSFER, sent, received))
    return tuple(found)
