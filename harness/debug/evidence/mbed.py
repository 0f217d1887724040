"""What Mbed OS prints of a fault.

    ++ MbedOS Fault Handler ++
    FaultType: HardFault
    Context:
    R0   : 00000001
    …
    SP   : 20002F18
    PC   : 00001874
    CFSR is printed as MMFSR, BFSR and UFSR, MMFAR and BFAR only where they are valid
    Mode : Thread
    Priv : Privileged
    Stack: PSP
    -- MbedOS Fault Handler --

platform/source/TARGET_CORTEX_M/mbed_fault_handler.c. SP is the one before the exception frame was pushed.
"""

from __future__ import annotations

import re

from harness.cpustate import CpuState
from harness.debug.evidence.base import Evidence, Format
from harness.debug.evidence.causes import without_lost_frame
from harness.debug.evidence.crashes import Part, each
from harness.debug.evidence.words import resolve, words_in

NAME = "Mbed OS log"

_BEGIN, _END = "++ MbedOS Fault Handler ++", "-- MbedOS Fault Handler --"
_TYPE = re.compile(r"FaultType: (\w+)")
_REASONS = {
    "HardFault": "hardfault",
    "MemManageFault": "memmanage",
    "BusFault": "busfault",
    "UsageFault": "usagefault",
}
_PC = re.compile(r"\bPC\s*:\s*[0-9A-F]{8}")
_OURS = re.compile(
    r"(?:^|[^\w.])(?:R\d{1,2}|SP|LR|PC|xPSR|PSP|MSP|HFSR|MMFSR|BFSR|UFSR|DFSR|AFSR|MMFAR|BFAR)\s*: [0-9A-F]{1,8}\s*$"
)
_MODE = re.compile(r"\b(Mode|Priv|Stack)\s*: (\w+)")
_THREAD = re.compile(r"Current Thread: (\S{1,40})")


def _read(part: Part, is_open: bool) -> Evidence | None:
    end = next((number for number, line in enumerate(part.lines) if _END in line), None)
    own = [line if _OURS.search(line) else "" for line in part.lines[:end]]
    found = resolve(words_in(own, part.first, is_open and part.is_last))
    if not found.values and not found.status:
        return None
    notes = list(found.notes)
    kind = next((m for m in map(_TYPE.search, part.lines) if m), None)
    told = {m[1]: m[2] for m in map(_MODE.search, part.lines[:end]) if m}
    context = [f"{told['Mode']} mode on {told['Stack']}."] if {"Mode", "Stack"} <= told.keys() else []
    thread = next((m for m in map(_THREAD.search, part.lines) if m), None)
    if thread:
        context.append(f"Thread: {thread[1]}.")
    return Evidence(
        CpuState(
            without_lost_frame(dict(found.values), found.status, notes),
            found.status,
            reason=_REASONS.get(kind[1], "") if kind else "",
        ),
        NAME,
        None,
        notes=tuple(notes),
        context=tuple(context),
        line=part.first + 1,
        cut=found.cut or end is None,
    )


FORMAT = Format(
    NAME,
    "Mbed OS's (++ MbedOS Fault Handler ++)",
    each(lambda line: _BEGIN in line, lambda line: bool(_PC.search(line)), _read),
)
