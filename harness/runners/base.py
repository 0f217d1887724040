"""What every runner is: something that starts firmware and gives a byte stream to it.

    Runner.start(image) -> RunningTarget        the processor runs, its UART is connected, no byte was lost
    RunningTarget.transport                     bytes to and from the firmware, each read with a deadline
    RunningTarget.halt() -> CpuState | None     stops the processor and says where it was
    RunningTarget.exit_reason() -> TargetExit   why there is no target any more

A deadline is a value of `time.monotonic()`, in seconds.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from harness.cpustate import CpuState

SHORTEST_WAIT = 0.01  # seconds between looks at a silent stream, doubled up to the longest
LONGEST_WAIT = 1.0
ON_ITS_WAY = 0.2  # seconds for the last bytes of a target that has ended, through whatever stands in between
LONGEST_PIECE = 4096  # bytes of recorded traffic that are joined into one piece
LONGEST_WRITE = 30.0  # seconds for one write that has no deadline of its own


class Image(Protocol):
    """Firmware as far as a runner needs to know it."""

    @property
    def elf(self) -> Path: ...


class Transport(Protocol):
    """A byte stream to the firmware."""

    def read(self, max_bytes: int, deadline: float) -> bytes:
        """At least one byte and at most `max_bytes`; b"" when none came by the deadline. EOFError: the peer is gone."""
        ...

    def write(self, data: bytes, deadline: float | None = None) -> None:
        """Send all of `data`; without a deadline within `LONGEST_WRITE`.

        TimeoutError: the peer took no more by the deadline. EOFError: the peer is gone.
        """
        ...


class ExitKind(Enum):
    LOCKUP = "lockup"  # the processor locked up, and the emulator ended because of it
    CRASH = "crash"  # the program under test ended itself: a sanitizer's report, a signal of its own making
    LOST = "lost"  # the emulator was killed or broke, the port vanished


@dataclass(frozen=True)
class TargetExit:
    """Why a target is gone. `detail` is the emulator's or sanitizer's own words, whole."""

    kind: ExitKind
    what: str
    state: CpuState | None = None
    detail: str = ""


class RunningTarget(Protocol):
    """Firmware that was started. Leaving the `with` block ends it, whatever state it is in."""

    @property
    def transport(self) -> Transport: ...

    @property
    def stderr(self) -> str:
        """What the emulator or the program wrote beside the UART so far."""
        ...

    def alive(self) -> bool: ...

    def exit_reason(self, timeout: float = 0.0) -> TargetExit | None:
        """Why the target is gone; None when it still runs after waiting up to `timeout` seconds for its end."""
        ...

    def halt(self) -> CpuState | None:
        """Stop the processor for good; None when this kind of target cannot say where it is."""
        ...

    def read_memory(self, address: int, length: int) -> bytes:
        """`length` bytes of a halted target. RunnerFailed: not halted, or nothing readable there."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> RunningTarget: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Runner(Protocol):
    def start(self, image: Image) -> RunningTarget: ...


class SocketTransport:
    """A stream socket as a transport. `nudge` is called whenever the stream has been silent for a moment.

    What it raises EOFError for comes after the bytes that were sent before: those are still read.
    """

    def __init__(self, stream: socket.socket, nudge: Callable[[], None] | None = None) -> None:
        stream.setblocking(False)
        self._stream = stream
        self._nudge = nudge
        self._readable = select.poll()
        self._readable.register(stream, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(stream, select.POLLOUT)

    def read(self, max_bytes: int, deadline: float) -> bytes:
        wait = SHORTEST_WAIT
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            if self._readable.poll(min(remaining, wait) * 1000):
                return self._receive(max_bytes)
            if remaining <= wait:
                return b""
            wait = min(2 * wait, LONGEST_WAIT)
            if self._nudge is not None:
                try:
                    self._nudge()
                except EOFError:
                    if self._readable.poll(ON_ITS_WAY * 1000):
                        return self._receive(max_bytes)
                    raise

    def write(self, data: bytes, deadline: float | None = None) -> None:
        deadline = time.monotonic() + LONGEST_WRITE if deadline is None else deadline
        view = memoryview(data)
        while view:
            remaining = max(0.0, deadline - time.monotonic())
            if not self._writable.poll(min(remaining, LONGEST_WRITE) * 1000):  # poll(2) counts milliseconds in 31 bits
                if remaining > LONGEST_WRITE:
                    continue
                raise TimeoutError(f"the target takes no more bytes; {len(view)} of {len(data)} are left to send")
            try:
                view = view[self._stream.send(view) :]
            except (BrokenPipeError, ConnectionResetError) as error:
                raise EOFError("the target closed its end of the UART") from error

    def _receive(self, max_bytes: int) -> bytes:
        try:
            data = self._stream.recv(max_bytes)
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError("the target closed its end of the UART")
        return data


class Traffic(NamedTuple):
    """Bytes as they went over a transport."""

    time: float  # of the last of them, in seconds since the recording began
    outgoing: bool  # to the target
    data: bytes


class RecordingTransport:
    """Keeps what goes over another transport, to the last byte. `traffic` may go on from an earlier recording."""

    def __init__(self, inner: Transport, traffic: list[Traffic], began: float) -> None:
        self._inner = inner
        self._traffic = traffic
        self._began = began  # time.monotonic()

    def read(self, max_bytes: int, deadline: float) -> bytes:
        data = self._inner.read(max_bytes, deadline)
        if data:
            self._note(False, data)
        return data

    def write(self, data: bytes, deadline: float | None = None) -> None:
        self._note(True, data)
        self._inner.write(data, deadline)

    def _note(self, outgoing: bool, data: bytes) -> None:
        """Keep `data`. A UART gives its bytes one by one: they are joined up to a zero, which ends a frame."""
        now = time.monotonic() - self._began
        last = self._traffic[-1] if self._traffic else None
        if last and last.outgoing == outgoing and last.data[-1:] != b"\0" and len(last.data) < LONGEST_PIECE:
            self._traffic[-1] = Traffic(now, outgoing, last.data + data)
        else:
            self._traffic.append(Traffic(now, outgoing, data))
