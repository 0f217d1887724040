"""A board and the part of it that the compiler may know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What the compiler knows of the machine: its instruction set and how much memory the model may take."""

    core: str  # "cortex-m3" … or "host"
    features: frozenset[str]  # of "dsp", "fpu", "mve"
    flash_bytes: int | None = None  # None: no limit known
    ram_bytes: int | None = None
