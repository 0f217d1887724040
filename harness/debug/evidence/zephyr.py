"""What Zephyr prints of a fatal error on Cortex-M.

    [00:00:01.234,000] <err> os: ***** BUS FAULT *****
    [00:00:01.234,000] <err> os:   Precise data bus error
    [00:00:01.234,000] <err> os:   BFAR Address: 0x50000000
    [00:00:01.234,000] <err> os: r0/a1:  0x…  r1/a2:  0x…  r2/a3:  0x…
    [00:00:01.234,000] <err> os: r3/a4:  0x… r12/ip:  0x… r14/lr:  0x…
    [00:00:01.234,000] <err> os:  xpsr:  0x…
    [00:00:01.234,000] <err> os: Faulting instruction address (r15/pc): 0x…
    [00:00:01.234,000] <err> os: >>> ZEPHYR FATAL ERROR 0: CPU exception on CPU 0
    [00:00:01.234,000] <err> os: Current thread: 0x20000280 (main)

arch/arm/core/fatal.c and cortex_m/fault.c: with CONFIG_FAULT_DUMP=2 sentences stand for the status bits, with 1 the
registers themselves. CONFIG_EXTRA_EXCEPTION_INFO adds r4 to r11, PSP and EXC_RETURN. The core dump that may follow
is in `zephyr_dump`.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from harness.cpustate import CpuState
from harness.debug.evidence.base import Evidence, Format
from harness.debug.evidence.causes import EXCEPTIONS, FRAME_LOST, REMARK, status_from, without_lost_frame
from harness.debug.evidence.crashes import Part, each
from harness.debug.evidence.text import Text
from harness.debug.evidence.words import resolve, words_in
from harness.debug.evidence.zephyr_dump import FATAL_REASONS, dumps_in
from harness.rpc.fault_record import BASIC_FRAME, EXTENDED_FRAME, PADDED

NAME = "Zephyr log"

_HEADINGS = {
    "MPU FAULT": "memmanage",
    "BUS FAULT": "busfault",
    "USAGE FAULT": "usagefault",
    "SECURE FAULT": "securefault",
    "HARD FAULT": "hardfault",
    "NMI": "nmi",
}
_HEADING = re.compile(rf"\*{{5}} ({'|'.join(_HEADINGS)}) \*{{5}}")
_SHORT = re.compile(r"Fault! EXC #(\d{1,3})\b")
# A kernel oops or a failed assertion prints the registers alone.
_REGISTERS = re.compile(r"\br0/a1:")
_PC = re.compile(r"Faulting instruction address.*?[:=]\s*0x")
_PC_WORDS = re.compile(r"Faulting instruction address(?: \(r15/pc\))?")
_FATAL = re.compile(r"ZEPHYR FATAL ERROR (\d{1,10}): (.{1,60}?)(?: on CPU \d+)?\s*$")
_THREAD = re.compile(r"Current thread(?: ID)?(?: =|:) (0x[0-9a-f]{1,8})(?: \((.{1,40}?)\))?")
_TRACE = re.compile(r"\b\d+: (?:fp: \S+ )?lr: 0x([0-9a-f]{1,8})\b")
# lines that are the dump's own: other threads print between them
_OURS = re.compile(
    r"\br\d+/(?:[av]\d|ip|lr)|\bxpsr:|\bpsp:|EXC_RETURN:|Faulting instruction address|\b(?:MMFSR|BFSR|UFSR|SFSR):"
)
_ADDRESS = re.compile(r"\b(?:(MMFAR|BFAR|SFAR)(?: Address)?|Address): (0x[0-9a-f]{1,8})\b", re.IGNORECASE)
_SECTION_ADDRESS = {"memmanage": "mmfar", "busfault": "bfar", "securefault": "sfar"}

# by the heading they stand under, since some of them stand under several
_CAUSES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "memmanage": (
        ("Stacking error", "MMFSR", "MSTKERR"),
        ("Unstacking error", "MMFSR", "MUNSTKERR"),
        ("Data Access Violation", "MMFSR", "DACCVIOL"),
        ("Instruction Access Violation", "MMFSR", "IACCVIOL"),
        ("Floating-point lazy state", "MMFSR", "MLSPERR"),
    ),
    "busfault": (
        ("Stacking error", "BFSR", "STKERR"),
        ("Unstacking error", "BFSR", "UNSTKERR"),
        ("Precise data bus error", "BFSR", "PRECISERR"),
        ("Imprecise data bus error", "BFSR", "IMPRECISERR"),
        ("Instruction bus error", "BFSR", "IBUSERR"),
        ("Floating-point lazy state", "BFSR", "LSPERR"),
    ),
    "usagefault": (
        ("Division by zero", "UFSR", "DIVBYZERO"),
        ("Unaligned memory access", "UFSR", "UNALIGNED"),
        ("Stack overflow (context area", "UFSR", "STKOF"),
        ("No coprocessor instructions", "UFSR", "NOCP"),
        ("Illegal load of EXC_RETURN", "UFSR", "INVPC"),
        ("Illegal use of the EPSR", "UFSR", "INVSTATE"),
        ("Attempt to execute undefined instruction", "UFSR", "UNDEFINSTR"),
    ),
    "securefault": (
        ("Invalid entry point", "SFSR", "INVEP"),
        ("Invalid integrity signature", "SFSR", "INVIS"),
        ("Invalid exception return", "SFSR", "INVER"),
        ("Attribution unit violation", "SFSR", "AUVIOL"),
        ("Invalid transition", "SFSR", "INVTRAN"),
        ("Lazy state preservation", "SFSR", "LSPERR"),
        ("Lazy state error", "SFSR", "LSERR"),
    ),
    "hardfault": (
        ("Bus fault on vector table read", "HFSR", "VECTTBL"),
        ("Fault escalation", "HFSR", "FORCED"),
        ("Debug event", "HFSR", "DEBUGEVT"),
    ),
}


def _begins(line: str) -> bool:
    return bool(_HEADING.search(line) or _SHORT.search(line) or _REGISTERS.search(line))


def _read(part: Part, is_open: bool) -> Evidence | None:
    reason, bits, addresses = _sentences(part)
    ours = [_PC_WORDS.sub("pc", line) if _OURS.search(line) else "" for line in part.lines]
    found = resolve(words_in(ours, part.first, is_open and part.is_last))
    registers, notes = dict(found.values), list(found.notes)
    if not registers and not bits and not found.status:
        return None
    status = dict(found.status)
    if bits or addresses:
        told = status_from(bits, addresses)
        if "cfsr" not in status and told.get("cfsr"):
            notes.append(REMARK.format(names="CFSR"))
        status = {**told, **status}
    registers = without_lost_frame(registers, status, notes)
    # Whether s0 to s15 were stacked is for EXC_RETURN to say, and whether that was completed nobody does.
    registers = {name: value for name, value in registers.items() if not (name[0] == "s" and name[1:].isdigit())}
    registers.pop("fpscr", None)
    _stack_pointer(registers, bool(status.get("cfsr", 0) & FRAME_LOST))
    fatal = next((m for m in map(_FATAL.search, part.lines) if m), None)
    if not reason and fatal is not None:
        asserted = any("ASSERTION FAIL" in line for line in part.lines)
        reason = "assert" if asserted else FATAL_REASONS.get(int(fatal[1]), "")
    return Evidence(
        CpuState(registers, status, reason=reason),
        NAME,
        None,
        listed=tuple(int(m[1], 16) for m in map(_TRACE.search, part.lines) if m),
        notes=tuple(notes),
        context=tuple(_context(part, fatal)),
        line=part.first + 1,
        cut=found.cut or fatal is None or "pc" not in found.values,
    )


def _sentences(part: Part) -> tuple[str, list[tuple[str, str]], dict[str, int]]:
    """The exception that was taken, the status bits the sentences stand for, and the addresses given as valid."""
    reason, section = "", ""
    bits: list[tuple[str, str]] = []
    addresses: dict[str, int] = {}
    for line in part.lines:
        heading, short = _HEADING.search(line), _SHORT.search(line)
        if heading:
            section = _HEADINGS[heading[1]]
            reason = reason or section
        if short and not reason:
            reason = EXCEPTIONS.get(int(short[1]), f"exception {short[1]}"[:40])
        bits += [(register, name) for words, register, name in _CAUSES.get(section, ()) if words in line]
        address = _ADDRESS.search(line)
        if address and not _OURS.search(line):
            register = (address[1] or _SECTION_ADDRESS.get(section, "")).lower()
            if register:
                addresses.setdefault(register, int(address[2], 16))
    return reason, list(dict.fromkeys(bits)), addresses


def _stack_pointer(registers: dict[str, int], frame_lost: bool) -> None:
    """SP before the exception, which only PSP and EXC_RETURN together tell."""
    exc_return, psp = registers.get("exc_return", 0), registers.get("psp")
    if not exc_return:
        registers.pop("exc_return", None)  # Zephyr prints 0 where it has none
        return
    if psp is None or not exc_return & 4:
        return
    if frame_lost:
        registers["sp"] = psp
    if "xpsr" not in registers:
        return
    words = BASIC_FRAME if exc_return & 16 else EXTENDED_FRAME
    registers["sp"] = (psp + 4 * words + (4 if registers["xpsr"] & PADDED else 0)) & 0xFFFFFFFF


def _context(part: Part, fatal: re.Match[str] | None) -> list[str]:
    told = [f"Zephyr calls it: {fatal[2]}."] if fatal else []
    thread = next((m for m in map(_THREAD.search, part.lines) if m), None)
    if thread:
        told.append(f"Thread: {thread[2] or 'unknown'} ({thread[1]}).")
    if any("Fault during interrupt handling" in line for line in part.lines):
        told.append("The fault came while an interrupt was being handled.")
    return told


_printed = each(_begins, lambda line: bool(_PC.search(line)), _read)


def _find(text: Text) -> list[Evidence]:
    """The crashes that were printed, each with its core dump, and between them those that only a dump tells of."""
    found = _printed(text)
    starts = [evidence.line or 0 for evidence in found]
    alone = []
    for dump in dumps_in(text) if found else ():
        before = bisect_right(starts, dump.line or 0) - 1
        if before >= 0 and dump.fits(found[before]):
            found[before] = dump.add_to(found[before])
        else:
            alone.append(dump.evidence())
    return sorted([*found, *alone], key=lambda evidence: evidence.line or 0)


FORMAT = Format(NAME, "Zephyr's (***** BUS FAULT *****, r0/a1: …)", _find)
