"""A crashed target as gdb's remote protocol asks about it: registers and memory to look at, and nothing to run.

What is not known is answered as such: a register as x's, which gdb shows as <unavailable>, memory with an error. Writes
are refused, and a command to run is answered with a line of text and the same stop again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from harness.cpustate import CpuState
from harness.debug.gdb.protocol import MAX_PAYLOAD, escape
from harness.debug.gdb.view import SIGNALS, features, signal_name, status_memory, target_xml
from harness.debug.image import Image
from harness.debug.memory import Memory, ReadTarget

_REFUSED = b"E.this target has crashed: it can be looked at and not changed"
_CANNOT_RUN = "This target has crashed and cannot run: it is a record of where it stopped.\n"
_NO_MEMORY = b"E14"  # EFAULT
_BAD_PACKET = b"E16"  # EINVAL
_PIECE = 64  # bytes that are read at once where a request is not all known
_LONGEST_READ = MAX_PAYLOAD // 2 - 64
_OK = b"OK"
_THREAD = b"1"


class GdbTarget:
    """Answers the packets of one gdb. `kind` is `Crash.kind`, `report` what `monitor report` prints.

    `read_memory` reads what neither state nor ELF file hold, while the target still answers.
    """

    def __init__(
        self,
        state: CpuState,
        image: Image,
        *,
        kind: str = "",
        report: Sequence[str] = (),
        read_memory: ReadTarget | None = None,
    ) -> None:
        described = features(state)
        self._xml = target_xml(described).encode()
        self._registers = [register for feature in described for register in feature.registers]
        spans = (*state.memory, *status_memory(state))
        # gdb asks for whatever its user looks at: one bad address must not be the end of reading
        self._memory = Memory(image, spans, read_memory, max_failures=None)
        self._stop = b"T%02xthread:%s;" % (SIGNALS[signal_name(kind)], _THREAD)
        self._report = "".join(f"{line}\n" for line in report) or "There is no report.\n"
        self.ended = False  # gdb has detached or killed: nothing more will come

    def answer(self, packet: bytes) -> list[bytes]:
        """The payloads that answer `packet`, the last of which is the reply; [b""] to what is not supported, and no
        reply to a kill. Never raises.
        """
        for pattern, method in _COMMANDS:
            found = pattern.fullmatch(packet)
            if found is not None:
                return method(self, *found.groups())
        return [next((reply for pattern, reply in _CONSTANT if pattern.fullmatch(packet)), b"")]

    def interrupted(self) -> list[bytes]:
        """Ctrl-C: it stands already."""
        return [self._stop]

    # ---- what stands

    def _why_stopped(self) -> list[bytes]:
        return [self._stop]

    def _all_registers(self) -> list[bytes]:
        return [b"".join(_shown(register.value, register.bits) for register in self._registers)]

    def _one_register(self, number: bytes) -> list[bytes]:
        index = int(number, 16)
        if index >= len(self._registers):
            return [_BAD_PACKET]
        return [_shown(self._registers[index].value, self._registers[index].bits)]

    def _read(self, address: bytes, length: bytes) -> list[bytes]:
        start, wanted = int(address, 16), min(int(length, 16), _LONGEST_READ)
        data = self._known(start, wanted)
        return [data.hex().encode() if data or not wanted else _NO_MEMORY]

    def _known(self, start: int, length: int) -> bytes:
        """The bytes from `start` that are known before the first one that is not, at most `length`."""
        whole = self._memory.read(start, length)
        if whole is not None:
            return whole
        found = b""
        for size in (_PIECE, 1):
            while len(found) < length:
                part = self._memory.read(start + len(found), min(size, length - len(found)))
                if part is None:
                    break
                found += part
        return found

    # ---- the conversation

    def _not_run(self) -> list[bytes]:
        return [b"O" + _CANNOT_RUN.encode().hex().encode(), self._stop]

    def _describe(self, offset: bytes, length: bytes) -> list[bytes]:
        start, wanted = int(offset, 16), min(int(length, 16), _LONGEST_READ)
        part = self._xml[start : start + wanted]
        return [(b"m" if start + wanted < len(self._xml) else b"l") + escape(part)]

    def _monitor(self, command: bytes) -> list[bytes]:
        asked = bytes.fromhex(command.decode()).strip()
        text = self._report if asked == b"report" else "monitor report: why this target stopped.\n"
        return [*(b"O" + piece.encode().hex().encode() for piece in text.splitlines(keepends=True)), _OK]

    def _detach(self) -> list[bytes]:
        self.ended = True
        return [_OK]

    def _kill(self) -> list[bytes]:
        self.ended = True
        return []


def _shown(value: bytes | None, bits: int) -> bytes:
    return b"xx" * (bits // 8) if value is None else value.hex().encode()


_NUMBER = rb"([0-9a-fA-F]{1,16})"
_COMMANDS: tuple[tuple[re.Pattern[bytes], Callable[..., list[bytes]]], ...] = tuple(
    (re.compile(pattern, re.S), method)
    for pattern, method in (
        (rb"\?", GdbTarget._why_stopped),
        (rb"g", GdbTarget._all_registers),
        (rb"p" + _NUMBER, GdbTarget._one_register),
        (rb"m" + _NUMBER + rb"," + _NUMBER, GdbTarget._read),
        (rb"[cCsS].*|vCont;.*|bc|bs", GdbTarget._not_run),
        (rb"qXfer:features:read:target\.xml:" + _NUMBER + rb"," + _NUMBER, GdbTarget._describe),
        (rb"qRcmd,((?:[0-9a-fA-F]{2})*)", GdbTarget._monitor),
        (rb"D.*|vKill.*", GdbTarget._detach),
        (rb"k", GdbTarget._kill),
    )
)
_CONSTANT = tuple(
    (re.compile(pattern, re.S), reply)
    for pattern, reply in (
        (rb"[GPMXZz].*|vFlash.*", _REFUSED),
        (rb"qSupported.*", b"PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;vContSupported+" % MAX_PAYLOAD),
        (rb"QStartNoAckMode|[HT].*|qSymbol.*", _OK),
        (rb"qXfer:features:read:.*", b"E00"),  # no other annex
        (rb"vCont\?", b"vCont;c;C;s;S"),
        (rb"qC", b"QC" + _THREAD),
        (rb"qfThreadInfo", b"m" + _THREAD),
        (rb"qsThreadInfo", b"l"),
        (rb"qAttached.*", b"1"),  # so that gdb detaches when it quits, and does not kill
    )
)
