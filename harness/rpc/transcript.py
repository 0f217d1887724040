"""What went over the line, read back as messages: for whoever wants to see what harness and firmware said.

It decodes recorded bytes on its own, so it shows also what the client never saw: repetitions, damaged frames, frames
that came after the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from harness.layout import LayoutError
from harness.rpc import messages as m
from harness.rpc.framing import Frame, FrameDecoder
from harness.runners.base import Traffic

TO_TARGET, FROM_TARGET = "to target", "from target"

_COMMANDS = {command.code: command for command in m.COMMANDS}
_EVENTS = {event.code: event for event in m.EVENTS}


def transcript(traffic: Iterable[Traffic]) -> Iterator[dict[str, Any]]:
    """One JSON object a frame, in the order in which the last byte of each went over the line.

    Keys: `time` (seconds since the session began), `direction`, `message`, `sequence`, `status` of an answer, and the
    message's fields, with bytes as hexadecimal digits. A frame that cannot be read has the message "damaged".
    """
    decoders = {True: FrameDecoder(), False: FrameDecoder()}
    for piece in traffic:
        for frame in decoders[piece.outgoing].feed(piece.data):
            direction = TO_TARGET if piece.outgoing else FROM_TARGET
            yield {"time": round(piece.time, 6), "direction": direction, **_describe(frame)}


def _describe(frame: Frame | None) -> dict[str, Any]:
    if frame is None:
        return {"message": "damaged"}
    answer = bool(frame.type & m.REPLY)
    command = _COMMANDS.get(frame.type & ~m.REPLY)
    kind: type[m.Message] | None = _EVENTS.get(frame.type) if command is None else command.reply if answer else command
    name = f"type {frame.type:#04x}" if kind is None else kind.__name__
    if answer and command is not None:
        name = f"{command.__name__} answer"
    described: dict[str, Any] = {"message": name, "sequence": frame.sequence}
    if answer:
        described["status"] = frame.status
    if kind is None or frame.status < 0:
        return described | ({"payload": frame.payload.hex()} if frame.payload else {})
    try:
        message = kind.unpack(frame.payload)
    except LayoutError:
        return described | {"payload": frame.payload.hex()}
    return described | {field.name: _plain(message, field.name) for field in fields(message)}


def _plain(message: m.Message, name: str) -> Any:
    value = getattr(message, name)
    if isinstance(message, m.Log) and name == "text":
        return value.decode("utf-8", "replace")
    return value.hex() if isinstance(value, bytes) else value
