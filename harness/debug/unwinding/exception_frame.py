"""The frame a Cortex-M pushes when it takes an exception, and the EXC_RETURN value that says where it pushed it.

basic: r0 r1 r2 r3 r12 lr pc xpsr       8 words    DDI 0403E B1.5.6, DDI 0553 B3.19
extended: basic, s0…s15, fpscr, -      26 words    EXC_RETURN[4] = 0
before them, when a secure handler saved its state for a non-secure one: signature, -, r4…r11   10 words
and one word of padding where xPSR[9] says that the stack pointer was not a multiple of 8
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.debug.memory import Memory

_BASIC = ("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr")
_EXTENDED_BYTES = 26 * 4
_INTEGRITY = (0xFEFA125A, 0xFEFA125B)
_THUMB_STATE = 1 << 24  # of xPSR
_PADDED = 1 << 9  # of xPSR


def is_exception_return(value: int) -> bool:
    """Whether `value` in LR or on the stack is an EXC_RETURN and no return address (B1.5.8).

    Bits 31:7 are ones and bit 1 is zero on every profile; 0xFFFFFFFF, LR's value after reset, is none.
    """
    return value & 0xFFFFFF82 == 0xFFFFFF80


def uses_process_stack(exception_return: int) -> bool:
    return bool(exception_return & 4)


def unstack(exception_return: int, frame: int, registers: Mapping[str, int], memory: Memory) -> dict[str, int] | None:
    """The registers of the interrupted code, with `sp` as it was before the frame at `frame` was pushed.

    `registers` are those of the handler at its return: r4…r11 pass through it. None when the frame cannot be read or
    holds what no processor pushes.
    """
    found = {name: value for name, value in registers.items() if name in _SAVED_BY_CALLEE}
    if memory.word(frame) in _INTEGRITY:
        for number in range(8):
            value = memory.word(frame + 8 + 4 * number)
            if value is not None:
                found[f"r{4 + number}"] = value
        frame += 40
    for index, name in enumerate(_BASIC):
        value = memory.word(frame + 4 * index)
        if value is None:
            return None
        found[name] = value
    if not found["xpsr"] & _THUMB_STATE:
        return None
    size = len(_BASIC) * 4 if exception_return & 16 else _EXTENDED_BYTES
    found["sp"] = frame + size + (4 if found["xpsr"] & _PADDED else 0)
    found["pc"] &= ~1
    return found


_SAVED_BY_CALLEE = frozenset(f"r{n}" for n in range(4, 12))
