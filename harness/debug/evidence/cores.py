"""A core file that `harness crash decode --core` or a run wrote: all that was known of the crash then."""

from __future__ import annotations

from harness.debug.evidence.base import Evidence
from harness.debug.gdb.core_file import read_core

NAME = "layerproof core file"


def from_core(data: bytes, where: str) -> Evidence:
    """BadInput: it is the core file of another program, or damaged."""
    core = read_core(data, where)
    return Evidence(core.state, NAME, core.build_id)
