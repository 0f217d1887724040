"""The remote stub: packets in any pieces and with any damage, what it answers, and how a conversation ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.cpustate import CpuState, MemorySpan
from harness.debug.gdb.protocol import MAX_PAYLOAD, Mark, Reader, escape, frame
from harness.debug.gdb.server import HOST, GdbServer
from harness.debug.gdb.target import GdbTarget
from harness.debug.gdb.view import UNKNOWN
from harness.debug.image import Image
from harness.errors import BadInput, RunnerFailed
from tests.debug.gdb import sights

RAM = 0x20000000
STATE = CpuState(
    {"r0": 1, "r1": 0x12345678, "sp": RAM, "pc": 0x100, "exc_return": 0xFFFFFFFD, "msp": 4, "psp": RAM - 32, "s0": 5},
    {"cfsr": 0x8200, "bfar": 0x60000000},
    (MemorySpan(RAM, bytes(range(100))),),
)
NOT_IN_NOISE = st.binary(max_size=20).filter(lambda data: not set(data) & set(b"$+-\3"))


@pytest.fixture(scope="session")
def image(program: Callable[[str, str], Path]) -> Image:
    return Image(program("m3", "-O2"))


def _sent(payload: bytes) -> bytes:
    """A packet as a debugger sends it, whatever is in it."""
    return frame(escape(payload))


@settings(max_examples=500, deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=60), max_size=6),
    noise=st.lists(NOT_IN_NOISE, min_size=7, max_size=7),
    cuts=st.lists(st.integers(0, 500), max_size=12),
)
def test_packets_arrive_whole_in_whatever_pieces(payloads: list[bytes], noise: list[bytes], cuts: list[int]) -> None:
    stream = noise[0] + b"".join(_sent(p) + n for p, n in zip(payloads, noise[1:], strict=False))
    reader, found = Reader(), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True):
        found += list(reader.feed(stream[start:end]))
    assert found == payloads


@settings(max_examples=500, deadline=None)
@given(payload=st.binary(min_size=1, max_size=40), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_makes_another_packet(payload: bytes, at: int, bit: int) -> None:
    damaged = bytearray(_sent(payload))
    at %= len(damaged)
    damaged[at] ^= 1 << bit
    found = list(Reader().feed(bytes(damaged)))
    same = damaged[:-2] == _sent(payload)[:-2] and damaged[-2:].lower() == _sent(payload)[-2:]  # a digit's case
    assert [payload for payload in found if isinstance(payload, bytes)] == ([payload] if same else [])


def test_marks_and_a_packet_without_end() -> None:
    reader = Reader()
    assert list(reader.feed(b"+-\3$g#00$g#67")) == [Mark.ACK, Mark.NAK, Mark.INTERRUPT, Mark.DAMAGED, b"g"]
    assert list(reader.feed(b"$" + b"x" * (MAX_PAYLOAD + 1))) == [Mark.DAMAGED]
    assert list(reader.feed(b"xxx#00" + frame(b"?"))) == [b"?"]


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packet=st.binary(max_size=40)
    | st.builds(
        lambda head, rest: head + rest,
        st.sampled_from(
            [b"m", b"p", b"g", b"qXfer:features:read:target.xml:", b"qRcmd,", b"qSupported", b"vCont", b"X"]
        ),
        st.text("0123456789abcdef,;:", max_size=30).map(str.encode),
    )
)
def test_no_packet_makes_it_raise_or_send_what_is_none(packet: bytes, image: Image) -> None:
    answers = GdbTarget(STATE, image).answer(packet)
    for answer in answers:
        assert list(Reader().feed(frame(answer))) == [answer]
        assert len(answer) <= MAX_PAYLOAD
    assert answers or packet == b"k"


def test_registers_are_numbered_as_described_and_what_is_not_known_is_x(image: Image) -> None:
    target = GdbTarget(STATE, image)
    (reply,) = target.answer(b"qXfer:features:read:target.xml:0,ffff")
    described = ElementTree.fromstring(reply[1:])
    names = [register.attrib["name"] for register in described.iter("reg")]
    sizes = [int(register.attrib["bitsize"]) // 4 for register in described.iter("reg")]
    (everything,) = target.answer(b"g")
    assert len(everything) == sum(sizes)
    at = 0
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        (one,) = target.answer(b"p%x" % number)
        assert one == everything[at : at + size], name
        at += size
    values = dict(zip(names, (target.answer(b"p%x" % n)[0] for n in range(len(names))), strict=True))
    assert values["r1"] == b"78563412"
    assert values["r2"] == values["lr"] == b"xxxxxxxx"
    assert values["d0"] == b"x" * 16, "half of it is not known"
    assert values["psp"] == RAM.to_bytes(4, "little").hex().encode(), "at the fault, before the frame was pushed"
    assert values["msp"] == b"04000000"
    assert values["bfar"] == b"00000060"
    assert target.answer(b"p%x" % len(names)) == [b"E16"]


def test_the_description_comes_in_pieces(image: Image) -> None:
    target = GdbTarget(STATE, image)
    (whole,) = target.answer(b"qXfer:features:read:target.xml:0,3fff")
    assert whole[:1] == b"l"
    pieces, at = b"", 0
    while True:
        (piece,) = target.answer(b"qXfer:features:read:target.xml:%x,40" % at)
        pieces, at = pieces + piece[1:], at + 0x40
        if piece[:1] == b"l":
            break
    assert pieces == whole[1:]


def test_without_a_program_counter_gdb_gets_one_that_is_nowhere(image: Image) -> None:
    (everything,) = GdbTarget(CpuState({"sp": RAM}), image).answer(b"g")
    assert everything[15 * 8 : 16 * 8] == UNKNOWN.to_bytes(4, "little").hex().encode()


def test_memory_is_given_as_far_as_it_is_known(image: Image) -> None:
    target = GdbTarget(STATE, image)
    assert target.answer(b"m%x,4" % RAM) == [b"00010203"]
    assert target.answer(b"m%x,40" % (RAM + 90)) == [bytes(range(90, 100)).hex().encode()]
    assert target.answer(b"m%x,4" % (RAM + 100)) == [b"E14"]
    assert target.answer(b"m%x,4" % (RAM - 4)) == [b"E14"]
    assert target.answer(b"me000ed28,4") == [b"00820000"]
    code = image.constant(image.entry, 8)
    assert code is not None
    assert target.answer(b"m%x,8" % image.entry) == [code.hex().encode()]
    variable = image.symbol("real")
    assert variable is not None
    assert target.answer(b"m%x,4" % variable.address) == [b"E14"], "not its value at reset"


def test_a_target_that_still_answers_is_read_however_many_bad_addresses_were_asked_for(image: Image) -> None:
    def read(address: int, length: int) -> bytes:
        if address < 0x30000000 or address + length > 0x30000040:
            raise RunnerFailed("nothing there")
        return bytes([length & 255]) * length

    target = GdbTarget(STATE, image, read_memory=read)
    for address in range(0x50000000, 0x50010000, 0x1000):
        assert target.answer(b"m%x,4" % address) == [b"E14"]
    assert len(target.answer(b"m30000010,10")[0]) == 0x20
    assert len(target.answer(b"m30000010,1000")[0]) == 0x60


@pytest.mark.parametrize(
    "packet", [b"M20000000,1:00", b"X20000000,1:a", b"P0=00000000", b"G00", b"Z0,100,2", b"vFlashDone"]
)
def test_writing_is_refused_in_words(packet: bytes, image: Image) -> None:
    (answer,) = GdbTarget(STATE, image).answer(packet)
    assert answer.startswith(b"E.")
    assert b"not changed" in answer


@pytest.mark.parametrize("packet", [b"c", b"s", b"C0b", b"vCont;c", b"vCont;s:1;c"])
def test_running_is_answered_in_words_and_with_the_same_stop(packet: bytes, image: Image) -> None:
    target = GdbTarget(STATE, image, kind="precise_bus_fault")
    said, stop = target.answer(packet)
    assert b"cannot run" in bytes.fromhex(said[1:].decode())
    assert [stop] == target.answer(b"?") == target.interrupted() == [b"T0athread:1;"]


# ---- over a connection


@contextmanager
def _serving(target: GdbTarget) -> Iterator[tuple[GdbServer, Thread]]:
    with GdbServer() as server:
        thread = Thread(target=server.serve, args=(target,))
        thread.start()
        try:
            yield server, thread
        finally:
            server.close()
            thread.join(10)
            assert not thread.is_alive()


def _until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        data = connection.recv(4096)
        assert data, received
        received += data
    return received


def test_only_this_machine_can_connect_and_only_once(image: Image) -> None:
    with _serving(GdbTarget(STATE, image)) as (server, thread):
        with socket.create_connection((HOST, server.port), timeout=10) as first:
            first.sendall(frame(b"?"))
            assert _until(first, frame(b"T0bthread:1;")).startswith(b"+$")
            with pytest.raises(OSError):
                socket.create_connection((HOST, server.port), timeout=2).close()
            first.sendall(frame(b"D"))
            assert _until(first, frame(b"OK")) == b"+" + frame(b"OK")
        thread.join(10)
        assert not thread.is_alive()
    assert HOST == "127.0.0.1"


def test_damage_is_answered_by_asking_again_and_a_lost_answer_is_repeated(image: Image) -> None:
    with (
        _serving(GdbTarget(STATE, image)) as (server, _),
        socket.create_connection((HOST, server.port), timeout=10) as connection,
    ):
        connection.sendall(b"\xff\0noise$g#00")
        assert _until(connection, b"-") == b"-"
        connection.sendall(frame(b"p1"))
        assert _until(connection, frame(b"78563412")) == b"+" + frame(b"78563412")
        connection.sendall(b"-")
        assert _until(connection, frame(b"78563412")) == frame(b"78563412")
        connection.sendall(b"+" + frame(b"QStartNoAckMode"))
        assert _until(connection, frame(b"OK")) == b"+" + frame(b"OK")
        connection.sendall(b"+" + frame(b"p1"))
        assert _until(connection, frame(b"78563412")) == frame(b"78563412")


@pytest.mark.parametrize("last", [b"$k#6b", b"$D;1#b0", b"$vKill;1#6e", b"$unfinished", b"\xff" * 70000])
def test_a_conversation_ends_when_gdb_ends_it_or_is_gone(last: bytes, image: Image) -> None:
    with _serving(GdbTarget(STATE, image)) as (server, thread):
        connection = socket.create_connection((HOST, server.port), timeout=10)
        connection.sendall(last)
        if last[:2] in (b"$k", b"$D", b"$v"):
            thread.join(10)
            assert not thread.is_alive()
        connection.close()
        thread.join(10)
        assert not thread.is_alive()


def test_it_stops_waiting_when_it_is_closed() -> None:
    server = GdbServer()
    found: list[bool] = []
    thread = Thread(target=lambda: found.append(server.serve(GdbTarget.__new__(GdbTarget))))
    thread.start()
    time.sleep(0.05)
    server.close()
    thread.join(10)
    assert found == [False]


def test_a_port_that_is_taken_or_none_is_one_error() -> None:
    with GdbServer() as server, pytest.raises(BadInput, match="cannot listen") as raised:
        GdbServer(server.port)
    assert raised.value.where == f"{HOST}:{server.port}"
    with pytest.raises(BadInput, match="no such port"):
        GdbServer(70000)


@sights.needs_gdb
def test_gdb_shows_the_report_refuses_to_run_and_detaches(image: Image, tmp_path: Path) -> None:
    target = GdbTarget(STATE, image, kind="divide_by_zero", report=["Division by zero — in divide.", "#0 divide"])
    with _serving(target) as (server, thread):
        commands = ("monitor report", "monitor help", "stepi", "p $r2", "p $pc", "detach")
        (seen,) = sights.look(image.path, [sights.Target(f"target remote :{server.port}", commands=commands)], tmp_path)
        thread.join(10)
        assert not thread.is_alive()
    assert seen.answers[0] == "Division by zero — in divide.\n#0 divide\n"
    assert "monitor report" in seen.answers[1]
    assert "cannot run" in seen.answers[2]
    assert "<unavailable>" in seen.answers[3]
    assert "0x100" in seen.answers[4]
    assert seen.register("r2") is None
    assert seen.register("cfsr") == 0x8200
    assert target.ended
