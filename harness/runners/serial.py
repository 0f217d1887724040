"""Firmware that already runs on a board behind a serial port, or behind any URL that pyserial understands."""

from __future__ import annotations

import errno
import io
import select
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import serial

from harness.cpustate import CpuState
from harness.errors import RunnerFailed
from harness.runners.base import LONGEST_WRITE, ExitKind, Image, TargetExit

BAUD_RATE = 115200  # bits per second, where the board does not say otherwise
_POLL_SECONDS = 0.01  # how long one read waits at a port that has no file descriptor


@dataclass(frozen=True)
class SerialRunner:
    """`url` is a port such as /dev/ttyACM0 or COM3, or socket://, rfc2217://, spy:// …"""

    url: str
    baud_rate: int = BAUD_RATE

    def start(self, image: Image) -> SerialTarget:
        """Open the port; the board must have been flashed with `image` (HELLO tells whether it was).

        RunnerFailed: the port is missing, in use, or not ours to open; names the port and what to do.
        """
        try:
            port = serial.serial_for_url(self.url, baudrate=self.baud_rate, do_not_open=True)
            port.timeout = _POLL_SECONDS
            if isinstance(port, serial.Serial):
                port.exclusive = True
                port.write_timeout = 0
            port.open()
        except (serial.SerialException, ValueError, OSError) as error:
            raise RunnerFailed(_words(error), where=self.url, hint=_hint(error, self.url)) from error
        return SerialTarget(port, self.url)


class SerialTransport:
    """An open port as a transport.

    pyserial's own timeout is set once: every change reconfigures the port, which over rfc2217:// is a negotiation. A
    port with a file descriptor is waited for by that; any other is polled.
    """

    def __init__(self, port: serial.SerialBase) -> None:
        self._port = port
        self.lost = ""  # why the port is gone, in pyserial's words
        self._readable: select.poll | None = None
        self._writable: select.poll | None = None
        with suppress(io.UnsupportedOperation, AttributeError):
            descriptor = port.fileno()
            port.timeout = 0
            self._readable, self._writable = select.poll(), select.poll()
            self._readable.register(descriptor, select.POLLIN)
            self._writable.register(descriptor, select.POLLOUT)

    def read(self, max_bytes: int, deadline: float) -> bytes:
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            try:
                if self._readable is not None:
                    return bytes(self._port.read(max_bytes)) if self._readable.poll(remaining * 1000) else b""
                data = self._port.read(1)
                if data:
                    return bytes(data + self._port.read(min(max_bytes - 1, self._port.in_waiting)))
            except (serial.SerialException, OSError) as error:
                raise self._gone(error) from error
            if not remaining:
                return b""

    def write(self, data: bytes, deadline: float | None = None) -> None:
        deadline = time.monotonic() + LONGEST_WRITE if deadline is None else deadline
        view = memoryview(data)
        while view:
            timeout = max(0.0, deadline - time.monotonic()) * 1000
            if self._writable is not None and not self._writable.poll(timeout):
                raise TimeoutError(f"the port takes no more bytes; {len(view)} of {len(data)} are left to send")
            try:
                view = view[self._port.write(bytes(view)) :]
            except (serial.SerialException, OSError) as error:
                raise self._gone(error) from error

    def _gone(self, error: Exception) -> EOFError:
        self.lost = _words(error)
        return EOFError(f"the port is gone: {self.lost}")


class SerialTarget:
    """A board behind a port. It cannot be halted from here: what it runs is known only from what it says."""

    def __init__(self, port: serial.SerialBase, url: str) -> None:
        self._port = port
        self._url = url
        self.transport = SerialTransport(port)

    @property
    def stderr(self) -> str:
        return ""

    def alive(self) -> bool:
        return not self.transport.lost

    def exit_reason(self, timeout: float = 0.0) -> TargetExit | None:
        if self.alive():
            return None
        return TargetExit(ExitKind.LOST, f"the port {self._url} is gone", detail=self.transport.lost)

    def halt(self) -> CpuState | None:
        return None

    def read_memory(self, address: int, length: int) -> bytes:
        raise RunnerFailed(f"cannot read {length} bytes at {address:#010x}: no debugger behind a serial port")

    def close(self) -> None:
        self._port.close()

    def __enter__(self) -> SerialTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _hint(error: Exception, url: str) -> str:
    """What to do about a port that does not open. pyserial often keeps the errno only in the text."""
    number = getattr(error, "errno", None)
    text = str(error)
    if "lock port" in text or number == errno.EBUSY:
        return "Another program has the port open (a terminal, another run): close it. `fuser` or `lsof` name it."
    if number == errno.EACCES or "Permission denied" in text or "Access is denied" in text:
        return "You may not open it: on Linux join the group that owns it (often dialout), then log in again."
    if "://" in url:
        return "Is the server behind the URL running, and the URL one that pyserial knows (socket://, rfc2217:// …)?"
    return "Is the board plugged in? `python -m serial.tools.list_ports -v` lists the ports that are here."
