"""The serial runner on pseudo terminals and on a TCP socket: real ports for pyserial, no board needed."""

from __future__ import annotations

import os
import pty
import socket
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import serial
import serial.rfc2217

from harness.board import load_board
from harness.errors import BadInput, RunnerFailed
from harness.runners import runner_for
from harness.runners.base import ExitKind
from harness.runners.serial import SerialRunner
from tests.runners.test_qemu import Elf, receive

IMAGE = Elf(Path("unused.elf"))  # a board behind a port has been flashed by somebody else


@pytest.fixture
def port() -> Iterator[tuple[int, str]]:
    """The far end of a pseudo terminal, and the name of the near one."""
    far, near = pty.openpty()
    tty.setraw(near)
    yield far, os.ttyname(near)
    for descriptor in (far, near):
        os.close(descriptor)


def test_bytes_go_both_ways_unchanged(port: tuple[int, str]) -> None:
    far, name = port
    payload = bytes(range(256)) * 2
    with SerialRunner(name).start(IMAGE) as target:
        target.transport.write(payload)
        arrived = b""
        while len(arrived) < len(payload):
            arrived += os.read(far, 1024)
        assert arrived == payload
        os.write(far, payload)
        assert receive(target.transport, len(payload)) == payload


def test_read_returns_nothing_at_its_deadline(port: tuple[int, str]) -> None:
    with SerialRunner(port[1]).start(IMAGE) as target:
        started = time.monotonic()
        assert target.transport.read(10, started + 0.05) == b""
        assert 0.05 <= time.monotonic() - started < 5


def test_board_that_takes_no_bytes_is_a_timeout(port: tuple[int, str]) -> None:
    with SerialRunner(port[1]).start(IMAGE) as target, pytest.raises(TimeoutError, match="takes no more bytes"):
        target.transport.write(bytes(1 << 20), deadline=time.monotonic() + 0.1)


def test_port_that_vanishes_is_lost() -> None:
    far, near = pty.openpty()
    name = os.ttyname(near)
    with SerialRunner(name).start(IMAGE) as target:
        assert target.exit_reason() is None
        os.close(near)
        os.close(far)
        with pytest.raises(EOFError):
            receive(target.transport, 1)
        gone = target.exit_reason()
        assert gone is not None
        assert gone.kind is ExitKind.LOST
        assert name in gone.what
        assert not target.alive()


def test_port_in_use(port: tuple[int, str]) -> None:
    with SerialRunner(port[1]).start(IMAGE), pytest.raises(RunnerFailed) as caught:
        SerialRunner(port[1]).start(IMAGE)
    assert caught.value.where == port[1]
    assert "Another program has the port open" in caught.value.hint


def test_missing_port() -> None:
    with pytest.raises(RunnerFailed, match=r"^/dev/no-such-port: (?s:.*)Is the board plugged in\?"):
        SerialRunner("/dev/no-such-port").start(IMAGE)


def test_url_that_nobody_serves() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"socket://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(RunnerFailed, match=f"^{url}: (?s:.*)Is the server"):
            SerialRunner(url).start(IMAGE)


def test_url_of_an_unknown_kind() -> None:
    with pytest.raises(RunnerFailed, match="nonsense"):
        SerialRunner("nonsense://x").start(IMAGE)


def test_tcp_socket() -> None:
    payload = bytes(range(256)) * 40
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        SerialRunner(f"socket://127.0.0.1:{server.getsockname()[1]}").start(IMAGE) as target,
    ):
        peer, _ = server.accept()
        with peer:
            target.transport.write(b"question")
            assert peer.recv(100) == b"question"
            peer.sendall(payload)
            assert receive(target.transport, len(payload)) == payload
        with pytest.raises(EOFError):
            receive(target.transport, 1)
        assert target.exit_reason() is not None


@pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning")  # inside pyserial
def test_rfc2217() -> None:
    """A port given away over the network by pyserial's own server side; behind it is a port that echoes."""
    ended = threading.Event()

    def serve(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer, serial.serial_for_url("loop://", timeout=0) as given:
            peer.settimeout(0.01)
            manager = serial.rfc2217.PortManager(given, type("Peer", (), {"write": staticmethod(peer.sendall)}))
            while not ended.is_set():
                if data := given.read(1024):
                    peer.sendall(b"".join(manager.escape(data)))
                try:
                    given.write(b"".join(manager.filter(peer.recv(1024))))
                except TimeoutError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            with SerialRunner(f"rfc2217://127.0.0.1:{server.getsockname()[1]}").start(IMAGE) as target:
                target.transport.write(b"question \xff\x00")
                assert receive(target.transport, 11) == b"question \xff\x00"
                started = time.monotonic()
                assert target.transport.read(1, started + 0.05) == b""
                assert time.monotonic() - started >= 0.05
        finally:
            ended.set()
            thread.join()


def test_url_stands_above_the_boards_own_runner() -> None:
    assert runner_for(load_board("qemu_cortex_m3"), "socket://127.0.0.1:1") == SerialRunner("socket://127.0.0.1:1")


def test_board_without_a_port_asks_for_one() -> None:
    board = load_board("host")
    run = {"kind": "serial", "baud": 57600}
    behind_a_port = type(board).model_validate({**board.model_dump(), "name": "bench", "runner": run})
    assert runner_for(behind_a_port, "/dev/ttyACM0") == SerialRunner("/dev/ttyACM0", 57600)
    with pytest.raises(BadInput, match="--board-url"):
        runner_for(behind_a_port)
