"""Serves a crashed target to one gdb, or to an IDE that speaks its remote protocol, on this machine only."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event

from harness.debug.gdb.protocol import Mark, Reader, frame
from harness.debug.gdb.target import GdbTarget
from harness.errors import BadInput

HOST = "127.0.0.1"  # whoever can connect can read the target's memory: nobody from elsewhere
_LOOK = 0.2  # seconds between looks whether to stop


class GdbServer:
    """Listens from when it is made; use in a `with` block. BadInput: `port` is taken. Port 0 is any that is free."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((HOST, port))
            self._listener.listen(1)
        except (OSError, OverflowError) as error:
            self._listener.close()
            what = error.strerror if isinstance(error, OSError) else "there is no such port"
            raise BadInput(
                f"cannot listen: {what}", where=f"{HOST}:{port}", hint="Give another --port, or none."
            ) from error
        self._stop = Event()
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> GdbServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End whatever `serve` is at, from any thread. May be called twice."""
        self._stop.set()
        self._listener.close()

    def serve(self, target: GdbTarget) -> bool:
        """Waits for a gdb, and answers until it detaches, kills or is gone. Whether there was one.

        A second one is refused by the system: there is one connection, and nobody listens after it.
        """
        connection = self._accept()
        if connection is None:
            return False
        self._listener.close()
        with connection:
            connection.settimeout(_LOOK)
            with suppress(OSError):  # gdb is gone, in whatever way
                self._converse(connection, target)
        return True

    def _accept(self) -> socket.socket | None:
        with suppress(OSError):
            self._listener.settimeout(_LOOK)
        while not self._stop.is_set():
            try:
                return self._listener.accept()[0]
            except TimeoutError:
                continue
            except OSError:
                return None  # closed meanwhile
        return None

    def _converse(self, connection: socket.socket, target: GdbTarget) -> None:
        reader, last, acknowledging = Reader(), b"", True
        while not self._stop.is_set():
            try:
                data = connection.recv(65536)
            except TimeoutError:
                continue
            if not data:
                return
            for found in reader.feed(data):
                if found is Mark.NAK:
                    connection.sendall(last)
                elif found is Mark.DAMAGED:
                    connection.sendall(b"-")
                elif found is Mark.INTERRUPT:
                    last = b"".join(map(frame, target.interrupted()))
                    connection.sendall(last)
                elif isinstance(found, bytes):
                    answers = target.answer(found)
                    last = b"".join(map(frame, answers))
                    connection.sendall((b"+" if acknowledging else b"") + last)
                    acknowledging = acknowledging and found != b"QStartNoAckMode"
                if target.ended:
                    return
