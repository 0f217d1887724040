"""QEMU's machine protocol, as far as the runner needs it: one JSON object a line over a stream socket."""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

_ANSWER_SECONDS = 20.0  # a healthy QEMU answers in milliseconds


class QmpRefused(Exception):
    """QEMU understood a command and said no."""


class QmpClient:
    """Commands to one QEMU. EOFError: QEMU is gone. TimeoutError: it does not answer."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(True)
        self._stream = stream
        self._pending = b""
        self._readable = select.poll()
        self._readable.register(stream, select.POLLIN)
        self._next_id = 0
        self._nudge_unanswered = False

    def negotiate(self) -> None:
        """Read the greeting and leave negotiation mode."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while "QMP" not in (self._message(deadline) or {}):
            self._check(deadline, "greeting")
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """The command's return value. QmpRefused: with QEMU's description."""
        self._next_id += 1
        self._send({"execute": command, "arguments": arguments, "id": self._next_id})
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            answer = self._message(deadline)
            if answer is None:
                self._check(deadline, command)
            elif answer.get("id") == self._next_id:
                if "error" in answer:
                    raise QmpRefused(answer["error"]["desc"])
                return answer["return"]

    def monitor(self, command: str) -> str:
        """The text that QEMU's human monitor prints for `command`."""
        text: str = self.execute("human-monitor-command", **{"command-line": command})
        return text.replace("\r\n", "\n")

    def nudge(self) -> None:
        """Wake QEMU's main loop without waiting for it.

        Its character devices look whether the guest's UART takes bytes only when the loop turns. A UART that is
        switched on after bytes arrived for it does not turn the loop: those would lie there until something else does.
        """
        try:
            while (message := self._message(time.monotonic())) is not None:
                if message.get("id") == "nudge":
                    self._nudge_unanswered = False
            if not self._nudge_unanswered:
                self._send({"execute": "query-status", "id": "nudge"})
                self._nudge_unanswered = True
        except EOFError:  # QEMU is gone: the UART's own end of file reports it
            pass

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._stream.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError) as error:
            raise EOFError("QEMU closed its monitor") from error

    def _message(self, deadline: float) -> dict[str, Any] | None:
        """The next message (answers and events alike), or None at the deadline."""
        while b"\n" not in self._pending:
            if not self._readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            try:
                data = self._stream.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError("QEMU closed its monitor")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    @staticmethod
    def _check(deadline: float, command: str) -> None:
        if time.monotonic() >= deadline:
            raise TimeoutError(f"QEMU did not answer {command} within {_ANSWER_SECONDS:.0f} s")
