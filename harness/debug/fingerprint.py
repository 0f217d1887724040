"""A short name for a bug, the same whenever and however often it crashes.

It is made of what stays when the same source is built anew, at another optimisation level, in another folder, or with
code before it that moved every address:

- the kind of crash, coarsely: cores and compilers tell the same mistake in several ways;
- the functions that were running, of the user's own code, each once, so that a recursion's depth does not count;
- in the innermost of them the line, counted from where the function begins.

Left out are guessed frames, frames of the C library (which of its functions call which depends on the level), code that
an interrupt happened to stop, whatever called a layer of the model, and the part of a name that marks a compiler's copy
of a function. Of a stack overflow only the functions that recur count, also guessed ones: the exception frame was lost,
but a function that is on the stack many times over did recur.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from harness.debug.listing import is_library

_DIGITS = 12  # 48 bits: among a million bugs two share a name with a chance of 1 in 500
_RECURS = 3  # times a function must be on the stack to count as recurring

# GCC makes a trap of what it can prove to be undefined, from -O2 on, where the plain code would have faulted.
_ACCESS, _UNDEFINED, _JUMP = "access", "undefined behaviour", "jump"
_KINDS = {
    "precise_bus_fault": _ACCESS,
    "data_fault": _ACCESS,
    "memory_protection": _ACCESS,
    "secure_access": _ACCESS,
    "imprecise_bus_fault": "imprecise access",
    "null_pointer": _UNDEFINED,
    "divide_by_zero": _UNDEFINED,
    "trap": _UNDEFINED,
    "bad_jump": _JUMP,
    "execute_never": _JUMP,
    "instruction_bus_fault": _JUMP,
    "abort": "assertion",
}
_CLONE = re.compile(r"\.(constprop|isra|part|cold|lto_priv|localalias|llvm)\b.*$")
_OUTERMOST = frozenset({"main", "Reset_Handler", "_start"})
_LAYER_FILE = re.compile(r"\d{3}_\w+\.(c|S)$")  # in a folder of this name:
_LAYER_FOLDER = "layers"


@dataclass(frozen=True)
class Site:
    """A function on the chain of calls, innermost first."""

    function: str | None
    file: str | None
    line: int | None
    start: int | None  # line the function begins at
    guessed: bool = False
    interrupted: bool = False  # an exception was taken here, by the function before it


def fingerprint(kind: str, sites: Sequence[Site], precise: bool = True) -> str | None:
    """Hexadecimal digits; None for what is no bug's doing (stopped from outside) or has no function to hold on to.

    `kind` is that of the crash, or "trap" for the undefined instruction that compilers put for undefined behaviour;
    `precise` is false when the innermost line is not that of the culprit.
    """
    if kind == "halted":
        return None
    lines: list[str] = []
    if kind == "stack_overflow":
        recurring = _recurring(sites)
        lines = [_KINDS.get(kind, kind), *recurring] if recurring else []
    if not lines:
        own = list(_own(sites))
        if not own:
            return None
        line = _offset(own[0]) if precise and kind != "stack_overflow" else ""
        names = dict.fromkeys(_name(site) for site in own)
        lines = [_KINDS.get(kind, kind), line, *names]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:_DIGITS]


def _own(sites: Sequence[Site]) -> Iterator[Site]:
    """The user's functions that are certain, up to the layer's, the interrupt's, or main."""
    in_layer = False
    for site in sites:
        is_layer = site.file is not None and _is_layer(site.file)
        if site.guessed or site.interrupted or (in_layer and not is_layer):
            return
        in_layer = is_layer
        if site.function is not None and site.function not in _OUTERMOST and not is_library(site.file):
            yield site


def _recurring(sites: Sequence[Site]) -> list[str]:
    counts = Counter(_name(site) for site in sites if site.function is not None and not is_library(site.file))
    return sorted(name for name, count in counts.items() if count >= _RECURS)


def _is_layer(file: str) -> bool:
    path = PurePath(file)
    return path.parent.name == _LAYER_FOLDER and _LAYER_FILE.match(path.name) is not None


def _name(site: Site) -> str:
    return f"{_CLONE.sub('', site.function or '')} {PurePath(site.file).name if site.file is not None else ''}"


def _offset(site: Site) -> str:
    return "" if site.line is None else str(site.line - (site.start or 0))
