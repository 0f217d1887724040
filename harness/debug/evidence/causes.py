"""Status bits from the sentences that some firmware prints in their stead."""

from __future__ import annotations

from collections.abc import Iterable

from harness.debug.fault_bits import BITS, VALID

_BY_NAME = {(bit.register, bit.name): bit for bit in BITS}
EXCEPTIONS = {2: "nmi", 3: "hardfault", 4: "memmanage", 5: "busfault", 6: "usagefault", 7: "securefault"}
REMARK = "The log has no {names}: the status bits are put together from its words."


def status_from(bits: Iterable[tuple[str, str]], addresses: dict[str, int]) -> dict[str, int]:
    """The fault status in which these bits are set: each as (register, name) of `fault_bits`.

    `addresses` are those of mmfar, bfar and sfar that the log gives as valid ones.
    """
    status: dict[str, int] = {}
    for register, name in bits:
        bit = _BY_NAME[register, name]
        status[bit.word] = status.get(bit.word, 0) | 1 << bit.bit
    for register, address in addresses.items():
        word, bit_number = VALID[register]
        status[word] = status.get(word, 0) | 1 << bit_number
        status[register] = address
    return status


# Without a frame on the stack nothing is known of what the processor did: both are said by these bits of CFSR.
FRAME_LOST = 1 << 4 | 1 << 12 | 1 << 20  # MSTKERR, STKERR, STKOF
FRAME = ("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr")
LOST = (
    "The processor could not push the exception frame: r0 to r3, r12, lr, pc and xpsr of the log are not those of the "
    "fault, and are left out."
)


def without_lost_frame(registers: dict[str, int], status: dict[str, int], notes: list[str]) -> dict[str, int]:
    """The registers without those that were read from an exception frame that was never written."""
    if not status.get("cfsr", 0) & FRAME_LOST or not any(name in registers for name in FRAME):
        return registers
    notes.append(LOST)
    return {name: value for name, value in registers.items() if name not in FRAME}
