"""What the firmware keeps of a crash: raw words, laid out by Python, understood only by Python.

record = fixed part, span*
span = address, bytes (a multiple of 4), bytes: memory as it stood       all words little-endian
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Annotated

from harness.cpustate import CpuState, MemorySpan
from harness.layout import U32, WORD, Array, LayoutError, Struct, Tail

MAGIC = 0x4352504C  # "LPRC" in memory
VERSION = 1  # of the layout below
BASIC_FRAME = 8  # words: r0-r3, r12, lr, pc, xpsr (Armv7-M manual, B1.5.6; Armv8-M manual, RYVHK)
EXTENDED_FRAME = 26  # and s0-s15, fpscr, vpr (one reserved word without MVE)
SECURE_FRAME = 42  # and s16-s31, where FPCCR.TS says that floating-point registers are secret (Armv8-M manual, RLWHS)
PADDED = 1 << 9  # of the stacked xPSR: one word was left out to align the frame
NO_LAYER = 0xFFFFFFFF
SEALED_FROM = 12  # offset of the first byte that crc32 covers

# Of CFSR. The first two say that the exception frame itself could not be written; a stack overflow can also come of an
# instruction, and the frame be written where there was still room for it.
_STACKING_FAILED = 1 << 4 | 1 << 12  # MSTKERR, STKERR
_STACK_OVERFLOW = 1 << 20  # STKOF
_USES_PSP = 1 << 2  # of EXC_RETURN
_SECURE = 1 << 6  # of EXC_RETURN: the stack is the secure one
_TREAT_AS_SECURE = 1 << 26  # TS of FPCCR
_FPCCR = 0xE000EF34  # FPCAR follows
_LAZY = 1 << 0  # LSPACT of FPCCR
_SPAN = struct.Struct("<II")  # address, bytes

_REASONS = {2: "nmi", 3: "hardfault", 4: "memmanage", 5: "busfault", 6: "usagefault", 7: "securefault"}


class RecordFlag(IntFlag):
    STATUS = 1  # the core has CFSR … SHCSR (all but Armv6-M and Armv8-M Baseline)
    SECURITY = 2  # the core has SFSR and SFAR
    FLOAT = 4  # s16..s31 are the registers' values
    FLUSHED = 8  # s0..s15, fpscr and vpr are, too: lazy stacking was completed
    FRAME = 16  # the exception frame was readable
    ASSERT = 32  # no fault, but a call of layerproof_assert_failed: `line` and `file` say where
    PARTIAL = 64  # the fault path itself faulted


@dataclass(frozen=True)
class FaultRecord(Struct):
    """A crash; spans of memory follow. `magic` is written last, so that a record without it is not one."""

    magic: U32
    total: U32  # bytes of the whole record, memory included
    crc32: U32  # zlib's, of all that follows
    version: U32
    flags: U32  # RecordFlag
    build_id: Annotated[bytes, Array(20)]  # zeros: not known
    layer: U32  # NO_LAYER: none was running
    exception: U32  # number of the exception taken, from IPSR
    exc_return: U32
    msp: U32  # after the exception frame was pushed, on whichever stack exc_return tells
    psp: U32
    control: U32
    primask: U32
    basepri: U32
    faultmask: U32
    msplim: U32  # Armv8-M; otherwise 0
    psplim: U32
    r4_r11: Annotated[tuple[int, ...], Array(8, WORD)]
    frame_address: U32  # 0: on a stack of the other security state, which nobody here may see
    frame: Annotated[tuple[int, ...], Array(BASIC_FRAME, WORD)]
    s0_s31: Annotated[tuple[int, ...], Array(32, WORD)]
    fpscr: U32
    vpr: U32  # of MVE
    fpccr: U32
    cfsr: U32
    hfsr: U32
    mmfar: U32
    bfar: U32
    afsr: U32
    shcsr: U32
    sfsr: U32
    sfar: U32
    line: U32  # of an assertion
    file: Annotated[bytes, Array(40)]  # the end of its name, then zeros
    memory: Tail

    @classmethod
    def parse(cls, data: bytes) -> FaultRecord:
        """The record in `data`. LayoutError: it is none, is cut short, or was damaged."""
        least = cls.layout().size
        if data.startswith(MAGIC.to_bytes(4, "little")):
            total = max(least, int.from_bytes(data[4:8], "little"))
            if len(data) < total:
                raise LayoutError(f"the record is cut off: {len(data)} of {total} bytes are here")
        record = cls.unpack(data.ljust(least, b"\0"))
        record.check_version()
        if record.total != len(data):
            raise LayoutError(f"the record says that it has {record.total} bytes; {len(data)} are here")
        crc = zlib.crc32(data[SEALED_FROM:])
        if crc != record.crc32:
            raise LayoutError(f"damaged fault record: CRC-32 {crc:#010x} where it says {record.crc32:#010x}")
        if sum(_SPAN.size + len(span.data) for span in record.spans()) != len(record.memory):
            raise LayoutError("malformed fault record: its spans of memory do not end where it does")
        return record

    def check_version(self) -> None:
        """LayoutError: this is no record, or one of another version."""
        if self.magic != MAGIC:
            raise LayoutError(f"not a fault record: it starts with {self.magic:#010x}, not {MAGIC:#010x}")
        if self.version != VERSION:
            raise LayoutError(f"fault record of version {self.version}; this harness reads version {VERSION}")

    def sealed(self, spans: tuple[MemorySpan, ...]) -> FaultRecord:
        """The same record with this memory, its length and CRC made right."""
        memory = b"".join(_SPAN.pack(span.address, len(span.data)) + span.data for span in spans)
        record = replace(self, memory=memory, total=self.layout().size + len(memory))
        return replace(record, crc32=zlib.crc32(record.pack()[SEALED_FROM:]))

    def spans(self) -> Iterator[MemorySpan]:
        """The memory that was kept, as far as it is well-formed."""
        at = 0
        while at + _SPAN.size <= len(self.memory):
            address, size = _SPAN.unpack_from(self.memory, at)
            at += _SPAN.size
            if size > len(self.memory) - at:
                return
            yield MemorySpan(address, self.memory[at : at + size])
            at += size

    @property
    def extended(self) -> bool:
        """Whether the exception frame has floating-point registers (EXC_RETURN.FType is 0)."""
        return not self.exc_return & 1 << 4

    @property
    def frame_words(self) -> int:
        """Length of the exception frame, without the word that may align it."""
        if not self.extended:
            return BASIC_FRAME
        secret = self.fpccr & _TREAT_AS_SECURE and self.exc_return & _SECURE
        return SECURE_FRAME if secret else EXTENDED_FRAME

    @property
    def stacked(self) -> bool:
        """Whether the processor managed to write the exception frame, and the firmware to read it.

        A frame that would pass the stack limit is not written, and the stack pointer is set to the limit (Armv8-M
        manual, RZLZG).
        """
        limit = self.psplim if self.exc_return & _USES_PSP else self.msplim
        overflowed = self.cfsr & _STACK_OVERFLOW and self.frame_address <= limit
        return (
            bool(self.flags & RecordFlag.FRAME and self.frame_address)
            and not self.cfsr & _STACKING_FAILED
            and not overflowed
        )

    def cpu_state(self) -> CpuState:
        """The registers at the faulting instruction, as far as they are known.

        Without an exception frame r0-r3, r12, lr, pc and xpsr are lost and left out; sp is then where the frame would
        have been. An assertion has no fault status: it stops by a fault of its own making.
        """
        registers = {f"r{4 + n}": value for n, value in enumerate(self.r4_r11)}
        for name in ("msp", "psp", "control", "exc_return", "primask", "basepri", "faultmask"):
            registers[name] = getattr(self, name)
        if self.frame_address:
            registers["sp"] = self.frame_address
        if self.stacked:
            registers |= dict(zip(("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr"), self.frame))
            registers["sp"] += 4 * self.frame_words + (4 if registers["xpsr"] & PADDED else 0)
        if self.flags & RecordFlag.FLOAT:
            registers |= {f"s{n}": self.s0_s31[n] for n in range(16, 32)}
        if self.flags & RecordFlag.FLUSHED:
            registers |= {f"s{n}": self.s0_s31[n] for n in range(16)}
            registers["fpscr"] = self.fpscr
        failed = bool(self.flags & RecordFlag.ASSERT)
        return CpuState(
            registers=registers,
            fault_status={} if failed else self._fault_status(),
            memory=(*self._frame_memory(), *self._float_context(), *self.spans()),
            layer=None if self.layer == NO_LAYER else self.layer,
            reason="assert" if failed else _REASONS.get(self.exception, f"exception {self.exception}"),
            partial=bool(self.flags & RecordFlag.PARTIAL),
            message=self.message,
        )

    @property
    def message(self) -> str:
        """`FILE:LINE` of an assertion, otherwise empty."""
        if not self.flags & RecordFlag.ASSERT:
            return ""
        return f"{self.file.split(bytes(1))[0].decode('utf-8', 'replace')}:{self.line}"

    def _frame_memory(self) -> Iterator[MemorySpan]:
        if self.flags & RecordFlag.FRAME:
            words = self.frame
            if self.extended and self.flags & RecordFlag.FLUSHED:
                words += (*self.s0_s31[:16], self.fpscr, self.vpr)
            yield MemorySpan(self.frame_address, struct.pack(f"<{len(words)}I", *words))

    def _float_context(self) -> Iterator[MemorySpan]:
        """FPCCR, by which debuggers tell whether floating-point registers still wait to be saved: here none do."""
        if self.flags & RecordFlag.FLUSHED:
            yield MemorySpan(_FPCCR, struct.pack("<II", self.fpccr & ~_LAZY, 0))

    def _fault_status(self) -> dict[str, int]:
        names: tuple[str, ...] = ()
        if self.flags & RecordFlag.STATUS:
            names += ("cfsr", "hfsr", "mmfar", "bfar", "afsr", "shcsr")
        if self.flags & RecordFlag.SECURITY:
            names += ("sfsr", "sfar")
        return {name: getattr(self, name) for name in names}
