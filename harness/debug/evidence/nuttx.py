"""What NuttX prints, of this form or an older one with eight registers in a row.

    arm_hardfault: PANIC!!! Hard Fault!:
    arm_hardfault:  IRQ: 3 regs: 0x20001e40
    arm_hardfault:  CFSR: 00008200 HFSR: 40000000 DFSR: 00000000 BFAR: 60000000 AFSR: 00000000
    up_dump_register: R0: 00000001 R1: 00000002 R2: 00000003  R3: 00000004
    up_dump_register: R4: …        R5: …        R6: …        FP: …
    up_dump_register: R8: …        SB: …        SL: …        R11: …
    up_dump_register: IP: …        SP: …        LR: …        PC: …
    up_dump_register: xPSR: 61000000 BASEPRI: 00000000 CONTROL: 00000000
    up_dump_register: EXC_RETURN: ffffffe9
    stack_dump: 0x20001ec0: 08000d2d …

arch/arm/src/common/arm_registerdump.c. FP is R7, SB R9 and SL R10. SP is computed from a frame of one size and without
the padding of xPSR[9] (armv7-m/arm_exception.S): it is believed only where the exception frame stands below it.
"""

from __future__ import annotations

import re

from harness.cpustate import CpuState
from harness.debug.evidence.base import Evidence, Format
from harness.debug.evidence.causes import without_lost_frame
from harness.debug.evidence.crashes import Part, each
from harness.debug.evidence.dumps import rows
from harness.debug.evidence.stacks import proven
from harness.debug.evidence.words import resolve, words_in

NAME = "NuttX log"

_PANIC = re.compile(r"PANIC!!! ?(Hard|Mem(?:ory)?|Bus|Usage|Secure)[ A-Za-z]*[Ff]ault", re.IGNORECASE)
_REASONS = {"h": "hardfault", "m": "memmanage", "b": "busfault", "u": "usagefault", "s": "securefault"}
_DUMP = re.compile(r"\b(?:up_dump_register|up_registerdump|arm_registerdump):")
_FIRST = re.compile(rf"{_DUMP.pattern} R0: ")
_EIGHT = re.compile(r"\bR(0|8): ((?:[0-9a-f]{8}\s+){7}[0-9a-f]{8})", re.IGNORECASE)
_EIGHT_NAMES = ("r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr", "pc")
_SHORT_NAMES = ((re.compile(r"\bFP:"), "R7:"), (re.compile(r"\bSB:"), "R9:"), (re.compile(r"\bSL:"), "R10:"))
_ARM_FP = re.compile(r"\bR7: ")  # in the dumps of firmware for Arm state R7 has its own name, and FP is R11
_STATUS = re.compile(r"\b(?:CFSR|CFAULTS): ")
_PC = re.compile(r"\bPC: [0-9a-f]{8}", re.IGNORECASE)
_SP_IS_OFF = 4  # bytes at most: by the word that aligns an exception frame
_TASK = re.compile(r"\btask(?:\([^)]*\))?: (\S{1,40})")


def _begins(line: str) -> bool:
    return bool(_PANIC.search(line) or _FIRST.search(line))


def _told(line: str) -> bool:
    return bool(_PC.search(line) or ((found := _EIGHT.search(line)) and found[1] == "8"))


def _read(part: Part, is_open: bool) -> Evidence | None:
    own = [_spelled_out(line) if _DUMP.search(line) or _STATUS.search(line) else "" for line in part.lines]
    found = resolve(words_in(own, part.first, is_open and part.is_last))
    if "pc" not in found.values and not found.status:
        return None
    notes = list(found.notes)
    registers = without_lost_frame(dict(found.values), found.status, notes)
    memory = rows(part.lines)
    registers, listed = proven(registers, memory, notes, _SP_IS_OFF)
    panic = next((m for m in map(_PANIC.search, part.lines) if m), None)
    task = next((m for m in map(_TASK.search, part.lines) if m), None)
    asserted = panic is None and not found.status and any("Assertion failed" in line for line in part.lines)
    reason = _REASONS[panic[1][0].lower()] if panic else "assert" if asserted else ""
    return Evidence(
        CpuState(registers, found.status, memory, reason=reason),
        NAME,
        None,
        listed=listed,
        notes=tuple(notes),
        context=(f"Task: {task[1]}.",) if task else (),
        line=part.first + 1,
        cut=found.cut or "xpsr" not in found.values,
    )


def _spelled_out(line: str) -> str:
    """The line with the names that `words` knows."""
    eight = _EIGHT.search(line)
    if eight:
        start = int(eight[1])
        return " ".join(f"{_EIGHT_NAMES[start + n]}: {word}" for n, word in enumerate(eight[2].split()))
    if _ARM_FP.search(line):
        return line
    for pattern, name in _SHORT_NAMES:
        line = pattern.sub(name, line)
    return line


FORMAT = Format(NAME, "NuttX's (PANIC!!! Hard Fault, up_dump_register: R0: …)", each(_begins, _told, _read))
