"""The byte streams under all runners: deadlines, ends, and what a recording keeps."""

from __future__ import annotations

import socket
import time

import pytest

from harness.runners.base import RecordingTransport, SocketTransport, Traffic


class Replay:
    """A transport whose peer says the given pieces one after the other."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def read(self, max_bytes: int, deadline: float) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def write(self, data: bytes, deadline: float | None = None) -> None:
        pass


def test_what_was_on_its_way_is_read_before_the_end_that_somebody_else_saw() -> None:
    ours, theirs = socket.socketpair()

    def ended() -> None:
        if not said:
            said.append(True)
            theirs.sendall(b"last words")
        raise EOFError("the processor runs no more")

    said: list[bool] = []
    with ours, theirs:
        transport = SocketTransport(ours, nudge=ended)
        assert transport.read(100, time.monotonic() + 5) == b"last words"
        with pytest.raises(EOFError, match="runs no more"):
            transport.read(100, time.monotonic() + 5)


def test_what_came_before_the_end_is_read_before_the_end() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"last words")
        theirs.close()
        transport = SocketTransport(ours)
        assert transport.read(4, time.monotonic()) == b"last"
        assert transport.read(100, time.monotonic()) == b" words"
        with pytest.raises(EOFError):
            transport.read(1, time.monotonic())
        with pytest.raises(EOFError):
            transport.write(b"hello?")


def test_write_to_a_peer_that_reads_nothing_ends_at_its_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        started = time.monotonic()
        with pytest.raises(TimeoutError, match="are left to send"):
            SocketTransport(ours).write(bytes(8 << 20), deadline=started + 0.05)
        assert time.monotonic() - started >= 0.05


def test_a_deadline_may_be_years_away() -> None:
    """Longer than poll(2) can be told: a debugger may hold the processor for as long as it likes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SocketTransport(ours)
        transport.write(b"x", time.monotonic() + 1e9)
        theirs.sendall(b"y")
        assert transport.read(1, time.monotonic() + 1e9) == b"y"
        assert theirs.recv(1) == b"x"


def test_silence_nudges_and_bytes_do_not() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        nudges: list[float] = []
        transport = SocketTransport(ours, nudge=lambda: nudges.append(time.monotonic()))
        theirs.sendall(b"x")
        assert transport.read(1, time.monotonic() + 5) == b"x"
        assert nudges == []
        assert transport.read(1, time.monotonic() + 0.1) == b""
        assert nudges


def test_recording_keeps_every_byte_and_joins_those_of_a_frame() -> None:
    traffic: list[Traffic] = []
    transport = RecordingTransport(Replay(b"a", b"b\0", b"", b"c", b"\0"), traffic, time.monotonic())
    transport.write(b"q\0")
    for _ in range(5):
        transport.read(10, 0.0)
    transport.write(b"r\0")
    assert [(piece.outgoing, piece.data) for piece in traffic] == [
        (True, b"q\0"),
        (False, b"ab\0"),
        (False, b"c\0"),
        (True, b"r\0"),
    ]
    assert [piece.time for piece in traffic] == sorted(piece.time for piece in traffic)
