"""From fault status registers to a kind of crash, a sentence, and the address that was touched.

The status bits come first, whatever HFSR.FORCED says: a fault with a handler of its own leaves FORCED at 0. Where a
core has no such bits (Armv6-M) the instruction at the program counter and its operands are all there is, and the
sentence says that it concludes from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.debug.fault_bits import FaultBit, set_bits, touched
from harness.debug.places import NULL_PAGE
from harness.debug.thumb import Access, ReadCode, access, exists_on_v6m, fetch, is_undefined

_THUMB_STATE = 1 << 24  # of xPSR
_EXCEPTION = 0x1FF  # of xPSR: number of the exception being handled
_FAULT_EXCEPTIONS = range(3, 8)  # HardFault to SecureFault

# which status registers belong to the exception that was taken
_OF_REASON = {
    "memmanage": ("MMFSR",),
    "busfault": ("BFSR",),
    "usagefault": ("UFSR",),
    "securefault": ("SFSR",),
    "debug": ("DFSR",),
}
_HANDLERS = {
    "hardfault": "HardFault_Handler",
    "memmanage": "MemManage_Handler",
    "busfault": "BusFault_Handler",
    "usagefault": "UsageFault_Handler",
    "securefault": "SecureFault_Handler",
    "nmi": "NMI_Handler",
    "debug": "DebugMon_Handler",
}
_WITHOUT_FAULT = {
    "assert": ("assertion", "assertion failed"),
    "halted": ("halted", "stopped from outside while running"),
    "timeout": ("halted", "stopped from outside while running"),
    "panic": ("panic", "the firmware stopped itself"),
    "stack_check": ("stack_overflow", "stack overflow, as the firmware itself says"),
    "nmi": ("nmi", "non-maskable interrupt"),
}
_UDF_OF_GCC = 0xDEFF
_TRAP = (
    "GCC puts this one, UDF #255, where a program can only come by undefined behaviour, such as right after a null "
    "pointer was dereferenced, and for __builtin_trap."
)
_AUXILIARY = "its bits are implementation defined; the manual of this processor or chip names them."
_ACCESSES = frozenset({
    "precise_bus_fault", "data_fault", "memory_protection", "null_pointer", "unaligned_access", "secure_access",
    "imprecise_bus_fault", "stack_overflow",
})  # fmt: skip
_LOCKED = ("lockup", "processor locked up")


@dataclass(frozen=True)
class Diagnosis:
    """What went wrong. `kind` is one word for machines, `title` a phrase, `sentence` says what it means."""

    kind: str
    title: str
    sentence: str
    address: int | None = None  # that was touched or jumped to; None: not known
    access: str = ""  # "load" or "store" where the instruction says
    precise: bool = True  # False: the program counter is somewhere after the culprit
    concluded: bool = False  # from the instruction, because no status register says it
    bits: tuple[FaultBit, ...] = ()  # every status bit that is set
    auxiliary: int = 0  # AFSR, whose bits every processor defines for itself

    @property
    def meaning(self) -> tuple[str, ...]:
        """What each status bit that is set says, the deciding one first."""
        said = [f"{bit.register}.{bit.name}: {bit.sentence}" for bit in self.bits]
        return (*said, *([f"AFSR is 0x{self.auxiliary:08x}: {_AUXILIARY}"] if self.auxiliary else []))

    @property
    def is_access(self) -> bool:
        """Whether a load or store was refused, so that `address` is where it went."""
        return self.kind in _ACCESSES


def handler_name(reason: str) -> str | None:
    """The exception handler that `CpuState.reason` names; None when no fault was taken."""
    return _HANDLERS.get(reason)


def diagnose(
    fault_status: Mapping[str, int],
    registers: Mapping[str, int],
    *,
    reason: str = "",
    code: ReadCode | None = None,
    has_status: bool = True,
) -> Diagnosis:
    """What the registers say. Never raises; whatever is not known stays unsaid.

    `code` reads instructions, to name the access that faulted and to tell where none can be; None: the program is not
    at hand. `has_status` is False for a core without CFSR.
    """
    found = _diagnosed(fault_status, registers, reason, code, has_status)
    return replace(found, auxiliary=fault_status.get("afsr", 0))


def _diagnosed(
    fault_status: Mapping[str, int], registers: Mapping[str, int], reason: str, code: ReadCode | None, has_status: bool
) -> Diagnosis:
    bits = set_bits(fault_status)
    deciding = [bit for bit in bits if bit.kind]
    wanted = _OF_REASON.get(reason)
    ours = [bit for bit in deciding if wanted is not None and bit.register in wanted]
    # status bits are sticky: one that belongs to the exception that was taken goes before left-overs of another
    chosen = next(iter(ours or deciding), None)
    instruction = _Instruction(registers, code)
    if reason == "lockup":
        return _with(_LOCKED, "A fault came while another was being handled, and the processor stopped for good.", bits)
    # one that was stopped from outside may have been in a fault handler all the while; old status bits do not say so
    in_handler = registers.get("xpsr", 0) & _EXCEPTION in _FAULT_EXCEPTIONS
    if reason in _WITHOUT_FAULT and not (in_handler and deciding):
        return _with(_WITHOUT_FAULT[reason], "", bits)
    if chosen is not None and chosen.name != "FORCED":
        return _from_bit(chosen, bits, fault_status, instruction)
    return _concluded(instruction, bits, has_status, recorded=bool(fault_status))


def _with(name: tuple[str, str], sentence: str, bits: tuple[FaultBit, ...]) -> Diagnosis:
    kind, title = name
    return Diagnosis(kind, title, sentence, bits=bits)


class _Instruction:
    """The instruction the processor stopped at, as far as it can be read."""

    def __init__(self, registers: Mapping[str, int], code: ReadCode | None) -> None:
        self.registers = registers
        self.pc = registers.get("pc")
        self.thumb = bool(registers.get("xpsr", _THUMB_STATE) & _THUMB_STATE)
        self.halfwords = fetch(code, self.pc & ~1) if self.pc is not None and code is not None else None
        self.is_outside = self.pc is not None and code is not None and self.halfwords is None

    @property
    def is_trap(self) -> bool:
        return self.halfwords == (_UDF_OF_GCC, None)

    @property
    def access(self) -> Access | None:
        if self.halfwords is None or self.pc is None:
            return None
        return access(*self.halfwords, {**self.registers, "pc": self.pc & ~1})


def _from_bit(
    bit: FaultBit, bits: tuple[FaultBit, ...], fault_status: Mapping[str, int], instruction: _Instruction
) -> Diagnosis:
    found = instruction.access if bit.precise and bit.name in _FAULTS_OF_AN_ACCESS else None
    address = touched(fault_status, bit.address) if bit.address else None
    kind, title, sentence = bit.kind, bit.title, bit.sentence
    nowhere = bit.name in _FAULTS_OF_WHAT_RAN and instruction.is_outside
    if nowhere or bit.name == "INVSTATE" or (bit.name in _FAULTS_OF_A_JUMP and instruction.halfwords is None):
        address = instruction.pc
    if address is None and found is not None:
        address = found.address
    if address is not None and address < NULL_PAGE:
        if bit.name in _FAULTS_OF_A_JUMP or nowhere:
            kind, title = "null_call", "call through a null pointer"
            sentence = "A function was called through a pointer that is null."
        elif bit.name in ("DACCVIOL", "PRECISERR"):
            kind, title = "null_pointer", "null pointer dereferenced"
            sentence = f"A {_word(found)} went through a pointer that is null or nearly so."
    elif nowhere:
        # what lies there only happened to be no instruction; the defect is that it was executed
        kind, title = "bad_jump", "jump out of the code"
        sentence = f"The program counter is 0x{address:08x}, where the program has no code. {sentence}"
    elif bit.name in ("IACCVIOL", "IBUSERR") and instruction.halfwords is None:
        kind, title = ("bad_jump", "jump to nowhere") if bit.name == "IBUSERR" else (kind, title)
    if bit.name == "UNDEFINSTR" and instruction.is_trap:
        title, sentence = "trap", f"{sentence} {_TRAP}"
    return Diagnosis(kind, title, sentence, address, _word(found, ""), bit.precise, False, bits)


_FAULTS_OF_AN_ACCESS = frozenset({"DACCVIOL", "PRECISERR", "UNALIGNED", "AUVIOL"})
_FAULTS_OF_A_JUMP = frozenset({"IACCVIOL", "IBUSERR", "INVSTATE"})
_FAULTS_OF_WHAT_RAN = frozenset({"UNDEFINSTR", "NOCP", "DIVBYZERO", "DEBUGEVT", "BKPT"})  # the instruction, no access


def _word(found: Access | None, unknown: str = "load or store") -> str:
    if found is None:
        return unknown
    return "store" if found.store else "load"


def _concluded(instruction: _Instruction, bits: tuple[FaultBit, ...], has_status: bool, recorded: bool) -> Diagnosis:
    """The best reading of the instruction, when no status bit names the cause."""
    why = "The status registers name no cause" if recorded else "The fault status registers are not known"
    why = why if has_status else "This core records no cause"
    for test in (_jump, _undefined, _memory):
        found = test(instruction, has_status)
        if found is not None:
            kind, title, told, address, found_access = found
            return Diagnosis(kind, title, f"{why}; {told}", address, found_access, concluded=True, bits=bits)
    return Diagnosis("hard_fault", "hard fault", f"{why}, and the instruction at the program counter gives no hint.",
                     concluded=True, bits=bits)  # fmt: skip


_Guess = tuple[str, str, str, int | None, str]


def _jump(instruction: _Instruction, has_status: bool) -> _Guess | None:
    pc = instruction.pc
    if pc is None or (instruction.thumb and instruction.halfwords is not None):
        return None
    if pc & ~1 < NULL_PAGE:
        return "null_call", "call through a null pointer", "the program counter is null.", pc & ~1, ""
    if not instruction.thumb:
        told = "the processor was told to leave Thumb state by a jump to an even address."
        return "invalid_state", "jump to an address without the Thumb bit", told, pc, ""
    return "bad_jump", "jump to nowhere", "the program counter is at an address where there is no code.", pc, ""


def _undefined(instruction: _Instruction, has_status: bool) -> _Guess | None:
    if instruction.halfwords is None:
        return None
    head, tail = instruction.halfwords
    if instruction.is_trap:
        told = f"the instruction at the program counter is one that no core has. {_TRAP}"
        return "undefined_instruction", "trap", told, None, ""
    if is_undefined(head, tail) or not (has_status or exists_on_v6m(head, tail)):
        told = "the instruction at the program counter is one that this core does not have."
        return "undefined_instruction", "undefined instruction", told, None, ""
    if tail is None and head & 0xFF00 == 0xBE00:
        told = "the instruction at the program counter is a breakpoint."
        return "debug_event", "breakpoint without a debugger", told, None, ""
    if tail is None and head & 0xFF00 == 0xDF00:
        told = "the instruction at the program counter is an SVC, whose handler cannot run at this priority."
        return "masked_svc", "supervisor call that cannot be served", told, None, ""
    return None


def _memory(instruction: _Instruction, has_status: bool) -> _Guess | None:
    found = instruction.access
    if found is None:
        return None
    what = _word(found)
    if not found.aligned:
        told = f"the instruction at the program counter is a {what} of {found.alignment} bytes at an address that is "
        told += f"no multiple of {found.alignment}."
        return "unaligned_access", "unaligned access", told, found.address, what
    if found.address < NULL_PAGE:
        told = f"the instruction at the program counter is a {what} through a pointer that is null or nearly so."
        return "null_pointer", "null pointer dereferenced", told, found.address, what
    told = f"the instruction at the program counter is a {what}, which something at its address must have refused."
    return "data_fault", f"{what} refused", told, found.address, what
