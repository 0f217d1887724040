"""Zephyr's core dump: in a log, as `CONFIG_DEBUG_COREDUMP_BACKEND_LOGGING` prints it, or as the binary file of it.

    [00:00:01.234,000] <err> coredump: #CD:BEGIN#
    [00:00:01.234,000] <err> coredump: #CD:5a4502000300050019000000
    [00:00:01.234,000] <err> coredump: #CD:4102004400
    [00:00:01.234,000] <err> coredump: #CD:00000000adffffff0000006000000000…
    [00:00:01.234,000] <err> coredump: #CD:4d0100780e00207810002000
    [00:00:01.234,000] <err> coredump: #CD:…
    [00:00:01.234,000] <err> coredump: #CD:END#

include/zephyr/debug/coredump.h, arch/arm/core/cortex_m/coredump.c. All little-endian and packed:

    header    "ZE", version 1 or 2, target (3: Cortex-M), log2 of the bits of a pointer, flags, reason: 12 bytes
    block A   version, length of the data; r0 to r3, r12, lr, pc, xpsr, sp; since version 2 r4 to r11; since version 3
              whether those are valid
    block T   version, length of the data: of the threads
    block M   version 1, first address, address after the last; the memory

A block counts where the next one, or the end of the dump, begins right behind it: in a log that lost a line the bytes
after that stand at wrong addresses, and nothing else tells.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from harness.cpustate import CpuState, MemorySpan
from harness.debug.evidence.base import Evidence, Format
from harness.debug.evidence.causes import FRAME, status_from, without_lost_frame
from harness.debug.evidence.stacks import proven
from harness.debug.evidence.text import Text
from harness.errors import BadInput
from harness.rpc.fault_record import EXTENDED_FRAME

NAME = "Zephyr core dump"

_ID = b"ZE"
_HEADER = struct.Struct("<2sHHBBI")  # id, version, target, log2 of the bits of a pointer, flags, reason
_VERSIONS = range(1, 3)
_CORTEX_M = 3
_TARGETS = {1: "x86", 2: "x86-64", 4: "RISC-V", 5: "Xtensa", 6: "Arm64"}
_SIZED = struct.Struct("<cHH")  # id, version, length
_MEMORY = struct.Struct("<cHII")  # id, version, first address, address after the last
_REGISTERS = (*FRAME, "sp", *(f"r{number}" for number in range(4, 12)))
_SAVED = _REGISTERS[9:]
_BLOCK_VERSIONS = {b"A": range(1, 4), b"T": range(1, 2), b"M": range(1, 2)}
_VALID = 17  # the word of block A that says whether r4 to r11 are, since version 3

_PREFIX, _BEGIN, _END = "#CD:", "BEGIN#", "END#"
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.IGNORECASE)

_FATAL = ("CPU exception", "Unhandled interrupt", "Stack overflow", "Kernel oops", "Kernel panic")  # kernel/fatal.c
FATAL_REASONS = {2: "stack_check", 3: "panic", 4: "panic"}
_UNRELIABLE = (
    "Zephyr saw the stack overflow and does not vouch for the registers: what ran then may be another function."
)
# Reasons from 16 on, K_ERR_ARM_… of include/zephyr/arch/arm/arch.h: of each kind of fault a general one, then those
# that stand for a status bit
_ARM_REASONS = 16
_FAULTS = [
    (kind, register, bit)
    for kind, register, bits in (
        ("memmanage", "MMFSR", "MSTKERR MUNSTKERR DACCVIOL IACCVIOL MLSPERR"),
        ("busfault", "BFSR", "STKERR UNSTKERR PRECISERR IMPRECISERR IBUSERR LSPERR"),
        ("usagefault", "UFSR", "DIVBYZERO UNALIGNED STKOF NOCP INVPC INVSTATE UNDEFINSTR"),
        ("securefault", "SFSR", "INVEP INVIS INVER AUVIOL INVTRAN LSPERR LSERR"),
    )
    for bit in ("", *bits.split())
]
_TOLD = "The dump has no CFSR: the status bit is the one that Zephyr's reason {reason} stands for."
_INCOMPLETE = "The core dump is damaged or cut short: what comes after {known} is left out."
# Since 3.7 Zephyr's SP is that before the frame, but on Armv8-M without the padding; before it is the frame's address.
_SP_IS_OFF = 4  # bytes
_FRAME_AND_PADDING = 4 * EXTENDED_FRAME + 4


@dataclass(frozen=True)
class Dump:
    """What a dump has, as it has it: `sp` is Zephyr's."""

    reason: int
    registers: dict[str, int] = field(default_factory=dict)
    memory: tuple[MemorySpan, ...] = ()
    line: int | None = None  # of a log where it begins, from 1
    problem: str = ""  # why it is not whole

    def evidence(self) -> Evidence:
        """The crash as far as the dump alone tells it."""
        return self.add_to(Evidence(CpuState({}), NAME, None, line=self.line))

    def fits(self, evidence: Evidence) -> bool:
        """Whether it can be of the crash that the log printed: no register has another value."""
        known = evidence.state.registers
        return not evidence.state.memory and all(
            known.get(name, value) == value for name, value in self.registers.items() if name != "sp"
        )

    def add_to(self, evidence: Evidence) -> Evidence:
        """`evidence` with what the dump has besides."""
        state, notes = evidence.state, list(evidence.notes)
        reason, status = self._told(state, notes)
        registers = {**self.registers, **state.registers}
        written = without_lost_frame(registers, status, notes)
        if written.keys() != registers.keys():  # the dump's SP was computed from that frame, the log's was not
            registers = {n: v for n, v in written.items() if n != "sp" or n in state.registers}
        listed: tuple[int, ...] = ()
        if "sp" not in state.registers:
            within = _FRAME_AND_PADDING if "exc_return" in registers else _SP_IS_OFF
            registers, listed = proven(registers, self.memory, notes, within)
            registers = {n: v for n, v in registers.items() if n != "sp" or self.memory}
        if self.problem:
            notes.append(self.problem)
        fatal = (f"Zephyr calls it: {_FATAL[self.reason]}.",) if self.reason < len(_FATAL) else ()
        return replace(
            evidence,
            state=replace(state, registers=registers, fault_status=status, memory=self.memory, reason=reason),
            listed=evidence.listed or listed,
            notes=tuple(dict.fromkeys(notes)),
            context=evidence.context or fatal,
            cut=evidence.cut or bool(self.problem) or not self.registers,
        )

    def _told(self, state: CpuState, notes: list[str]) -> tuple[str, dict[str, int]]:
        """The exception and the status bits that the reason stands for, where the log does not have them."""
        if 0 <= self.reason - _ARM_REASONS < len(_FAULTS) and not state.fault_status:
            kind, register, bit = _FAULTS[self.reason - _ARM_REASONS]
            if bit:  # the exception that was taken may have been a hard fault
                notes.append(_TOLD.format(reason=self.reason))
                return state.reason, status_from([(register, bit)], {})
            return state.reason or kind, {}
        reason = state.reason or ("" if state.fault_status else FATAL_REASONS.get(self.reason, ""))
        if reason == "stack_check":
            notes.append(_UNRELIABLE)
        return reason, dict(state.fault_status)


def is_dump(data: bytes) -> bool:
    """Whether it is the binary file of a dump, as Zephyr's scripts make it of a log."""
    if len(data) < _HEADER.size or not data.startswith(_ID):
        return False
    _, version, target, *_ = _HEADER.unpack_from(data)
    return version in _VERSIONS and target in (_CORTEX_M, *_TARGETS)


def from_dump(data: bytes, where: str) -> Evidence:
    """The crash of a binary dump. BadInput: it is of another processor, or there is nothing in it."""
    target = _HEADER.unpack_from(data)[2]
    if target != _CORTEX_M:
        raise BadInput(f"this Zephyr core dump is of another processor: {_TARGETS[target]}", where=where)
    dump = _parsed(data, None, whole=True)
    if not dump.registers and not dump.memory:
        raise BadInput(f"this Zephyr core dump has nothing in it that can be read. {dump.problem}".strip(), where=where)
    return dump.evidence()


def dumps_in(text: Text) -> Iterator[Dump]:
    """Every dump of a Cortex-M in a log, in order."""
    for first, data, whole in _streams(text):
        if is_dump(data) and _HEADER.unpack_from(data)[2] == _CORTEX_M:
            yield _parsed(data, first, whole=whole)


def _streams(text: Text) -> Iterator[tuple[int, bytes, bool]]:
    """(number of the first line, bytes, whether they are whole) of every dump."""
    first: int | None = None
    data, whole = bytearray(), True
    for number, line in enumerate(text.lines, 1):
        if _PREFIX not in line:
            continue
        said = line.split(_PREFIX, 1)[1].strip()
        begins = said == _BEGIN or (first is None and said.lower().startswith(_ID.hex()))
        if first is not None and (begins or said == _END):
            yield first, bytes(data), whole and said == _END
            first = None
        if begins:
            first, data, whole = number, bytearray(), True
        if first is None or said == _BEGIN:
            continue
        is_cut = text.open and number == len(text.lines)
        if whole and not is_cut and _HEX.fullmatch(said):
            data += bytes.fromhex(said)
        else:
            whole = False  # nor does what comes after stand where it should
    if first is not None:
        yield first, bytes(data), False


def _parsed(data: bytes, line: int | None, *, whole: bool) -> Dump:
    """What is certain of a dump. `whole`: `data` ends where the dump does."""
    reason = _HEADER.unpack_from(data)[-1]
    blocks = list(_blocks(data))
    complete = whole and (blocks[-1].end if blocks else _HEADER.size) == len(data)
    registers: dict[str, int] = {}
    memory = []
    known = "its header"
    for block in blocks if complete else blocks[:-1]:
        content = data[block.start : block.end]
        if block.kind == b"A":
            registers, known = _registers(block.version, content), "its registers"
        elif block.kind == b"M":
            memory.append(MemorySpan(block.address, content))
            known = f"the memory up to 0x{block.address + len(content):08x}"
    problem = "" if complete else _INCOMPLETE.format(known=known)
    return Dump(reason, registers, tuple(memory), line, problem)


@dataclass(frozen=True)
class _Block:
    kind: bytes
    version: int
    address: int  # of memory
    start: int  # in the dump, without its own header
    end: int


def _blocks(data: bytes) -> Iterator[_Block]:
    """The blocks whose headers stand where one must; the last may be longer than what there is of it."""
    at = _HEADER.size
    while at < len(data):
        kind = data[at : at + 1]
        layout = _MEMORY if kind == b"M" else _SIZED
        if kind not in (b"A", b"T", b"M") or at + layout.size > len(data):
            return
        _, version, *numbers = layout.unpack_from(data, at)
        length = numbers[-1] - numbers[0] if kind == b"M" else numbers[0]
        if length <= 0 or version not in _BLOCK_VERSIONS[kind]:
            return
        start = at + layout.size
        at = start + length
        yield _Block(kind, version, numbers[0], start, at)


def _registers(version: int, content: bytes) -> dict[str, int]:
    words = struct.unpack(f"<{len(content) // 4}I", content[: len(content) & ~3])
    registers = dict(zip(_REGISTERS, words))
    saved = {name: registers.pop(name) for name in _SAVED if name in registers}
    valid = words[_VALID] if version >= 3 and len(words) > _VALID else any(saved.values())
    return {**registers, **saved} if valid else registers


FORMAT = Format(NAME, "its core dump (#CD:BEGIN#)", lambda text: [dump.evidence() for dump in dumps_in(text)])
