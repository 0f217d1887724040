"""What somebody has of a crash, read: a record of the firmware's own, or a log pasted from the field."""

from __future__ import annotations

from dataclasses import dataclass

from harness.cpustate import CpuState
from harness.errors import BadInput
from harness.layout import LayoutError
from harness.rpc.fault_record import MAGIC, FaultRecord


@dataclass(frozen=True)
class Evidence:
    """A crash as far as somebody has it. What the evidence does not say is absent from `state`."""

    state: CpuState
    format: str  # "layerproof record", "Zephyr log", …
    build_id: bytes | None  # as far as the evidence says
    listed: tuple[int, ...] = ()  # return addresses the log itself lists, innermost first
    notes: tuple[str, ...] = ()  # what is doubtful about it


def read_evidence(data: bytes, where: str) -> Evidence:
    """The crash that `data` tells of. `where` names its origin in errors.

    BadInput: nothing can be read from it; the message says what was looked for.
    """
    if data[:4] == MAGIC.to_bytes(4, "little"):
        return from_record(data, where)
    raise BadInput(
        "no crash was found: it is no fault record",
        where=where,
        hint="Give the fault record as the firmware sent it.",
    )


def from_record(data: bytes, where: str) -> Evidence:
    """The crash of a binary record, whole. BadInput: it is cut short or was damaged."""
    try:
        record = FaultRecord.parse(data)
    except LayoutError as error:
        raise BadInput(str(error), where=where) from error
    return Evidence(record.cpu_state(), "layerproof record", record.build_id if any(record.build_id) else None)
