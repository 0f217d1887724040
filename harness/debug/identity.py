"""Whether an ELF file is that of the firmware which crashed.

An ELF that does not match makes of a true record a plausible lie. The build ID settles it where the evidence has one;
where it has none, what must be true of the right file is tried.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.cpustate import CpuState
from harness.debug.fault_bits import touched
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.thumb import access, call_before, fetch
from harness.debug.unwinding.exception_frame import is_exception_return

Match = Literal["yes", "no", "unknown"]

_JUMPED = 1 << 0 | 1 << 8 | 1 << 17  # of CFSR: IACCVIOL, IBUSERR, INVSTATE
_VIOLATED, _PRECISE, _DIVIDED = 1 << 1, 1 << 9, 1 << 25  # DACCVIOL, PRECISERR, DIVBYZERO
_NOT_EXECUTABLE = 1 << 16 | 1 << 19  # UNDEFINSTR, NOCP: what data gives when it is executed
_WORD = 4  # bytes; an unaligned access is made in parts, each with an address of its own
_RESET_LR = 0xFFFFFFFF
_FEW = 4  # words that look like return addresses, below which nothing is concluded from them


@dataclass(frozen=True)
class Identity:
    match: Match
    against: tuple[str, ...]  # what speaks against the file, as sentences
    tried: tuple[str, ...]  # what was tried when there is no build ID, as what holds of the right file

    @property
    def plausible(self) -> bool:
        return self.match != "no" and not self.against


def identify(build_id: bytes | None, state: CpuState, listed: Sequence[int], image: Image) -> Identity:
    """What speaks for and against `image` being the firmware of which `build_id`, `state` and `listed` tell."""
    match: Match = "unknown"
    if build_id is not None and image.build_id is not None:
        # a record has room for 20 bytes, and an ID may be shorter
        match = "yes" if build_id[: len(image.build_id)] == image.build_id[: len(build_id)] else "no"
    if match != "unknown":
        return Identity(match, (), ())
    if not image.is_arm:
        return Identity("no", ("It is no program for a Cortex-M.",), ())
    checks = {  # without symbols it is not known where instructions begin
        "PC stands at an instruction" if image.functions else "PC is in its code": list(_program_counter(state, image)),
        "LR stands after a call": list(_link_register(state, image)),
        "stacked addresses stand after calls": list(_stacked(state, listed, image)),
    }
    against = tuple(found for results in checks.values() for found in results if found)
    return Identity(match, against, tuple(name for name, results in checks.items() if results))


def _program_counter(state: CpuState, image: Image) -> Iterator[str]:
    pc, status = state.registers.get("pc"), state.fault_status
    if pc is None or status.get("cfsr", 0) & _JUMPED:
        return  # after a jump to nowhere it is anywhere
    pc &= ~1
    if not image.may_run(pc):
        # where the status registers do not say otherwise it may have jumped there, from where LR says
        lr = state.registers.get("lr", 0)
        if status.get("cfsr", 0) & ~_NOT_EXECUTABLE or (
            lr & 1 and not is_exception_return(lr) and not image.is_code(lr & ~1)
        ):
            yield f"PC 0x{pc:08x} is no code of it."
        return
    function = image.function_at(pc)
    if function is not None and not _on_boundary(image, function.address, pc):
        yield f"PC 0x{pc:08x} is in the middle of an instruction of {function.name}."
    else:
        yield _instruction(state, image, pc)


def _instruction(state: CpuState, image: Image, pc: int) -> str:
    """What speaks against the instruction at `pc` being the one that did what the status registers say."""
    instruction, cfsr = fetch(Memory(image).code, pc), state.fault_status.get("cfsr", 0)
    if instruction is None:
        return ""
    # SDIV, UDIV (DDI 0403E A7.7.127, A7.7.195)
    if cfsr & _DIVIDED and instruction[0] & 0xFFD0 != 0xFB90:
        return f"The fault was a division by zero, and what stands at PC 0x{pc:08x} is no division."
    register = "bfar" if cfsr & _PRECISE else "mmfar" if cfsr & _VIOLATED else ""
    address = touched(state.fault_status, register) if register else None
    done = access(*instruction, {**state.registers, "pc": pc})
    if address is None or done is None or done.address - _WORD < address < done.address + done.bytes + _WORD:
        return ""
    what = f"a {'store' if done.store else 'load'} at 0x{done.address:08x}"
    return f"The fault was at address 0x{address:08x}, and what stands at PC 0x{pc:08x} is {what}."


def _on_boundary(image: Image, start: int, pc: int) -> bool:
    read = Memory(image).code
    while start < pc:
        instruction = fetch(read, start)
        start += 4 if instruction is not None and instruction[1] is not None else 2
    return start == pc


def _link_register(state: CpuState, image: Image) -> Iterator[str]:
    lr = state.registers.get("lr")
    if lr is None or not lr & 1 or is_exception_return(lr) or lr == _RESET_LR or not image.is_code(lr & ~1):
        return  # a compiler may keep anything in it
    calls = call_before(Memory(image).code, lr) is not None
    yield "" if calls or image.starts_function(lr & ~1) else f"LR 0x{lr:08x} is in its code, but not after a call."


def _stacked(state: CpuState, listed: Sequence[int], image: Image) -> Iterator[str]:
    """Of the words that point into the code with the Thumb bit, most are return addresses or functions."""
    read = Memory(image).code
    words = [word for span in state.memory for (word,) in struct.iter_unpack("<I", span.data[: len(span.data) & ~3])]
    pc = state.registers.get("pc", 0) & ~1
    found = [word & ~1 for word in words if word & 1 and image.is_code(word & ~1)]
    found += [address & ~1 for address in listed if address & ~1 != pc]
    if len(found) < _FEW:
        return
    fitting = sum(call_before(read, word) is not None or image.starts_function(word) for word in found)
    told = f"Of {len(found)} stacked addresses in its code only {fitting} stand after a call or at a function's start."
    yield "" if 2 * fitting >= len(found) else told
