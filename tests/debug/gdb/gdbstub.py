"""Just enough of gdb's remote protocol to stop QEMU, step it and read its registers and memory."""

from __future__ import annotations

import socket
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.debug.lab import Core

REGISTERS = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc")


class Connection:
    """Packets to a gdb stub at the other end of `stream`, and back. EOFError: the stub is gone."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._received = b""

    def ask(self, command: str) -> str:
        """Send a packet; the next packet that comes back."""
        body = command.encode()
        self._stream.sendall(b"$%s#%02x" % (body, sum(body) & 255))
        while True:
            start, end = self._received.find(b"$"), self._received.find(b"#")
            if start >= 0 and end > start and len(self._received) >= end + 3:
                answer = self._received[start + 1 : end]
                self._received = self._received[end + 3 :]
                self._stream.sendall(b"+")
                return answer.decode()
            data = self._stream.recv(65536)
            if not data:
                raise EOFError("QEMU closed its gdb stub")
            self._received += data

    def registers(self) -> dict[str, int]:
        words = struct.unpack("<16I", bytes.fromhex(self.ask("g")[:128]))
        return dict(zip(REGISTERS, words, strict=True))


class Stub(Connection):
    """QEMU with an ELF loaded, stopped before its first instruction; use in a `with` block."""

    def __init__(self, core: Core, elf: Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                ["qemu-system-arm", "-M", core.machine, "-display", "none", "-serial", "none", "-monitor", "none",
                 "-net", "none", "-S", "-kernel", str(elf), "-chardev", f"socket,id=gdb,fd={theirs.fileno()}",
                 "-gdb", "chardev:gdb"],
                pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        super().__init__(ours)
        self._stream.settimeout(20)
        self.ask("Qqemu.sstep=1")  # step with interrupts and timers on

    def __enter__(self) -> Stub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._stream.close()
        self._process.kill()
        self._process.wait(10)

    def read(self, address: int, length: int) -> bytes:
        answer = self.ask(f"m{address:x},{length:x}")
        return b"" if answer.startswith("E") else bytes.fromhex(answer)

    def write(self, address: int, data: bytes) -> None:
        assert self.ask(f"M{address:x},{len(data):x}:{data.hex()}") == "OK"

    def run_to(self, address: int) -> None:
        assert self.ask(f"Z0,{address:x},2") == "OK"
        assert self.ask("c").startswith("T05")
        assert self.ask(f"z0,{address:x},2") == "OK"

    def step(self) -> None:
        assert self.ask("s").startswith("T05")
