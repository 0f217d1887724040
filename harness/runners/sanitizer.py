"""What AddressSanitizer and UndefinedBehaviorSanitizer write on stderr, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ADDRESS = re.compile(r"ERROR: AddressSanitizer: (?P<kind>[\w-]+)(?P<rest>[^\n]*)")
_UNDEFINED = re.compile(r"^(?P<file>.+?):(?P<line>\d+):\d+: runtime error: (?P<sentence>.+)$", re.MULTILINE)
_FRAME = re.compile(
    r"^ +#\d+ 0x(?P<pc>[0-9a-f]+) (?:in (?P<function>\S+)(?: (?P<file>[^\n(][^\n:]*):(?P<line>\d+)(?::\d+)?)?)?",
    re.MULTILINE,
)
_REGISTER = re.compile(r"\b(pc|bp|sp) 0x([0-9a-f]+)")


@dataclass(frozen=True)
class SanitizerFrame:
    """One line of the stack trace; `file` and `line` are None where there is no debug information."""

    function: str
    file: str | None
    line: int | None
    pc: int


@dataclass(frozen=True)
class SanitizerReport:
    """`kind` is AddressSanitizer's word for it ("SEGV", "global-buffer-overflow", "ABRT" …) or "undefined-behaviour".

    `frames` is the first stack trace of the report, innermost first. `registers` has pc, bp and sp where printed.
    """

    kind: str
    sentence: str
    address: int | None
    frames: tuple[SanitizerFrame, ...]
    registers: dict[str, int]


def parse_report(text: str) -> SanitizerReport | None:
    """The first report in `text`, or None when there is none."""
    found = min(filter(None, (_ADDRESS.search(text), _UNDEFINED.search(text))), key=re.Match.start, default=None)
    if found is None:
        return None
    frames = _first_trace(text[found.end() :])
    if found.re is _UNDEFINED:
        address = re.search(r"address (0x[0-9a-f]+)", found["sentence"])
        if not frames:  # an older runtime, or one told not to print the stack
            frames = (SanitizerFrame("?", found["file"], int(found["line"]), 0),)
        pointer = 0 if "null pointer" in found["sentence"] else None
        return SanitizerReport(
            "undefined-behaviour", found["sentence"], int(address[1], 16) if address else pointer, frames, {}
        )
    registers = {name: int(value, 16) for name, value in _REGISTER.findall(found["rest"])}
    if found["kind"] == "ABRT":  # what it gives as the address is the id of the process that sent the signal
        return SanitizerReport("ABRT", "the program aborted itself", None, frames, registers)
    address = re.search(r"address (0x[0-9a-f]+)", found["rest"])
    sentence = f"{found['kind']}{found['rest'].split(' (pc ')[0].split(' at pc ')[0]}"
    return SanitizerReport(found["kind"], sentence, int(address[1], 16) if address else None, frames, registers)


def _first_trace(text: str) -> tuple[SanitizerFrame, ...]:
    frames: list[SanitizerFrame] = []
    for match in _FRAME.finditer(text):
        if match[0].lstrip().startswith("#0 ") and frames:
            break
        line = int(match["line"]) if match["line"] else None
        frames.append(SanitizerFrame(match["function"] or "?", match["file"], line, int(match["pc"], 16)))
    return tuple(frames)
