"""What RIOT prints of a hard fault.

    Context before hardfault:
       r0: 0x00000000
    …
       pc: 0x08000c88
      psr: 0x61000000
    FSR/FAR:
     CFSR: 0x00008200
    …
    EXC_RET: 0xfffffff9
    Active thread: 3 "sensor"

cpu/cortexm_common/vectors_cortexm.c, with DEVELHELP.
"""

from __future__ import annotations

import re

from harness.cpustate import CpuState
from harness.debug.evidence.base import Evidence, Format
from harness.debug.evidence.causes import without_lost_frame
from harness.debug.evidence.crashes import Part, each
from harness.debug.evidence.words import resolve, words_in

NAME = "RIOT log"

_BEGIN = "Context before hardfault"
_END = re.compile(r"Attempting to reconstruct state|HARD FAULT HANDLER")
_PC = re.compile(r"\bpc: 0x")
_THREAD = re.compile(r"[Aa]ctive thread: (\d+)(?: \"(.{1,40}?)\")?")


def _read(part: Part, is_open: bool) -> Evidence | None:
    end = next((number for number, line in enumerate(part.lines) if _END.search(line)), None)
    found = resolve(words_in(part.lines[:end], part.first, is_open and part.is_last))
    if not found.values:
        return None
    notes = list(found.notes)
    thread = next((m for m in map(_THREAD.search, part.lines) if m), None)
    return Evidence(
        CpuState(without_lost_frame(dict(found.values), found.status, notes), found.status, reason="hardfault"),
        NAME,
        None,
        notes=tuple(notes),
        context=(f"Thread: {thread[2] or 'number ' + thread[1]}.",) if thread else (),
        line=part.first + 1,
        cut=found.cut or "exc_return" not in found.values,
    )


FORMAT = Format(
    NAME,
    "RIOT's (Context before hardfault)",
    each(lambda line: _BEGIN in line, lambda line: bool(_PC.search(line)), _read),
)
