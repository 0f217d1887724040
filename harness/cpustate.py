"""What is known of a processor that stopped: the meeting point of runners, the fault record and the debugger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# where the registers of `CpuState.fault_status` lie: DDI 0553 D1.1.3, System Control Block; a subset exists on Armv7-M
FAULT_STATUS_ADDRESSES = {
    "shcsr": 0xE000ED24,
    "cfsr": 0xE000ED28,
    "hfsr": 0xE000ED2C,
    "dfsr": 0xE000ED30,
    "mmfar": 0xE000ED34,
    "bfar": 0xE000ED38,
    "afsr": 0xE000ED3C,
    "sfsr": 0xE000EDE4,
    "sfar": 0xE000EDE8,
}


@dataclass(frozen=True)
class MemorySpan:
    """Bytes as they stood at `address` when the processor stopped."""

    address: int
    data: bytes


@dataclass(frozen=True)
class CpuState:
    """Registers and memory of a stopped Cortex-M.

    For a fault `registers` hold the values at the faulting instruction, with `sp` as it was *before* the exception
    frame was pushed; for a processor halted from outside they are the live ones. Keys are lower case: r0..r12, sp, lr,
    pc, xpsr, and where known msp, psp, control, exc_return, primask, basepri, faultmask, s0..s31, fpscr.
    `fault_status` has cfsr, hfsr, mmfar, bfar, afsr, shcsr and on ARMv8-M sfsr, sfar; empty when no fault was taken.
    `layer` is the number of the layer that was running, None outside the model.
    """

    registers: Mapping[str, int]
    fault_status: Mapping[str, int] = field(default_factory=dict)
    memory: tuple[MemorySpan, ...] = ()
    layer: int | None = None
    reason: str = ""  # "hardfault", "memmanage", "busfault", "usagefault", "securefault", "nmi", "assert", "halted"
    partial: bool = False  # the record is incomplete: the fault path itself failed
    message: str = ""  # what the firmware itself had to say: "file.c:12" of an assertion that failed
