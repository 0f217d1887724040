"""Where a function without call frame information keeps its return address, read off its own instructions.

A walk from the function's first instruction to the one that stopped, following pushes, stack adjustments and the frame
pointer, and passing over everything else. It is right for what compilers and careful assembly programmers write; the
unwinder checks what it finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from harness.debug.dwarf.cfi import Caller
from harness.debug.memory import Memory
from harness.debug.thumb import ReadCode, fetch

_MAX_BYTES = 4096  # of a function that is walked; more is no hand-written leaf
_REGISTERS = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc")
_CALLEE_SAVED = frozenset(f"r{n}" for n in range(4, 12))
_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class _Frame:
    depth: int = 0  # bytes between the stack pointer at entry and now
    slots: Mapping[str, int] = field(default_factory=dict)  # register -> depth of the word that keeps its value
    pointer: tuple[str, int] | None = None  # a frame pointer, and the depth it stands at

    def push(self, registers: list[str]) -> _Frame:
        depth = self.depth + 4 * len(registers)
        slots = dict(self.slots)
        for index, name in enumerate(registers):
            # a second push of a register keeps a newer value: only the first is the caller's
            slots.setdefault(name, depth - 4 * index)
        return replace(self, depth=depth, slots=slots)

    def pop(self, registers: list[str]) -> _Frame:
        return self.drop(4 * len(registers))

    def drop(self, count: int) -> _Frame:
        depth = self.depth - count
        return replace(self, depth=depth, slots={n: d for n, d in self.slots.items() if d <= depth})


def _listed(mask: int) -> list[str]:
    return [name for number, name in enumerate(_REGISTERS) if mask >> number & 1]


def _immediate(head: int, tail: int) -> int:
    """ThumbExpandImm (DDI 0403E A5.3.2)."""
    value = (head >> 10 & 1) << 11 | (tail >> 12 & 7) << 8 | tail & 0xFF
    if value >> 10 == 0:
        byte = value & 0xFF
        return (byte, byte << 16 | byte, byte << 24 | byte << 8, byte * 0x01010101)[value >> 8]
    rotation, pattern = value >> 7, 0x80 | value & 0x7F
    return (pattern >> rotation | pattern << (32 - rotation)) & _WORD


def _narrow(frame: _Frame, head: int) -> tuple[_Frame, bool]:
    """The frame after a 16-bit instruction, and whether control leaves the function there."""
    if head & 0xFE00 == 0xB400:  # PUSH
        return frame.push(_listed(head & 0xFF | (head & 0x100) << 6)), False
    if head & 0xFE00 == 0xBC00:  # POP
        return frame.pop(_listed(head & 0xFF | (head & 0x100) << 7)), bool(head & 0x100)
    if head & 0xFF80 == 0xB080:  # SUB sp
        return replace(frame, depth=frame.depth + (head & 0x7F) * 4), False
    if head & 0xFF80 == 0xB000:  # ADD sp
        return frame.drop((head & 0x7F) * 4), False
    if head & 0xF800 == 0xA800 and head >> 8 & 7 == 7:  # ADD r7, sp, #
        return replace(frame, pointer=("r7", frame.depth - (head & 0xFF) * 4)), False
    if head in (0x466F, 0x46EB):  # MOV r7, sp; MOV r11, sp
        return replace(frame, pointer=("r7" if head == 0x466F else "r11", frame.depth)), False
    if head in (0x46BD, 0x46DD) and frame.pointer is not None:  # MOV sp, r7; MOV sp, r11
        return frame.drop(frame.depth - frame.pointer[1]), False
    return frame, head & 0xFF87 == 0x4700  # BX


def _wide(frame: _Frame, head: int, tail: int) -> tuple[_Frame, bool]:
    if head == 0xE92D:  # PUSH.W
        return frame.push(_listed(tail)), False
    if head == 0xE8BD:  # POP.W
        return frame.pop(_listed(tail)), bool(tail >> 15)
    if head == 0xF84D and tail & 0x0FFF == 0x0D04:  # STR rX, [sp, #-4]!
        return frame.push([_REGISTERS[tail >> 12]]), False
    if head == 0xF85D and tail & 0x0FFF == 0x0B04:  # LDR rX, [sp], #4
        return frame.pop([_REGISTERS[tail >> 12]]), tail >> 12 == 15
    if head == 0xE96D:  # STRD rX, rY, [sp, #-n]!
        pair = [_REGISTERS[tail >> 12], _REGISTERS[tail >> 8 & 15]]
        below = replace(frame, depth=frame.depth + (tail & 0xFF) * 4 - 8)
        return below.push(pair), False
    if head & 0xFFBF == 0xED2D and tail & 0x0E00 == 0x0A00:  # VPUSH
        return replace(frame, depth=frame.depth + (tail & 0xFF) * 4), False
    if head & 0xFFBF == 0xECBD and tail & 0x0E00 == 0x0A00:  # VPOP
        return frame.drop((tail & 0xFF) * 4), False
    amount = head & ~0x0400, tail & 0x8F00
    if amount == (0xF1AD, 0x0D00):  # SUB.W sp, sp, #const
        return replace(frame, depth=frame.depth + _immediate(head, tail)), False
    if amount == (0xF10D, 0x0D00):  # ADD.W sp, sp, #const
        return frame.drop(_immediate(head, tail)), False
    plain = (head >> 10 & 1) << 11 | (tail >> 12 & 7) << 8 | tail & 0xFF
    if amount == (0xF2AD, 0x0D00):  # SUBW
        return replace(frame, depth=frame.depth + plain), False
    if amount == (0xF20D, 0x0D00):  # ADDW
        return frame.drop(plain), False
    return frame, False


def _walk(start: int, stop: int, read: ReadCode) -> _Frame | None:
    """The frame as it stands before the instruction at `stop`."""
    frame = _Frame()
    body = frame  # deepest frame so far: what holds again after an early return
    at = start
    while at < stop:
        instruction = fetch(read, at)
        if instruction is None:
            return None
        head, tail = instruction
        after, leaves = _narrow(frame, head) if tail is None else _wide(frame, head, tail)
        frame = body if leaves else after
        if frame.depth > body.depth or len(frame.slots) > len(body.slots):
            body = frame
        at += 2 if tail is None else 4
    return frame if at == stop else None


def caller(
    start: int, address: int, registers: Mapping[str, int], memory: Memory, read: ReadCode, live: bool
) -> Caller | None:
    """One step up from `address` in the function that starts at `start`; `live` as in `CallFrames.caller`.

    For a caller `address` is its return address. None when the walk finds no return address.
    """
    if not 0 <= address - start <= _MAX_BYTES:
        return None
    frame = _walk(start, address, read)
    if frame is None or frame.depth < 0:
        return None
    if frame.pointer is not None and frame.pointer[0] in registers:
        top = (registers[frame.pointer[0]] + frame.pointer[1]) & _WORD
    elif "sp" in registers:
        top = (registers["sp"] + frame.depth) & _WORD
    else:
        return None
    found = {name: value for name, value in registers.items() if name in _CALLEE_SAVED}
    for name, depth in frame.slots.items():
        value = memory.word((top - depth) & _WORD)
        if name in _CALLEE_SAVED and value is not None:
            found[name] = value
    if "lr" in frame.slots:
        return_address = memory.word((top - frame.slots["lr"]) & _WORD)
    else:
        return_address = registers.get("lr") if live else None
    if return_address is None:
        return None
    return Caller(top, return_address, "lr" in frame.slots, found)
