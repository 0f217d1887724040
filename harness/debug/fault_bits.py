"""Every defined bit of the fault status registers, with what the manual says of it.

Sections are of the Armv7-M Architecture Reference Manual, DDI 0403E, and where marked v8 of the Armv8-M one, DDI 0553.
CFSR's three parts keep their own names; bits are numbered in the 32-bit register that holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FaultBit:
    register: str  # "MMFSR", "BFSR", "UFSR": parts of CFSR; "HFSR", "DFSR", "SFSR"
    bit: int  # in CFSR for its parts
    name: str
    kind: str  # what the crash is called when this bit decides; empty: the bit only qualifies others
    title: str  # what happened, as a phrase that an address can follow
    sentence: str
    section: str
    address: str = ""  # the register with the address that was touched, when `valid` is set with it
    precise: bool = True  # the stacked pc is the instruction that did it

    @property
    def word(self) -> str:
        """Key of `CpuState.fault_status` that holds the bit."""
        return "cfsr" if self.register in ("MMFSR", "BFSR", "UFSR") else self.register.lower()


_MMFSR, _BFSR, _UFSR = "B3.2.15 MMFSR", "B3.2.15 BFSR", "B3.2.15 UFSR"

BITS: tuple[FaultBit, ...] = (
    FaultBit("MMFSR", 0, "IACCVIOL", "execute_never", "instruction fetch from memory that must not be executed",
             "The processor fetched an instruction from a place marked execute-never or closed by the MPU.", _MMFSR),
    FaultBit("MMFSR", 1, "DACCVIOL", "memory_protection", "memory protection fault",
             "A load or store touched an address that the MPU or the default memory map does not permit.", _MMFSR,
             "mmfar"),
    FaultBit("MMFSR", 3, "MUNSTKERR", "unstacking_error", "memory protection fault on return from an exception",
             "The MPU refused to let the processor read back the registers it had pushed at the exception's entry.",
             _MMFSR),
    FaultBit("MMFSR", 4, "MSTKERR", "stack_overflow", "stack overflow, the MPU refused the exception frame",
             "The MPU refused to let the processor push registers at the exception's entry: the stack had run out.",
             _MMFSR),
    FaultBit("MMFSR", 5, "MLSPERR", "lazy_fp_save", "memory protection fault while saving floating-point registers",
             "The MPU refused the deferred save of the floating-point registers to the exception frame: the culprit is "
             "before the reported line, where the exception was taken with a bad stack pointer.", _MMFSR,
             precise=False),
    FaultBit("MMFSR", 7, "MMARVALID", "", "", "MMFAR holds the address that was touched.", _MMFSR),
    FaultBit("BFSR", 8, "IBUSERR", "instruction_bus_fault", "instruction fetch from where nothing answers",
             "The processor jumped to an address that no memory answers, and tried to execute from there.", _BFSR),
    FaultBit("BFSR", 9, "PRECISERR", "precise_bus_fault", "precise data bus fault",
             "A load or store touched an address that nothing answers; the program counter is at that instruction.",
             _BFSR, "bfar"),
    FaultBit("BFSR", 10, "IMPRECISERR", "imprecise_bus_fault", "imprecise data bus fault",
             "A store was refused after the processor had gone on: the culprit is before the reported line.", _BFSR,
             precise=False),
    FaultBit("BFSR", 11, "UNSTKERR", "unstacking_error", "bus fault on return from an exception",
             "Nothing answered when the processor read back the registers it had pushed at the exception's entry.",
             _BFSR),
    FaultBit("BFSR", 12, "STKERR", "stack_overflow", "stack overflow, the exception frame could not be written",
             "Nothing answered when the processor pushed registers at the exception's entry: the stack pointer has "
             "left the RAM.", _BFSR),
    FaultBit("BFSR", 13, "LSPERR", "lazy_fp_save", "bus fault while saving floating-point registers",
             "Nothing answered the deferred save of the floating-point registers to the exception frame: the culprit "
             "is before the reported line, where the exception was taken with a bad stack pointer.", _BFSR,
             precise=False),
    FaultBit("BFSR", 15, "BFARVALID", "", "", "BFAR holds the address that was touched.", _BFSR),
    FaultBit("UFSR", 16, "UNDEFINSTR", "undefined_instruction", "undefined instruction",
             "The processor met an instruction that it does not have.", _UFSR),
    FaultBit("UFSR", 17, "INVSTATE", "invalid_state", "jump to an address without the Thumb bit",
             "The processor was told to leave Thumb state, the only one it has: a jump or return to an even address, "
             "often a function pointer that was never set.", _UFSR),
    FaultBit("UFSR", 18, "INVPC", "invalid_exception_return", "invalid return from an exception",
             "A handler returned with an EXC_RETURN value that does not fit, often because its stack was overwritten.",
             _UFSR),
    FaultBit("UFSR", 19, "NOCP", "no_coprocessor", "coprocessor instruction while the coprocessor is off",
             "A coprocessor instruction was met while the coprocessor is off or absent: for CP10 and CP11 that is the "
             "floating-point or vector unit, which CPACR switches on.", _UFSR),
    FaultBit("UFSR", 20, "STKOF", "stack_overflow", "stack overflow, the stack pointer passed its limit register",
             "The stack pointer went below MSPLIM or PSPLIM.", "v8 D1.2 UFSR"),
    FaultBit("UFSR", 24, "UNALIGNED", "unaligned_access", "unaligned access",
             "A load or store of more than a byte was not at a multiple of its size, where the instruction or "
             "CCR.UNALIGN_TRP demands it.", _UFSR),
    FaultBit("UFSR", 25, "DIVBYZERO", "divide_by_zero", "division by zero",
             "SDIV or UDIV divided by zero while CCR.DIV_0_TRP traps that.", _UFSR),
    FaultBit("HFSR", 1, "VECTTBL", "vector_table", "bus fault while reading the vector table",
             "Nothing answered when the processor read a handler's address from the vector table: VTOR is wrong.",
             "B3.2.16 HFSR"),
    FaultBit("HFSR", 30, "FORCED", "hard_fault", "hard fault",
             "A fault escalated to HardFault because its own handler is disabled or has too low a priority.",
             "B3.2.16 HFSR"),
    FaultBit("HFSR", 31, "DEBUGEVT", "debug_event", "breakpoint without a debugger",
             "A BKPT instruction or another debug event was met while no debugger listens.", "B3.2.16 HFSR"),
    FaultBit("DFSR", 0, "HALTED", "", "", "A debugger asked the processor to halt or step.", "C1.6.1 DFSR"),
    FaultBit("DFSR", 1, "BKPT", "debug_event", "breakpoint without a debugger", "A BKPT instruction was met.",
             "C1.6.1 DFSR"),
    FaultBit("DFSR", 2, "DWTTRAP", "debug_event", "watchpoint", "The data watchpoint unit saw what it watches for.",
             "C1.6.1 DFSR"),
    FaultBit("DFSR", 3, "VCATCH", "debug_event", "vector catch",
             "An exception was taken that vector catch watches for.", "C1.6.1 DFSR"),
    FaultBit("DFSR", 4, "EXTERNAL", "debug_event", "external debug request", "The EDBGRQ signal asked for a halt.",
             "C1.6.1 DFSR"),
    FaultBit("DFSR", 5, "PMU", "debug_event", "performance monitor event", "A performance monitor counter overflowed.",
             "v8 D1.2 DFSR"),
    FaultBit("SFSR", 0, "INVEP", "secure_entry", "call into secure code that is no entry point",
             "Non-secure code called a secure address where no SG instruction stands.", "v8 D1.2 SFSR"),
    FaultBit("SFSR", 1, "INVIS", "secure_integrity", "damaged secure exception frame",
             "The integrity signature was missing from the secure stack on return from an exception.", "v8 D1.2 SFSR"),
    FaultBit("SFSR", 2, "INVER", "secure_exception_return", "invalid return from a secure exception",
             "EXC_RETURN did not fit the security state it returned from or to.", "v8 D1.2 SFSR"),
    FaultBit("SFSR", 3, "AUVIOL", "secure_access", "access to secure memory from non-secure code",
             "Non-secure code touched an address that SAU or IDAU keep secure.", "v8 D1.2 SFSR", "sfar"),
    FaultBit("SFSR", 4, "INVTRAN", "secure_transition", "branch from secure code that was not marked as one",
             "Secure code branched to non-secure memory by an instruction that is not meant for it.", "v8 D1.2 SFSR"),
    FaultBit("SFSR", 5, "LSPERR", "lazy_fp_save", "security fault while saving floating-point registers",
             "The deferred save of the floating-point registers would have crossed the security border: the culprit is "
             "before the reported line.",
             "v8 D1.2 SFSR", precise=False),
    FaultBit("SFSR", 6, "SFARVALID", "", "", "SFAR holds the address that was touched.", "v8 D1.2 SFSR"),
    FaultBit("SFSR", 7, "LSERR", "lazy_fp_state", "broken state of the deferred floating-point save",
             "The flags of the deferred save of the floating-point registers contradict each other: the culprit is "
             "before the reported line.", "v8 D1.2 SFSR", precise=False),
)  # fmt: skip

VALID = {"mmfar": ("cfsr", 7), "bfar": ("cfsr", 15), "sfar": ("sfsr", 6)}  # the bit that vouches for an address

# Of several bits the one nearest to the cause decides. A failed push comes with the fault that made the processor push;
# what is imprecise comes late, on top of something else; FORCED only says how it was delivered.
_PRECEDENCE = (
    "STKOF", "MSTKERR", "STKERR", "UNDEFINSTR", "INVSTATE", "NOCP", "DIVBYZERO", "UNALIGNED", "INVPC", "IACCVIOL",
    "IBUSERR", "DACCVIOL", "PRECISERR", "INVEP", "INVIS", "INVER", "AUVIOL", "INVTRAN", "LSERR", "MUNSTKERR",
    "UNSTKERR", "MLSPERR", "LSPERR", "IMPRECISERR", "VECTTBL", "DEBUGEVT", "BKPT", "DWTTRAP", "VCATCH", "EXTERNAL",
    "PMU", "FORCED",
)  # fmt: skip


def set_bits(fault_status: Mapping[str, int]) -> tuple[FaultBit, ...]:
    """The defined bits that are set, the deciding one first, those that only qualify others last."""
    present = [bit for bit in BITS if fault_status.get(bit.word, 0) >> bit.bit & 1]
    return tuple(sorted(present, key=lambda bit: _PRECEDENCE.index(bit.name) if bit.kind else len(_PRECEDENCE)))


def touched(fault_status: Mapping[str, int], register: str) -> int | None:
    """The address in MMFAR, BFAR or SFAR, only where its valid bit is set: otherwise it is a left-over."""
    word, bit = VALID[register]
    return fault_status.get(register) if fault_status.get(word, 0) >> bit & 1 else None
