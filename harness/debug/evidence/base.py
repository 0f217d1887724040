"""What a reader of logs or records hands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.cpustate import CpuState
from harness.debug.evidence.text import Text


@dataclass(frozen=True)
class Evidence:
    """A crash as far as somebody has it. What the evidence does not say is absent from `state`."""

    state: CpuState
    format: str  # "layerproof record", "Zephyr log", …
    build_id: bytes | None  # as far as the evidence says
    listed: tuple[int, ...] = ()  # return addresses the log itself lists, innermost first
    notes: tuple[str, ...] = ()  # what is doubtful about it
    context: tuple[str, ...] = ()  # what else it says: the thread, the firmware's version
    line: int | None = None  # of a log where the crash begins, from 1
    cut: bool = False  # something is missing that its format always has


@dataclass(frozen=True)
class Format:
    """A way in which logs tell of a crash. `find` gives every crash in a text, in order; it never raises."""

    name: str
    mark: str  # what it is known by, as a phrase for the error when nothing was found
    find: Callable[[Text], list[Evidence]]
