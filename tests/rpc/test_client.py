"""Client and server over a line that cannot be trusted. The server is the real one, built for this computer."""

from __future__ import annotations

import shutil
import threading
import time
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.board import load_board
from harness.errors import RunnerFailed
from harness.firmware import Firmware, build
from harness.rpc import messages as m
from harness.rpc.client import NoAnswer, RpcClient
from harness.rpc.exchange import MOST_DAMAGED, Refused
from harness.rpc.framing import Frame, encode
from harness.runners import runner_for
from harness.runners.base import RunningTarget, Transport
from harness.verdict import TargetTimedOut
from tests import sample_model
from tests.rpc.line import BadLine, Drop, Flip, Mishap, Twice, mishaps

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
REPEAT = 0.02  # seconds: the line is quick, so that a lost frame need not be missed for long
PATIENCE = 20.0

# Running it twice gives something else than running it once.
COUNTING = """    for (int32_t i = 0; i < 16; i++) {
        output[i] = (int8_t)(output[i] + input[i]);
    }
"""


@pytest.fixture(scope="module")
def counting() -> Firmware:
    return build(
        sample_model.with_kernel(sample_model.sample("host", arena_bytes=8192), 0, COUNTING), load_board("host")
    )


@pytest.fixture(scope="module")
def target(counting: Firmware) -> Iterator[RunningTarget]:
    with runner_for(counting.board).start(counting) as running:
        yield running


@pytest.fixture
def client(target: RunningTarget) -> RpcClient:
    client = RpcClient(target.transport, first_repeat=REPEAT, patience=PATIENCE)
    client.connect()
    return client


def drain(transport: Transport) -> None:
    """Throw away what an earlier conversation left on the line."""
    quiet = RpcClient(transport, first_repeat=REPEAT)
    quiet.hello()
    for _ in quiet._exchange.events(REPEAT):
        pass


on_a_bad_line = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@on_a_bad_line
@given(
    to_target=st.lists(mishaps, max_size=8), from_target=st.lists(mishaps, max_size=8), data=st.binary(max_size=5000)
)
def test_what_is_written_is_read_back(
    target: RunningTarget, to_target: Sequence[Mishap], from_target: Sequence[Mishap], data: bytes
) -> None:
    drain(target.transport)
    client = RpcClient(BadLine(target.transport, to_target, from_target), first_repeat=REPEAT, patience=PATIENCE)
    client.connect()
    client.tensor_write(64, data)
    assert client.tensor_read(64, len(data)) == data
    assert client.checksum(64, len(data)) == zlib.crc32(data)


@on_a_bad_line
@given(to_target=st.lists(mishaps, max_size=6), from_target=st.lists(mishaps, max_size=10), runs=st.integers(1, 4))
def test_what_is_asked_once_happens_once(
    target: RunningTarget, to_target: Sequence[Mishap], from_target: Sequence[Mishap], runs: int
) -> None:
    drain(target.transport)
    client = RpcClient(target.transport, first_repeat=REPEAT, patience=PATIENCE)
    client.connect()
    values = np.arange(1, 17, dtype=np.int8)
    client.tensor_write(0, values.tobytes() + bytes(16))
    client._exchange._transport = BadLine(target.transport, to_target, from_target)
    for run in range(1, runs + 1):
        (done,) = client.run_layers(0, 1, timeout=PATIENCE)
        assert done.crc32 == zlib.crc32((values * np.int8(run)).tobytes())
    assert client.run_model(timeout=PATIENCE).layers == 3
    client._exchange._transport = target.transport
    assert client.tensor_read(16, 16) == (values * np.int8(runs + 1)).tobytes()


def test_a_clean_line_needs_no_repetition(client: RpcClient) -> None:
    client.tensor_write(0, bytes(4096))
    assert client.tensor_read(0, 4096) == bytes(4096)
    assert (client.repeats, client.damaged) == (0, 0)


@pytest.mark.parametrize("mishap", [Drop(), Flip(100)])
@pytest.mark.parametrize("way", ["to_target", "from_target"])
def test_a_mishap_costs_one_repetition(target: RunningTarget, mishap: Mishap, way: str) -> None:
    drain(target.transport)
    client = RpcClient(target.transport, first_repeat=0.2)
    client.connect()
    client._exchange._transport = BadLine(target.transport, **{way: [mishap]})
    client.tensor_write(0, b"abcd")
    assert client.repeats == 1
    assert client.tensor_read(0, 4) == b"abcd"


def test_events_that_were_lost_are_told_again(client: RpcClient, target: RunningTarget) -> None:
    client._exchange._transport = BadLine(target.transport, from_target=[Drop(), Flip(60), Twice()])
    seen: list[int] = []
    done = client.run_layers(0, 3, timeout=PATIENCE, on_layer=lambda event: seen.append(event.index))
    assert [event.index for event in done] == [0, 1, 2]
    assert sorted(seen) == [0, 1, 2]  # each once, in the order in which they arrived


def test_a_line_of_nothing_but_damage_is_given_up(target: RunningTarget) -> None:
    drain(target.transport)
    line = BadLine(target.transport, from_target=[Flip(40)] * (MOST_DAMAGED + 10))
    with pytest.raises(RunnerFailed, match=f"{MOST_DAMAGED + 1} frames arrived damaged during one Hello"):
        RpcClient(line).hello()
    drain(target.transport)


class Silent:
    """A port with nobody behind it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def read(self, max_bytes: int, deadline: float) -> bytes:
        threading.Event().wait(deadline - time.monotonic())
        return b""

    def write(self, data: bytes, deadline: float | None = None) -> None:
        self.sent.append(data)


def test_silence_is_an_error_that_says_how_long_it_was() -> None:
    silent = Silent()
    with pytest.raises(NoAnswer, match="no answer to Hello within 0.1 s"):
        RpcClient(silent, patience=0.1, first_repeat=0.01).hello()
    assert silent.sent == [encode(Frame(m.Hello.code, 0, 1, b""))] * len(silent.sent)
    assert 3 <= len(silent.sent) <= 5  # after 0.01, 0.03, 0.07 s


def test_a_layer_that_does_not_return_is_a_timeout_of_that_layer() -> None:
    firmware = build(
        sample_model.with_kernel(
            sample_model.sample("host"),
            1,
            "    (void)input;\n    (void)output;\n    for (volatile int i = 0; i < 1;) {\n    }\n",
        ),
        load_board("host"),
    )
    with runner_for(firmware.board).start(firmware) as running:
        client = RpcClient(running.transport)
        client.connect()
        with pytest.raises(TargetTimedOut, match=r"layer 1 did not return within 0\.3 s") as stopped:
            client.run_layers(0, 3, timeout=0.3)
        assert stopped.value.layer == 1


class Scripted:
    """Answers each request with the frames that `answer` makes of it."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._sent = b""

    def write(self, data: bytes, deadline: float | None = None) -> None:
        self._sent += encode(Frame(m.Hello.code | m.REPLY, 0, 1, self._payload))

    def read(self, max_bytes: int, deadline: float) -> bytes:
        data, self._sent = self._sent, b""
        return data


HELLO = m.HelloReply(
    m.PROTOCOL_VERSION, 256, m.SCHEMA_HASH, b"\xaa" * 20, b"mine".ljust(32, b"\0"), 0, 0, 0, 0, 0, 0, 0
)


def test_firmware_of_another_build_is_refused_with_both_build_ids() -> None:
    with pytest.raises(RunnerFailed) as refusal:
        RpcClient(Scripted(HELLO.pack())).connect(build_id=b"\xbb" * 20, board="mine")
    assert "aa" * 20 in str(refusal.value)
    assert "bb" * 20 in str(refusal.value)


def test_firmware_of_another_board_is_refused() -> None:
    with pytest.raises(RunnerFailed, match="built for the board 'mine', not for 'yours'"):
        RpcClient(Scripted(HELLO.pack())).connect(build_id=b"\xaa" * 20, board="yours")


@pytest.mark.parametrize(
    "payload",
    [
        m.HelloReply(**{**HELLO.__dict__, "schema": 7}).pack(),
        m.HelloReply(**{**HELLO.__dict__, "protocol": 2}).pack(),
        HELLO.pack()[:40],
        HELLO.pack() + b"more",
    ],
    ids=["schema", "protocol", "shorter", "longer"],
)
def test_firmware_of_another_schema_is_refused_with_both(payload: bytes) -> None:
    with pytest.raises(RunnerFailed, match=f"this harness speaks {m.PROTOCOL_VERSION}, {m.SCHEMA_HASH:#010x}"):
        RpcClient(Scripted(payload)).connect()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (m.TensorWrite(8192, b"x"), m.Status.BAD_RANGE),
        (m.TensorWrite(0xFFFFFFFF, b"xx"), m.Status.BAD_RANGE),
        (m.TensorRead(8000, 193), m.Status.BAD_RANGE),
        (m.TensorRead(0, 2049), m.Status.TOO_LONG),
        (m.Checksum(1, 8192), m.Status.BAD_RANGE),
        (m.RunLayers(0, 4), m.Status.BAD_LAYER),
        (m.RunLayers(2, 1), m.Status.BAD_LAYER),
        (m.MemoryRead(0, 4), m.Status.BAD_ADDRESS),
        (m.MemoryWrite(0, b"abcd"), m.Status.BAD_ADDRESS),
        (m.RecordRead(0, 4), m.Status.NO_RECORD),
    ],
    ids=lambda value: value.name if isinstance(value, m.Status) else type(value).__name__,
)
def test_what_cannot_be_done_is_refused(client: RpcClient, command: m.Command[m.Message], status: m.Status) -> None:
    with pytest.raises(Refused, match=status.phrase) as refusal:
        client.call(command)
    assert refusal.value.status == status


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (Frame(0x3F, 0, 1, b""), m.Status.UNKNOWN_COMMAND),
        (Frame(m.LayerDone.code, 0, 1, bytes(12)), m.Status.UNKNOWN_COMMAND),
        (Frame(m.TensorRead.code, 0, 1, bytes(7)), m.Status.BAD_LENGTH),
        (Frame(m.TensorWrite.code, 0, 1, bytes(3)), m.Status.BAD_LENGTH),
        (Frame(m.Hello.code, 0, 1, b"x"), m.Status.BAD_LENGTH),
    ],
)
def test_requests_that_no_client_would_send(target: RunningTarget, frame: Frame, status: m.Status) -> None:
    drain(target.transport)
    target.transport.write(encode(frame))
    client = RpcClient(target.transport)
    answer, arrived = client._exchange._next(time.monotonic() + PATIENCE)
    assert arrived
    assert answer == Frame(frame.type | m.REPLY, status, 1, b"")


def test_a_frame_longer_than_any_message_is_damaged_and_forgotten(target: RunningTarget) -> None:
    drain(target.transport)
    target.transport.write(encode(Frame(m.TensorWrite.code, 0, 9, bytes(5000))))
    client = RpcClient(target.transport)
    answer, _ = client._exchange._next(time.monotonic() + PATIENCE)
    assert answer is not None
    assert answer.type == m.Damaged.code
    assert client.hello().board_name == "host"


def test_reset_starts_anew(client: RpcClient) -> None:
    client.tensor_write(0, b"abcd")
    assert client.reset().board_name == "host"
    assert client.tensor_read(0, 4) == b"\xa5" * 4  # what an arena holds that nothing was written to


def test_log_lines_come_beside_everything_else() -> None:
    body = '    harness_log("half way");\n    output[0] = input[0];\n'
    source = sample_model.with_kernel(sample_model.sample("host"), 1, body)
    path = source.layers[1].file
    source.files[path] = '#include "harness_log.h"\n' + source.files[path]  # type: ignore[index]
    firmware = build(source, load_board("host"))
    lines: list[tuple[int, str]] = []
    with runner_for(firmware.board).start(firmware) as running:
        client = RpcClient(running.transport, on_log=lambda level, text: lines.append((level, text)))
        client.connect()
        client.run_layers(0, 3, timeout=PATIENCE)
    assert lines == [(2, "half way")]
