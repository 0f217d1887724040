"""One request, repeated until it is answered.

A frame can be lost or damaged in either direction. The same request is then sent again with the same sequence number;
the firmware remembers the last one, so that what must happen once happens once. While a layer runs the firmware is deaf
and its UART may drop the repetition: harmless, since the next one comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.errors import RunnerFailed
from harness.layout import LayoutError
from harness.rpc import messages as m
from harness.rpc.framing import Frame, FrameDecoder, encode
from harness.runners.base import Transport

FIRST_REPEAT = 1.0  # seconds of silence until a request is repeated, doubled each time up to the longest
LONGEST_REPEAT = 4.0
MOST_DAMAGED = 50  # damaged frames during one request: beyond it, it is not the line that is at fault
CHUNK = 1 << 16  # bytes

_EVENTS = {event.code: event for event in m.EVENTS}


class Refused(RunnerFailed):
    """The firmware refused a command; `status` says why."""

    def __init__(self, command: m.Command, status: int) -> None:
        self.status = status
        phrases = {member.value: member.phrase for member in m.Status}
        phrase = phrases.get(status, "a status this harness does not know")
        super().__init__(f"the firmware refused {type(command).__name__}: {phrase} ({status})")


class Silence(Exception):
    """Nothing that belongs to the request came in time."""


@dataclass(frozen=True)
class Wait:
    """How long to wait for an answer, and what belongs to it."""

    seconds: float  # of silence: every event of the request starts them anew
    on_layer: Callable[[m.LayerDone], None] = lambda event: None
    complete: Callable[[], bool] = lambda: True  # False: the answer came, but events that belong to it were lost


class Exchange:
    """Sends requests over `transport`. `on_event` gets every event but those of layers, and may raise.

    `first_repeat` is the seconds of silence after which a request is repeated for the first time.
    """

    def __init__(
        self, transport: Transport, on_event: Callable[[m.Event], None], first_repeat: float = FIRST_REPEAT
    ) -> None:
        self.repeats = 0  # requests that were sent again
        self._transport = transport
        self._on_event = on_event
        self._first_repeat = first_repeat
        self._decoder = FrameDecoder()
        self._frames: Iterator[Frame | None] = iter(())
        self._sequence = 0

    @property
    def damaged(self) -> int:
        """Damaged frames received."""
        return self._decoder.damaged

    def ask(self, command: m.Command, wait: Wait) -> bytes:
        """The payload of the answer. Silence: none came in time. Refused: the firmware says no. EOFError: peer gone."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        request = encode(Frame(command.code, 0, self._sequence, command.pack()))
        damaged = 0
        repeat = self._first_repeat
        limit = time.monotonic() + wait.seconds
        self._send(request, limit)
        repeat_at = time.monotonic() + repeat
        while True:
            frame, arrived = self._next(min(repeat_at, limit))
            if not arrived:
                if time.monotonic() >= limit:
                    raise Silence
                self._repeat(request, limit)
                repeat = min(2 * repeat, LONGEST_REPEAT)
                repeat_at = time.monotonic() + repeat
            elif frame is None or frame.type == m.Damaged.code:
                damaged += 1
                if damaged > MOST_DAMAGED:
                    raise RunnerFailed(
                        f"{damaged} frames arrived damaged during one {type(command).__name__}",
                        hint="Is the baud rate right, and does the harness's firmware run at the other end?",
                    )
                self._repeat(request, limit)
            elif frame.type == command.code | m.REPLY and frame.sequence == self._sequence:
                if frame.status < 0:
                    raise Refused(command, frame.status)
                if wait.complete():
                    return frame.payload
                self._repeat(request, limit)
            elif self._event(frame, wait):
                limit = time.monotonic() + wait.seconds
                repeat = self._first_repeat
                repeat_at = time.monotonic() + repeat

    def events(self, silence: float) -> Iterator[m.Event]:
        """Events as they come, until `silence` seconds without a frame."""
        while True:
            frame, arrived = self._next(time.monotonic() + silence)
            if not arrived:
                return
            if frame is not None and frame.type in _EVENTS:
                yield _unpack_event(frame)

    def _event(self, frame: Frame, wait: Wait) -> bool:
        """Deal with a frame that is no answer to the request; True when it shows that the request is worked on."""
        if frame.type not in _EVENTS:
            return False  # the answer to an earlier request that was repeated
        event = _unpack_event(frame)
        if not isinstance(event, m.LayerDone):
            self._on_event(event)
            return False
        if frame.sequence != self._sequence:
            return False
        wait.on_layer(event)
        return True

    def _next(self, deadline: float) -> tuple[Frame | None, bool]:
        """The next frame, None for a damaged one, and whether any came by the deadline."""
        while True:
            for frame in self._frames:
                return frame, True
            data = self._transport.read(CHUNK, deadline)
            if not data:
                return None, False
            self._frames = self._decoder.feed(data)

    def _repeat(self, request: bytes, limit: float) -> None:
        self.repeats += 1
        self._send(request, limit)

    def _send(self, request: bytes, limit: float) -> None:
        try:
            self._transport.write(request, limit)
        except TimeoutError as error:
            raise Silence from error  # it does not even listen


def _unpack_event(frame: Frame) -> m.Event:
    try:
        return _EVENTS[frame.type].unpack(frame.payload)
    except LayoutError as error:
        raise RunnerFailed(f"event out of protocol: {error}") from error
