"""Everything that is said between harness and firmware, one class a message. The C side is generated from this file.

    Command   host → device   payload: the fields of the class; answered by its `reply`, or by a negative `Status`
    Event     device → host   sent on the device's own account, in front of an answer or without any

To add a command: one class here, `python -m harness.rpc.generate`, and one `firmware_stub/rpc/rpc_<command>.c`; while
that is missing the firmware does not link. Offsets are bytes from the start of the arena, addresses the device's own.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar, Generic, TypeVar

from harness.layout import U16, U32, Array, Struct, Tail, describe
from harness.rpc.fault_record import FaultRecord

PROTOCOL_VERSION = 1
REPLY = 0x80  # set in the type of an answer; the rest is the type of the command

R = TypeVar("R", bound="Message")


class Status(IntEnum):
    """What a device says of a command. Negative: it was refused, nothing was changed, and there is no payload."""

    phrase: str

    def __new__(cls, value: int, phrase: str) -> Status:
        member = int.__new__(cls, value)
        member._value_ = value
        member.phrase = phrase
        return member

    OK = 0, "done"
    UNKNOWN_COMMAND = -1, "the firmware does not know this command"
    BAD_LENGTH = -2, "the message is shorter or longer than its layout"
    BAD_RANGE = -3, "the bytes asked for are not all inside the arena"
    BAD_LAYER = -4, "the model has no such range of layers"
    BAD_ADDRESS = -5, "nothing can be read or written at this address"
    TOO_LONG = -6, "the answer would be longer than one message"
    CRASHED = -7, "the firmware has crashed and only tells about it"
    NO_RECORD = -8, "no fault record is kept"


@dataclass(frozen=True)
class Message(Struct):
    """Base of all payloads."""

    @classmethod
    def c_name(cls) -> str:
        """The name in C: TensorWrite → tensor_write."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(frozen=True)
class Command(Message, Generic[R]):
    """Base of what the host asks."""

    code: ClassVar[int]  # 0x01..0x3F
    reply: ClassVar[type[Message]]
    postmortem: ClassVar[bool] = False  # also answered after a crash
    once: ClassVar[bool] = False  # a repetition of the same request is answered again, but not carried out again


@dataclass(frozen=True)
class Event(Message):
    """Base of what the device says by itself."""

    code: ClassVar[int]  # 0x40..0x7F


@dataclass(frozen=True)
class Done(Message):
    """The answer of commands that give nothing back."""


@dataclass(frozen=True)
class HelloReply(Message):
    """Who the firmware is. Its head, up to the schema, stays the same in all versions of the protocol."""

    protocol: U16
    max_payload: U16  # of one message in either direction, fixed part and tail, bytes
    schema: U32  # SCHEMA_HASH of the sources that the firmware was built from
    build_id: Annotated[bytes, Array(20)]  # of the ELF's note
    board: Annotated[bytes, Array(32)]  # name, padded with zeros
    arena_address: U32
    arena_bytes: U32
    layer_count: U32
    stack_bottom: U32  # lowest address of the stack that the model runs on
    stack_top: U32
    record_bytes: U32  # of the fault record that is kept; 0: there is none
    crashed: U32  # 1: it crashed and was not reset since

    @property
    def board_name(self) -> str:
        return self.board.rstrip(b"\0").decode("ascii", "replace")


@dataclass(frozen=True)
class Hello(Command[HelloReply]):
    """Asks the firmware who it is."""

    code: ClassVar[int] = 0x01
    reply: ClassVar[type[Message]] = HelloReply
    postmortem: ClassVar[bool] = True


@dataclass(frozen=True)
class Reset(Command[Done]):
    """Starts the firmware anew once the answer is out. A fault record survives it."""

    code: ClassVar[int] = 0x02
    reply: ClassVar[type[Message]] = Done
    postmortem: ClassVar[bool] = True


@dataclass(frozen=True)
class TensorWrite(Command[Done]):
    """Writes bytes into the arena."""

    code: ClassVar[int] = 0x03
    reply: ClassVar[type[Message]] = Done
    offset: U32
    data: Tail


@dataclass(frozen=True)
class TensorReadReply(Message):
    """Bytes of the arena."""

    data: Tail


@dataclass(frozen=True)
class TensorRead(Command[TensorReadReply]):
    """Reads bytes of the arena."""

    code: ClassVar[int] = 0x04
    reply: ClassVar[type[Message]] = TensorReadReply
    offset: U32
    length: U32


@dataclass(frozen=True)
class ChecksumReply(Message):
    """The CRC-32 (zlib's) of the bytes asked for."""

    crc32: U32


@dataclass(frozen=True)
class Checksum(Command[ChecksumReply]):
    """Computes the CRC-32 of bytes of the arena."""

    code: ClassVar[int] = 0x05
    reply: ClassVar[type[Message]] = ChecksumReply
    offset: U32
    length: U32


@dataclass(frozen=True)
class RunDone(Message):
    """A run came to its end."""

    cycles: U32  # of the core, modulo 2^32, layers only; 0: the core has no counter
    layers: U32  # how many were run
    stack: U32  # bytes of the stack that it wrote to, from its caller's frame down; 0: not known


@dataclass(frozen=True)
class RunLayers(Command[RunDone]):
    """Runs the layers first … end - 1; a `LayerDone` follows each of them."""

    code: ClassVar[int] = 0x06
    reply: ClassVar[type[Message]] = RunDone
    once: ClassVar[bool] = True
    first: U32
    end: U32


@dataclass(frozen=True)
class RunModel(Command[RunDone]):
    """Calls the whole model once, as an application would."""

    code: ClassVar[int] = 0x07
    reply: ClassVar[type[Message]] = RunDone
    once: ClassVar[bool] = True


@dataclass(frozen=True)
class MemoryReadReply(Message):
    """Bytes of memory."""

    data: Tail


@dataclass(frozen=True)
class MemoryRead(Command[MemoryReadReply]):
    """Reads memory, in words where address and length are multiples of 4. An address that faults is refused."""

    code: ClassVar[int] = 0x08
    reply: ClassVar[type[Message]] = MemoryReadReply
    postmortem: ClassVar[bool] = True
    address: U32
    length: U32


@dataclass(frozen=True)
class MemoryWrite(Command[Done]):
    """Writes memory, in words where address and length are multiples of 4. An address that faults is refused."""

    code: ClassVar[int] = 0x09
    reply: ClassVar[type[Message]] = Done
    once: ClassVar[bool] = True
    address: U32
    data: Tail


@dataclass(frozen=True)
class RecordReadReply(Message):
    """Bytes of the fault record."""

    data: Tail


@dataclass(frozen=True)
class RecordRead(Command[RecordReadReply]):
    """Reads the fault record that is kept, also one from before a reset."""

    code: ClassVar[int] = 0x0A
    reply: ClassVar[type[Message]] = RecordReadReply
    postmortem: ClassVar[bool] = True
    offset: U32
    length: U32


@dataclass(frozen=True)
class RecordClear(Command[Done]):
    """Forgets the fault record, so that the next crash is kept."""

    code: ClassVar[int] = 0x0B
    reply: ClassVar[type[Message]] = Done
    postmortem: ClassVar[bool] = True


@dataclass(frozen=True)
class Started(Event):
    """The firmware started: the first frame after every reset."""

    code: ClassVar[int] = 0x40
    protocol: U32


@dataclass(frozen=True)
class Log(Event):
    """A line of text for the user."""

    code: ClassVar[int] = 0x41
    level: U32  # 0 error, 1 warning, 2 information
    text: Tail


@dataclass(frozen=True)
class LayerDone(Event):
    """A layer of a `RunLayers` came to its end."""

    code: ClassVar[int] = 0x42
    index: U32
    crc32: U32  # zlib's, of the bytes of its outputs one after the other
    cycles: U32  # of the core, modulo 2^32; 0: the core has no counter
    stack: U32  # bytes of the stack that it wrote to, from its caller's frame down; 0: not known


@dataclass(frozen=True)
class Fault(Event):
    """A piece of the fault record, sent without being asked right after the crash."""

    code: ClassVar[int] = 0x43
    total: U32  # bytes of the whole record
    offset: U32
    data: Tail


@dataclass(frozen=True)
class Damaged(Event):
    """A frame arrived damaged and was thrown away: the host need not wait until it repeats it."""

    code: ClassVar[int] = 0x44


COMMANDS: tuple[type[Command], ...] = (
    Hello, Reset, TensorWrite, TensorRead, Checksum, RunLayers, RunModel, MemoryRead, MemoryWrite, RecordRead,
    RecordClear,
)  # fmt: skip
EVENTS: tuple[type[Event], ...] = (Started, Log, LayerDone, Fault, Damaged)


def schema_text() -> str:
    """All that both sides must agree on, one line each."""
    lines = [f"protocol {PROTOCOL_VERSION}", *(f"{status.name} {status.value}" for status in Status)]
    lines.extend(f"{command.code:#04x} {describe(command)} -> {describe(command.reply)}" for command in COMMANDS)
    lines.extend(f"{event.code:#04x} {describe(event)}" for event in EVENTS)
    lines.append(describe(FaultRecord))
    return "\n".join(lines) + "\n"


SCHEMA_HASH = zlib.crc32(schema_text().encode())
