"""What a debugger shows of a halted processor: gdb's `info registers`, OpenOCD's `halt` and `reg`, J-Link's `h`.

    r0             0x0                 0
    sp             0x20003fd8          0x20003fd8
    pc             0x8000c88           0x8000c88 <poke+4>

    (15) pc (/32): 0x08000c88

    PC = 08000C88, CycleCnt = 00000000
    R0 = 00000000, R1 = …
    SP(R13)= 20003FD8, MSP= 20003FD8, PSP= 00000000, R14(LR) = 08000CD3
    XPSR = 61000000: APSR = nZCvq, EPSR = 01000000, IPSR = 000 (NoException)

They are the registers of the moment, no exception frame was read: in a fault handler they are the handler's. Memory
that was printed with them (`x/64wx $sp`, `mdw`, `mem32`) is taken along.
"""

from __future__ import annotations

import re

from harness.cpustate import CpuState
from harness.debug.evidence.base import Evidence, Format
from harness.debug.evidence.crashes import Part, each
from harness.debug.evidence.dumps import rows
from harness.debug.evidence.words import resolve, words_in

NAME = "debugger's registers"

_GDB = re.compile(r"^\s*r0\s+0x[0-9a-f]+\s+-?\d+\s*$")
_OPENOCD = re.compile(r"\(0\) r0 \(/32\): 0x|target halted due to")
_JLINK = re.compile(r"\bPC = [0-9A-F]{8}, CycleCnt")
_PC = re.compile(r"\bpc\s+0x[0-9a-f]|\bpc: 0x|\(15\) pc|\bPC = [0-9A-F]{8}|\bR15 ?\(PC\)", re.IGNORECASE)
_OURS = re.compile(
    r"^\s*(?:\(gdb\)\s*)?(?:r\d{1,2}|sp|lr|pc|xpsr|msp|psp|control|primask|basepri|faultmask|fpscr)\s+0x"
    r"|\(\d+\) \w+ \(/\d+\):|\bxPSR: 0x|\b(?:R\d{1,2}|PC|XPSR)\s*=|\bR14\(LR\)|\b(?:CFSR|HFSR|BFAR|MMFAR)\b"
)
_EXCEPTION = 0x1FF  # of xPSR
_IN_HANDLER = (
    "The processor stands in an exception handler (number {number}): what it was doing before is in the exception "
    "frame, which can be followed only where the stack was printed too (gdb: x/128wx $sp)."
)


def _begins(line: str) -> bool:
    return bool(_GDB.search(line) or _OPENOCD.search(line) or _JLINK.search(line))


def _read(part: Part, is_open: bool) -> Evidence | None:
    own = [line if _OURS.search(line) else "" for line in part.lines]
    found = resolve(words_in(own, part.first, is_open and part.is_last))
    registers, notes = dict(found.values), list(found.notes)
    if "pc" not in registers:
        return None
    number = registers.get("xpsr", 0) & _EXCEPTION
    in_handler = number and "xpsr" in registers
    if "sp" not in registers and in_handler and "msp" in registers:
        registers["sp"] = registers["msp"]  # a handler's stack is the main one (DDI 0403E B1.4.1)
    if in_handler:
        notes.append(_IN_HANDLER.format(number=number))
    return Evidence(
        CpuState(registers, found.status, rows(part.lines), reason="halted"),
        NAME,
        None,
        notes=tuple(notes),
        line=part.first + 1,
        cut=found.cut,
    )


FORMAT = Format(
    NAME,
    "a debugger's (info registers, target halted, PC = …, CycleCnt)",
    each(_begins, lambda line: bool(_PC.search(line)), _read),
)
