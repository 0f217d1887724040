"""An emulator's gdb stub, driven from here: breakpoints, steps, registers (GDB's Remote Serial Protocol).

Only what it takes to bring a Cortex-M to a certain instruction. Whoever wants more attaches gdb itself, afterwards: a
stub has one client at a time, and leaves the processor as it is when that one goes.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from pathlib import Path

from harness.errors import RunnerFailed

_ANSWER_SECONDS = 20.0  # a healthy emulator answers in milliseconds
_NUMBERS = {**{f"r{n}": n for n in range(13)}, "sp": 13, "lr": 14, "pc": 15, "xpsr": 25}  # org.gnu.gdb.arm.m-profile
_STOPPED = ("T", "S", "W", "X")  # first letters of the packets that say why the target stopped


class GdbRemote:
    """The stub that listens at the Unix socket `path`. Connecting stops the processor. RunnerFailed: it is gone."""

    def __init__(self, path: Path) -> None:
        self._stream = socket.socket(socket.AF_UNIX)
        self._pending = b""
        try:
            self._stream.connect(str(path))
            self._synchronise()
        except (OSError, RunnerFailed) as error:
            self._stream.close()
            raise RunnerFailed(f"the emulator's gdb stub does not answer: {error}", where=str(path)) from error

    def close(self) -> None:
        """Leave; the processor stays as it is."""
        self._stream.close()

    def register(self, name: str) -> int:
        return int.from_bytes(bytes.fromhex(self._ask(f"p{_NUMBERS[name]:x}")), "little")

    def set_register(self, name: str, value: int) -> None:
        self._done(f"P{_NUMBERS[name]:x}={value.to_bytes(4, 'little').hex()}")

    def read(self, address: int, length: int) -> bytes:
        """Memory as the processor sees it. RunnerFailed: nothing readable there."""
        answer = self._ask(f"m{address:x},{length:x}")
        if answer.startswith("E"):
            raise RunnerFailed(f"nothing readable at {address:#010x}, {length} bytes")
        return bytes.fromhex(answer)

    def insert(self, addresses: Iterable[int]) -> None:
        """Breakpoints, which stop the processor before the instruction there."""
        for address in addresses:
            self._done(f"Z0,{address:x},2")

    def remove(self, addresses: Iterable[int]) -> None:
        for address in addresses:
            self._done(f"z0,{address:x},2")

    def go(self) -> None:
        """Let the processor run; `wait` says when it stopped."""
        self._send("c")

    def wait(self, seconds: float) -> bool:
        """Whether the processor stopped within `seconds`."""
        answer = self._packet(time.monotonic() + seconds)
        return answer is not None and answer.startswith(_STOPPED)

    def interrupt(self) -> None:
        """Stop the running processor."""
        self._stream.sendall(b"\x03")
        if not self.wait(_ANSWER_SECONDS):
            raise RunnerFailed("the emulator does not stop")

    def step(self) -> None:
        """One instruction."""
        self._send("s")
        if not self.wait(_ANSWER_SECONDS):
            raise RunnerFailed("the emulator does not come back from one instruction")

    def _synchronise(self) -> None:
        """Skip what the stub says of the stop by itself, and have it know registers by their numbers."""
        self._send("qSupported:xmlRegisters=arm")
        deadline = time.monotonic() + _ANSWER_SECONDS
        while (answer := self._packet(deadline)) is not None and not answer.startswith("PacketSize"):
            pass
        if answer is None:
            raise RunnerFailed("no answer")
        self._ask("qXfer:features:read:target.xml:0,ffb")

    def _done(self, command: str) -> None:
        answer = self._ask(command)
        if answer != "OK":
            raise RunnerFailed(f"the emulator's gdb stub refuses {command!r}: {answer or 'it does not know it'}")

    def _ask(self, command: str) -> str:
        """The answer to a command that does not let the processor run."""
        self._send(command)
        deadline = time.monotonic() + _ANSWER_SECONDS
        while (answer := self._packet(deadline)) is not None:
            if not answer.startswith("T"):  # of the stop when we connected: it may come late
                return answer
        raise RunnerFailed(f"the emulator's gdb stub does not answer {command!r}")

    def _send(self, command: str) -> None:
        body = command.encode()
        try:
            self._stream.sendall(b"$%s#%02x" % (body, sum(body) & 255))
        except OSError as error:
            raise RunnerFailed("the emulator is gone") from error

    def _packet(self, deadline: float) -> str | None:
        """The next packet, None when none came by the deadline."""
        while True:
            start = self._pending.find(b"$")
            end = self._pending.find(b"#", start)
            if 0 <= start < end and len(self._pending) >= end + 3:
                body = self._pending[start + 1 : end]
                self._pending = self._pending[end + 3 :]
                self._stream.sendall(b"+")
                return body.decode("latin-1")
            self._stream.settimeout(max(1e-3, deadline - time.monotonic()))
            try:
                data = self._stream.recv(65536)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    return None
                continue
            except OSError as error:
                raise RunnerFailed("the emulator is gone") from error
            if not data:
                raise RunnerFailed("the emulator is gone")
            self._pending += data
