"""The client of the robot server against what a real Renode 1.16.1 answered, and against what none should answer."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

import pytest

from harness.errors import InfrastructureError, RunnerFailed
from harness.runners.robot import RenodeRefused, RobotClient, number, octets, registers
from tests.runners.renode import recording

Event = dict[str, Any]


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ()  # every path
    protocol_version = "HTTP/1.1"


@contextmanager
def replay(events: Sequence[Event]) -> Iterator[RobotClient]:
    """A client of a server that gives the recorded answers, one after the other, to the recorded commands only."""
    left = list(events)

    def run_keyword(name: str, arguments: list[str]) -> Any:
        event = left.pop(0)
        assert (name, arguments) == ("ExecuteCommand", [event["command"]])
        answer = event["response"]
        if isinstance(answer, dict) and "xmlrpc_fault" in answer:
            raise Fault(answer["xmlrpc_fault"], answer["message"])
        return answer

    with SimpleXMLRPCServer(("127.0.0.1", 0), _Handler, logRequests=False) as server:
        server.register_function(run_keyword)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        client = RobotClient(server.server_address[1], seconds=10)
        try:
            yield client
        finally:
            client.close()
            server.shutdown()
            thread.join()
    assert not left


def recorded() -> list[Event]:
    return [event for event in recording("robot_xmlrpc.json")["events"] if "command" in event]


def answer(command: str) -> str:
    """What Renode answered."""
    return str(next(event["response"]["return"] for event in recorded() if event["command"] == command))


def monitor(command: str) -> str:
    """What Renode's monitor printed the last time, with the ends of lines as XML has them."""
    events = recording("monitor_plain.json")["events"]
    *_, at = (index for index, event in enumerate(events) if event.get("send") == command + "\n")
    return re.sub(r"\r\n?", "\n", events[at + 1]["recv"])


def test_every_recorded_answer_is_understood() -> None:
    events = recorded()
    refused = 0
    with replay(events) as client:
        for event in events:
            command, response = event["command"], event["response"]
            if response["status"] == "PASS":
                assert client.execute(command) == response["return"]
                continue
            refused += 1
            with pytest.raises(RenodeRefused) as caught:
                client.execute(command)
            own = response["error"].strip().rpartition(f"'{command}': ")[2]
            assert str(caught.value) == f"Renode refuses `{command}`: {own}"
            assert isinstance(caught.value, InfrastructureError)
    assert refused == 3


def test_a_fault_of_the_server_is_a_refusal() -> None:
    (fault,) = (e["response"] for e in recording("robot_xmlrpc.json")["events"] if "xmlrpc_fault" in e["response"])
    with replay([{"command": "x", "response": fault}]) as client, pytest.raises(RenodeRefused, match="not found"):
        client.execute("x")


def test_recorded_values() -> None:
    assert number(answer("sysbus.cpu PC")) == 0x1A8
    assert number(answer("sysbus.cpu ExecutedInstructions")) == 500_000
    first = number(answer("sysbus ReadDoubleWord 0x0")).to_bytes(4, "little")
    data = octets(answer("sysbus ReadBytes 0x0 16"), 16)
    assert data[:4] == first == b"\x00\x00\x40\x20"
    assert data[-4:] == b"\x35\x01\x00\x00"
    with pytest.raises(RunnerFailed, match="16 bytes where 8"):
        octets(answer("sysbus ReadBytes 0x0 16"), 8)
    with pytest.raises(RunnerFailed, match=r"'Starting emulation\.\.\.' where a number"):
        number(answer("start"))


def test_recorded_registers() -> None:
    found = registers(monitor("sysbus.cpu GetRegistersValues"))
    lines = monitor("sysbus.cpu PC").splitlines()
    assert found["pc"] == int(next(line for line in lines if line.startswith("0x")), 16)
    # r4, r7 and s15 to s17 are what the recorded firmware had there, and 2 KB of its stack were free
    some = {"r0": 0, "r4": 0xE000E000, "r7": 0x5FA0004, "r12": 0, "sp": 0x203FFFC0, "lr": 0x2CF, "xpsr": 0x61000000}
    some |= {"control": 4, "s15": 0x40780000, "s16": 0x40580000, "s17": 0x40100000, "fpscr": 0x40000}
    some |= {"msp": 0x203FFFC0, "psp": 0, "primask": 0, "basepri": 0, "faultmask": 0}
    assert some.items() <= found.items()
    assert set(found) - set(some) == {f"r{n}" for n in (1, 2, 3, 5, 6, 8, 9, 10, 11)} | {"pc"} | {
        f"s{n}" for n in range(32) if n not in (15, 16, 17)
    }


def test_process_stack_in_use() -> None:
    rows = {"SP / R13": 0x2000, "PC / R15": 0x100, "CurrentSP": 1, "OtherSP": 0x3000}
    table = "\n\n".join(f"| {name:<9} | {20:<5} | {f'0x{value:X}':<18} |" for name, value in rows.items())
    assert registers(table) == {"sp": 0x2000, "pc": 0x100, "psp": 0x2000, "msp": 0x3000}


def test_a_table_without_registers() -> None:
    with pytest.raises(RunnerFailed, match="lacks some"):
        registers("-----\n| Name | Index | Value |\n")


@pytest.mark.parametrize("value", [{}, {"status": "PERHAPS"}, "PASS", 7], ids=str)
def test_an_answer_out_of_protocol(value: Any) -> None:
    with replay([{"command": "x", "response": value}]) as client, pytest.raises(RunnerFailed, match="out of protocol"):
        client.execute("x")


@contextmanager
def served(reply: bytes | None) -> Iterator[int]:
    """The port of a server that answers each connection with `reply`, or holds it and says nothing."""
    held = []

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            peer.recv(65536)
            if reply is None:
                held.append(peer)
            else:
                peer.sendall(reply)
                peer.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for peer in held:
                peer.close()


def test_no_answer_is_a_timeout() -> None:
    with served(None) as port:
        client = RobotClient(port, seconds=0.2)
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"did not answer `sysbus\.cpu PC` within 0\.2 s"):
            client.execute("sysbus.cpu PC")
        assert 0.2 <= time.monotonic() - started < 5
        client.close()


def test_a_server_that_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with pytest.raises(EOFError, match="closed its robot server"):
        RobotClient(port, seconds=5).execute("version")
    with served(b"") as port, pytest.raises(EOFError):
        RobotClient(port, seconds=5).execute("version")


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 4\r\n\r\n<a>b",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 99\r\n\r\n<methodResponse>",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["error", "no XML", "cut short", "no HTTP"],
)
def test_bytes_that_are_no_answer(reply: bytes) -> None:
    with served(reply) as port, pytest.raises(RunnerFailed, match="out of protocol"):
        RobotClient(port, seconds=5).execute("version")
