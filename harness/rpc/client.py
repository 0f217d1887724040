"""The host's side of the RPC: what the firmware can be asked, as functions.

What becomes of the target is raised: `TargetCrashed` with the fault record, `TargetTimedOut` when a layer does not
return, `RunnerFailed` when the line or the firmware is not what it should be. An EOFError of the transport passes
through: the peer is gone. After a crash the firmware still answers `hello`, `memory_read`, `fault_record`, `reset`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar, cast

from harness.errors import RunnerFailed
from harness.layout import LayoutError
from harness.rpc import messages as m
from harness.rpc.exchange import FIRST_REPEAT, Exchange, Refused, Silence, Wait
from harness.rpc.fault_record import FaultRecord
from harness.runners.base import Transport
from harness.verdict import TargetCrashed, TargetTimedOut

R = TypeVar("R", bound=m.Message)

PATIENCE = 20.0  # seconds for the answer to anything but a run: a loaded machine can stall an emulator for some of them
LAST_WORDS = 0.5  # seconds of silence after which the rest of a fault record is asked for
RESET_SECONDS = 1.0  # of silence, after which the first word of a firmware that was reset counts as lost
SMALLEST_PAYLOAD = 64  # bytes of a message that every firmware takes


class NoAnswer(RunnerFailed):
    """The firmware did not answer a command that takes it no time."""


class RpcClient:
    """Talks to the firmware behind `transport`. `on_log` gets level and text of its log lines.

    `patience` and `first_repeat` are seconds: for an answer, and until a request is sent again.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        on_log: Callable[[int, str], None] = lambda level, text: None,
        patience: float = PATIENCE,
        first_repeat: float = FIRST_REPEAT,
    ) -> None:
        self.earlier_crash: FaultRecord | None = None  # found by `connect`: from before the firmware was started
        self._exchange = Exchange(transport, self._on_event, first_repeat)
        self._on_log = on_log
        self._patience = patience
        self._payload = SMALLEST_PAYLOAD
        self._starting = True  # a start of the firmware is expected
        self._crashed = False

    @property
    def repeats(self) -> int:
        """Requests that had to be sent again."""
        return self._exchange.repeats

    @property
    def damaged(self) -> int:
        """Frames that arrived damaged."""
        return self._exchange.damaged

    def connect(self, *, build_id: bytes | None = None, board: str | None = None) -> m.HelloReply:
        """Say hello; RunnerFailed, with both sides' words, when the firmware is not the one expected.

        A fault record from before the firmware was started is moved to `earlier_crash`.
        """
        reply = self.hello()
        if board is not None and reply.board_name != board:
            raise RunnerFailed(f"the firmware was built for the board {reply.board_name!r}, not for {board!r}")
        if build_id is not None and reply.build_id != build_id:
            raise RunnerFailed(
                f"stale firmware: build ID {reply.build_id.hex()} is running, {build_id.hex()} was built",
                hint="Load the firmware that was just built, then try again.",
            )
        if reply.record_bytes and not reply.crashed:
            self.earlier_crash = self.fault_record()
            self.call(m.RecordClear())
        return reply

    def hello(self) -> m.HelloReply:
        """Who the firmware is. RunnerFailed: it does not answer, or does not speak this harness's protocol."""
        self._starting = True
        payload = self._ask(m.Hello())
        self._starting = False
        try:
            reply = m.HelloReply.unpack(payload)
        except LayoutError:
            reply = None
        if reply is None or reply.protocol != m.PROTOCOL_VERSION or reply.schema != m.SCHEMA_HASH:
            version, schema = (int.from_bytes(payload[at : at + size], "little") for at, size in ((0, 2), (4, 4)))
            raise RunnerFailed(
                f"stale firmware: it speaks protocol {version}, schema {schema:#010x}; this harness speaks "
                f"{m.PROTOCOL_VERSION}, {m.SCHEMA_HASH:#010x}",
                hint="Load firmware that was built by this version of the harness.",
            )
        self._payload = reply.max_payload
        self._crashed = bool(reply.crashed)
        return reply

    def tensor_write(self, offset: int, data: bytes) -> None:
        """Write `data` into the arena."""
        for at, size in self._pieces(len(data), m.TensorWrite.layout().size):
            self.call(m.TensorWrite(offset + at, data[at : at + size]))

    def tensor_read(self, offset: int, length: int) -> bytes:
        """`length` bytes of the arena."""
        return b"".join(self.call(m.TensorRead(offset + at, size)).data for at, size in self._pieces(length))

    def checksum(self, offset: int, length: int) -> int:
        """CRC-32 (zlib's) of `length` bytes of the arena, computed by the firmware."""
        return self.call(m.Checksum(offset, length)).crc32

    def memory_read(self, address: int, length: int) -> bytes:
        """`length` bytes of the device's memory. Refused: nothing can be read there."""
        return b"".join(self.call(m.MemoryRead(address + at, size)).data for at, size in self._pieces(length))

    def memory_write(self, address: int, data: bytes) -> None:
        """Write the device's memory. Refused: nothing can be written there; what lies before it was written."""
        for at, size in self._pieces(len(data), m.MemoryWrite.layout().size):
            self.call(m.MemoryWrite(address + at, data[at : at + size]))

    def run_layers(
        self, first: int, end: int, *, timeout: float, on_layer: Callable[[m.LayerDone], None] | None = None
    ) -> list[m.LayerDone]:
        """Run the layers first … end - 1, each within `timeout` seconds. TargetTimedOut: one took longer."""
        done: dict[int, m.LayerDone] = {}

        def note(event: m.LayerDone) -> None:
            if event.index not in done:
                done[event.index] = event
                if on_layer is not None:
                    on_layer(event)

        wait = Wait(timeout, note, lambda: all(index in done for index in range(first, end)))
        try:
            self._run(m.RunLayers(first, end), wait)
        except Silence:
            layer = next((index for index in range(first, end) if index not in done), end - 1)
            raise TargetTimedOut(f"layer {layer} did not return within {timeout:g} s", layer=layer) from None
        return [done[index] for index in range(first, end)]

    def run_model(self, *, timeout: float) -> m.RunDone:
        """Call the whole model once. TargetTimedOut: it took more than `timeout` seconds."""
        try:
            return self._run(m.RunModel(), Wait(timeout))
        except Silence:
            raise TargetTimedOut(f"the model did not return within {timeout:g} s") from None

    def fault_record(self) -> FaultRecord | None:
        """The record of a crash that the firmware keeps; None when there is none. RunnerFailed: it is damaged."""
        try:
            return _parse(self._read_record({}))
        except Refused as error:
            if error.status == m.Status.NO_RECORD:
                return None
            raise

    def reset(self) -> m.HelloReply:
        """Start the firmware anew and wait until it answers. A fault record survives it."""
        self._starting = True
        self._ask(m.Reset())
        # What is sent while the processor resets would be lost.
        for event in self._exchange.events(RESET_SECONDS):
            if isinstance(event, m.Started):
                break
        return self.hello()

    def call(self, command: m.Command[R]) -> R:
        """Send any command and wait for its answer. Refused: the firmware says no. RunnerFailed: no answer came."""
        return _unpack(command, self._ask(command))

    def _ask(self, command: m.Command) -> bytes:
        try:
            return self._guarded(command, Wait(self._patience))
        except Silence:
            raise NoAnswer(
                f"no answer to {type(command).__name__} within {self._patience:g} s",
                hint="Is this the right port, and does the harness's firmware run there?",
            ) from None

    def _run(self, command: m.Command[m.RunDone], wait: Wait) -> m.RunDone:
        return _unpack(command, self._guarded(command, wait))

    def _guarded(self, command: m.Command, wait: Wait) -> bytes:
        try:
            return self._exchange.ask(command, wait)
        except Refused as error:
            if error.status == m.Status.CRASHED and not self._crashed:
                self._raise_crash({})
            raise

    def _on_event(self, event: m.Event) -> None:
        if isinstance(event, m.Log):
            self._on_log(event.level, event.text.decode("utf-8", "replace"))
        elif isinstance(event, m.Fault) and not self._crashed:
            self._raise_crash(self._last_words(event))
        elif isinstance(event, m.Started) and not self._starting:
            if self.hello().record_bytes:  # the fault path itself failed and reset the processor
                self._raise_crash({})
            raise TargetCrashed(
                "the firmware restarted by itself: something reset the processor, or wrote over the firmware's own "
                "memory (beyond the end of the arena?); on a board also a watchdog, the reset line or the supply"
            )

    def _last_words(self, first: m.Fault) -> dict[int, m.Fault]:
        """The pieces of the record that the firmware sends by itself, by offset."""
        pieces = {first.offset: first}
        if first.offset + len(first.data) < first.total:
            for event in self._exchange.events(LAST_WORDS):
                if isinstance(event, m.Fault):
                    pieces[event.offset] = event
                    if event.offset + len(event.data) >= event.total:
                        break
        return pieces

    def _raise_crash(self, pieces: dict[int, m.Fault]) -> None:
        self._crashed = True
        try:
            record = self._read_record(pieces)
            state = _parse(record).cpu_state()
        except RunnerFailed as error:
            raise TargetCrashed(f"the firmware crashed, and its fault record cannot be read: {error}") from error
        where = "outside the model" if state.layer is None else f"in layer {state.layer}"
        raise TargetCrashed(f"{state.reason} {where}", state=state, record=record)

    def _read_record(self, pieces: dict[int, m.Fault]) -> bytes:
        """The whole record; what `pieces` lacks is asked for."""
        record = b""
        total = next((piece.total for piece in pieces.values()), None)
        while total is None or len(record) < total:
            if len(record) in pieces and pieces[len(record)].data:
                record += pieces[len(record)].data
                continue
            rest = self._payload if total is None else total - len(record)
            reply = self.call(m.RecordRead(len(record), min(rest, self._payload)))
            if not reply.data:
                break
            record += reply.data
            if total is None and len(record) >= 8:
                total = int.from_bytes(record[4:8], "little")
        return record

    def _pieces(self, length: int, head: int = 0) -> Iterator[tuple[int, int]]:
        """(offset, size) of the pieces that `length` bytes go in; each message has `head` bytes beside them."""
        most = self._payload - head
        for at in range(0, length, most):
            yield at, min(most, length - at)


def _unpack(command: m.Command[R], payload: bytes) -> R:
    try:
        return cast(R, command.reply.unpack(payload))
    except LayoutError as error:
        raise RunnerFailed(f"answer to {type(command).__name__} out of protocol: {error}") from error


def _parse(record: bytes) -> FaultRecord:
    try:
        return FaultRecord.parse(record)
    except LayoutError as error:
        raise RunnerFailed(f"damaged fault record: {error}") from error
