"""What the firmware keeps of a crash: raw words, laid out by Python, understood only by Python."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntFlag
from typing import Annotated

from harness.cpustate import CpuState, MemorySpan
from harness.layout import U32, WORD, Array, LayoutError, Struct, Tail

MAGIC = 0x4352504C  # "LPRC" in memory
BASIC_FRAME = 8  # words: r0-r3, r12, lr, pc, xpsr (Armv7-M manual, B1.5.6; Armv8-M manual, RYVHK)
EXTENDED_FRAME = 26  # and s0-s15, fpscr, one reserved word
PADDED = 1 << 9  # of the stacked xPSR: one word was left out to align the frame
NO_LAYER = 0xFFFFFFFF

# Of CFSR. The first two say that the exception frame itself could not be written; a stack overflow can also come of an
# instruction, and the frame be written where there was still room for it.
_STACKING_FAILED = 1 << 4 | 1 << 12  # MSTKERR, STKERR
_STACK_OVERFLOW = 1 << 20  # STKOF
_USES_PSP = 1 << 2  # of EXC_RETURN

_REASONS = {2: "nmi", 3: "hardfault", 4: "memmanage", 5: "busfault", 6: "usagefault", 7: "securefault"}


class RecordFlag(IntFlag):
    STATUS = 1  # the core has CFSR … SHCSR (all but Armv6-M)
    SECURITY = 2  # the core has SFSR and SFAR
    FLOAT = 4  # s16..s31 are the registers' values
    FLUSHED = 8  # s0..s15 in the exception frame are valid: lazy stacking was completed
    FRAME = 16  # the exception frame was readable
    STACK = 32  # the stack that follows the record was readable
    PARTIAL = 64  # the fault path itself faulted


@dataclass(frozen=True)
class FaultRecord(Struct):
    """A crash. `magic` is written last, so that a record without it is not one."""

    magic: U32
    total: U32  # bytes of the whole record, stack included
    crc32: U32  # zlib's, of all that follows
    flags: U32  # RecordFlag
    build_id: Annotated[bytes, Array(20)]
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
    frame_address: U32
    frame: Annotated[tuple[int, ...], Array(EXTENDED_FRAME, WORD)]  # the last 18 only of an extended frame
    s16_s31: Annotated[tuple[int, ...], Array(16, WORD)]
    cfsr: U32
    hfsr: U32
    mmfar: U32
    bfar: U32
    afsr: U32
    shcsr: U32
    sfsr: U32
    sfar: U32
    stack_address: U32  # of the first byte of `stack`: the end of the exception frame
    stack: Tail

    @classmethod
    def parse(cls, data: bytes) -> FaultRecord:
        """The record in `data`. LayoutError: it is none, is cut short, or was damaged."""
        record = cls.unpack(data)
        if record.magic != MAGIC:
            raise LayoutError(f"not a fault record: it starts with {record.magic:#010x}, not {MAGIC:#010x}")
        if record.total != len(data):
            raise LayoutError(f"fault record of {record.total} bytes, of which {len(data)} are here")
        crc = zlib.crc32(data[12:])
        if crc != record.crc32:
            raise LayoutError(f"damaged fault record: CRC-32 {crc:#010x} where it says {record.crc32:#010x}")
        return record

    @property
    def extended(self) -> bool:
        """Whether the exception frame has floating-point registers (EXC_RETURN.FType is 0)."""
        return not self.exc_return & 1 << 4

    @property
    def stacked(self) -> bool:
        """Whether the processor managed to write the exception frame, and the firmware to read it.

        A frame that would pass the stack limit is not written, and the stack pointer is set to the limit (Armv8-M
        manual, RZLZG).
        """
        limit = self.psplim if self.exc_return & _USES_PSP else self.msplim
        overflowed = self.cfsr & _STACK_OVERFLOW and self.frame_address <= limit
        return bool(self.flags & RecordFlag.FRAME) and not self.cfsr & _STACKING_FAILED and not overflowed

    def cpu_state(self) -> CpuState:
        """The registers at the faulting instruction, as far as they are known.

        Without an exception frame r0-r3, r12, lr, pc and xpsr are lost and left out; sp is then where the frame would
        have been.
        """
        registers = {f"r{4 + n}": value for n, value in enumerate(self.r4_r11)}
        for name in ("msp", "psp", "control", "exc_return", "primask", "basepri", "faultmask"):
            registers[name] = getattr(self, name)
        words = EXTENDED_FRAME if self.extended else BASIC_FRAME
        registers["sp"] = self.frame_address
        memory = []
        if self.flags & RecordFlag.FRAME:
            memory.append(MemorySpan(self.frame_address, struct.pack(f"<{words}I", *self.frame[:words])))
        if self.stacked:
            registers |= dict(zip(("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr"), self.frame))
            registers["sp"] += 4 * words + (4 if registers["xpsr"] & PADDED else 0)
        if self.flags & RecordFlag.FLOAT:
            registers |= {f"s{16 + n}": value for n, value in enumerate(self.s16_s31)}
        if self.stacked and self.extended and self.flags & RecordFlag.FLUSHED:
            registers |= {f"s{n}": value for n, value in enumerate(self.frame[8:24])}
            registers["fpscr"] = self.frame[24]
        if self.flags & RecordFlag.STACK:
            memory.append(MemorySpan(self.stack_address, self.stack))
        return CpuState(
            registers=registers,
            fault_status=self._fault_status(),
            memory=tuple(memory),
            layer=None if self.layer == NO_LAYER else self.layer,
            reason=_REASONS.get(self.exception, f"exception {self.exception}"),
            partial=bool(self.flags & RecordFlag.PARTIAL),
        )

    def _fault_status(self) -> dict[str, int]:
        names: tuple[str, ...] = ()
        if self.flags & RecordFlag.STATUS:
            names += ("cfsr", "hfsr", "mmfar", "bfar", "afsr", "shcsr")
        if self.flags & RecordFlag.SECURITY:
            names += ("sfsr", "sfar")
        return {name: getattr(self, name) for name in names}
