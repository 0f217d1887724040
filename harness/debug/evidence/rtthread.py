"""What RT-Thread prints of a hard fault.

    psr: 0x61000000
    r00: 0x00000000
    …
    r12: 0x00000000
     lr: 0x08000cd3
     pc: 0x08000c88
    hard fault on thread: sensor
    bus fault:
    SCB_CFSR_BFSR:0x82 PRECISERR SCB->BFAR:60000000

libcpu/arm/cortex-m4/cpuport.c. It prints a part of CFSR only where one of its bits is set.
"""

from __future__ import annotations

import re

from harness.cpustate import CpuState
from harness.debug.evidence.base import Evidence, Format
from harness.debug.evidence.causes import without_lost_frame
from harness.debug.evidence.crashes import Part, each
from harness.debug.evidence.words import resolve, words_in

NAME = "RT-Thread log"

_FIRST = re.compile(r"\bpsr: 0x[0-9a-f]{8}")
_OURS = re.compile(r"\b(?:psr|r\d\d|lr|pc): 0x[0-9a-f]|SCB_CFSR_[A-Z]FSR:0x")
_WHERE = re.compile(r"hard fault on (?:thread: (\S{1,40})|handler)")


def _read(part: Part, is_open: bool) -> Evidence | None:
    where = next((m for m in map(_WHERE.search, part.lines) if m), None)
    own = [line if _OURS.search(line) else "" for line in part.lines]
    found = resolve(words_in(own, part.first, is_open and part.is_last))
    if where is None or not found.values:
        return None
    notes = list(found.notes)
    return Evidence(
        CpuState(without_lost_frame(dict(found.values), found.status, notes), found.status, reason="hardfault"),
        NAME,
        None,
        notes=tuple(notes),
        context=(f"Thread: {where[1]}.",) if where[1] else ("The fault came in a handler.",),
        line=part.first + 1,
        cut=found.cut or "pc" not in found.values,
    )


FORMAT = Format(
    NAME,
    "RT-Thread's (psr: 0x…, hard fault on thread: …)",
    each(lambda line: bool(_FIRST.search(line)), lambda line: bool(_WHERE.search(line)), _read),
)
