"""How a stopped Cortex-M looks to gdb: its registers as a target description, the signal that ended it, and the memory
that is known beside the program's own.

gdb takes the features by name (GDB manual, appendix G.5.3 "ARM Features"):

    org.gnu.gdb.arm.m-profile   r0…r12, sp, lr, pc, xpsr: always all of them
    org.gnu.gdb.arm.vfp         d0…d15, fpscr: gdb makes s0…s31 of them
    org.gnu.gdb.arm.m-system    msp, psp, with which gdb unwinds exceptions across both stacks; and the masks
    layerproof.fault            what says why it stopped; gdb shows a feature that it does not know as it stands
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from harness.cpustate import FAULT_STATUS_ADDRESSES, CpuState, MemorySpan
from harness.debug.unwinding.exception_frame import uses_process_stack

CORE_REGISTERS = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr")
VFP_REGISTERS = tuple(f"d{n}" for n in range(16))
UNKNOWN = 0xDEADDA7A  # stands for a value that gdb cannot be told is unknown; neither code, RAM nor flash can lie there
_MASKS = ("primask", "basepri", "faultmask", "control")
_TYPES = {"sp": "data_ptr", "pc": "code_ptr", "msp": "data_ptr", "psp": "data_ptr", "lr": "uint32", "xpsr": "uint32"}

# gdb's own numbers of signals (include/gdb/signals.def); a core file has Linux's, which differ for SIGBUS
SIGNALS = {"SIGINT": 2, "SIGILL": 4, "SIGTRAP": 5, "SIGABRT": 6, "SIGFPE": 8, "SIGBUS": 10, "SIGSEGV": 11}
_SIGNAL_OF_KIND = {
    "halted": "SIGINT",
    "nmi": "SIGINT",
    "assertion": "SIGABRT",
    "undefined_instruction": "SIGILL",
    "invalid_state": "SIGILL",
    "no_coprocessor": "SIGILL",
    "divide_by_zero": "SIGFPE",
    "debug_event": "SIGTRAP",
    "unaligned_access": "SIGBUS",
    "precise_bus_fault": "SIGBUS",
    "imprecise_bus_fault": "SIGBUS",
    "instruction_bus_fault": "SIGBUS",
    "unstacking_error": "SIGBUS",
}


def signal_name(kind: str) -> str:
    """The signal that stands for a kind of crash (`Diagnosis.kind`): gdb has no words of its own for a fault."""
    return _SIGNAL_OF_KIND.get(kind, "SIGSEGV")


@dataclass(frozen=True)
class Register:
    """`value` is little-endian, None where the register exists and what it held is not known."""

    name: str
    bits: int
    type: str  # of gdb's target descriptions
    value: bytes | None


@dataclass(frozen=True)
class Feature:
    name: str
    registers: tuple[Register, ...]


def features(state: CpuState) -> tuple[Feature, ...]:
    """The registers of `state` as they were at the instruction it stopped at."""
    return tuple(feature for feature in _features(state) if feature.registers)


def target_xml(described: tuple[Feature, ...]) -> str:
    """A target description for gdb (GDB manual, appendix G.2). Registers are numbered in the order of `described`."""
    lines = ['<?xml version="1.0"?>', '<!DOCTYPE target SYSTEM "gdb-target.dtd">', '<target version="1.0">']
    lines.append("<architecture>arm</architecture>")
    for feature in described:
        lines.append(f"<feature name={quoteattr(feature.name)}>")
        lines += [f'<reg name="{r.name}" bitsize="{r.bits}" type="{r.type}"/>' for r in feature.registers]
        lines.append("</feature>")
    return "\n".join([*lines, "</target>", ""])


def vfp_known(state: CpuState) -> bool:
    """Whether anything is known of the floating-point registers."""
    return any(name in state.registers for name in ("fpscr", *(f"s{n}" for n in range(32))))


def status_memory(state: CpuState) -> Iterator[MemorySpan]:
    """The fault status registers where a debugger looks for them: each is a word of the System Control Block."""
    for name, address in FAULT_STATUS_ADDRESSES.items():
        if name in state.fault_status:
            yield MemorySpan(address, _word(state.fault_status[name]))


def _features(state: CpuState) -> Iterator[Feature]:
    registers = dict(state.registers)
    # msp or psp is another name of sp. In a record they stand as the fault handler found them, below the frame that the
    # fault pushed; at the instruction that faulted the one in use was sp.
    if "exc_return" in registers and "sp" in registers:
        registers["psp" if uses_process_stack(registers["exc_return"]) else "msp"] = registers["sp"]
    registers.setdefault("pc", UNKNOWN)  # without one gdb refuses the whole target
    yield Feature("org.gnu.gdb.arm.m-profile", tuple(_register(name, registers) for name in CORE_REGISTERS))
    if vfp_known(state):
        doubles = tuple(_double(n, registers) for n in range(len(VFP_REGISTERS)))
        yield Feature("org.gnu.gdb.arm.vfp", (*doubles, _register("fpscr", registers)))
    if "msp" in registers and "psp" in registers:
        known = tuple(name for name in _MASKS if name in registers)
        system = tuple(_register(name, registers) for name in ("msp", "psp", *known))
        yield Feature("org.gnu.gdb.arm.m-system", system)
    why = {"exc_return": registers["exc_return"]} if "exc_return" in registers else {}
    why |= {name: state.fault_status[name] for name in FAULT_STATUS_ADDRESSES if name in state.fault_status}
    yield Feature("layerproof.fault", tuple(_register(name, why) for name in why))


def _register(name: str, values: dict[str, int]) -> Register:
    value = values.get(name)
    return Register(name, 32, _TYPES.get(name, "uint32"), None if value is None else _word(value))


def _double(number: int, values: dict[str, int]) -> Register:
    low, high = values.get(f"s{2 * number}"), values.get(f"s{2 * number + 1}")
    known = None if low is None or high is None else _word(low) + _word(high)
    return Register(VFP_REGISTERS[number], 64, "ieee_double", known)


def _word(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")
