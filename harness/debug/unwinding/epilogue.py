"""The caller of a function that stopped while it was leaving: its frame is half gone.

Compilers describe an epilogue to the debugger only sometimes; for Armv6-M GCC never does. But it is straight-line code
that does little else than to pop, so that carrying it out on paper up to the return gives the caller exactly.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.debug.dwarf.cfi import Caller
from harness.debug.memory import Memory
from harness.debug.thumb import ReadCode, fetch

_MAX_INSTRUCTIONS = 8
_REGISTERS = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc")
_CALLEE_SAVED = frozenset(f"r{n}" for n in range(4, 12))
_WORD = 0xFFFFFFFF


def caller(pc: int, registers: Mapping[str, int], memory: Memory, read: ReadCode) -> Caller | None:
    """The caller of the function that was about to execute the instruction at `pc`, if that is part of an epilogue."""
    now = dict(registers)
    for count in range(_MAX_INSTRUCTIONS):
        instruction = fetch(read, pc)
        if instruction is None or "sp" not in now:
            return None
        head, tail = instruction
        known = _narrow(now, head, memory) if tail is None else _wide(now, head, tail, memory)
        if not known:
            return None
        if "pc" in now and now["pc"] != registers.get("pc"):
            # LR itself is the return address only where nothing had to be popped for it
            saved = count > 0 or head & 0xFF87 != 0x4700
            found = {name: value for name, value in now.items() if name in _CALLEE_SAVED}
            return Caller(now["sp"], now["pc"], saved, found)
        pc += 2 if tail is None else 4
    return None


def _pop(now: dict[str, int], mask: int, memory: Memory) -> bool:
    for number, name in enumerate(_REGISTERS):
        if mask >> number & 1:
            value = memory.word(now["sp"])
            if value is None:
                return False
            now["sp"] = now["sp"] + 4 & _WORD
            now[name] = value
    return True


def _narrow(now: dict[str, int], head: int, memory: Memory) -> bool:
    """Carry out a 16-bit instruction; False when it is none of an epilogue's."""
    if head & 0xFE00 == 0xBC00:  # POP
        return _pop(now, head & 0xFF | (head & 0x100) << 7, memory)
    if head & 0xFF80 == 0xB000:  # ADD sp, #
        now["sp"] = now["sp"] + (head & 0x7F) * 4 & _WORD
        return True
    if head & 0xFF87 == 0x4685 and _REGISTERS[head >> 3 & 15] in now:  # MOV sp, rX
        now["sp"] = now[_REGISTERS[head >> 3 & 15]]
        return True
    if head & 0xFF87 == 0x4700 and _REGISTERS[head >> 3 & 15] in now:  # BX
        now["pc"] = now[_REGISTERS[head >> 3 & 15]]
        return True
    if head & 0xFF00 == 0x4600 and head & 0x87 not in (0x85, 0x86, 0x87):  # MOV between others, such as to r8
        source, target = _REGISTERS[head >> 3 & 15], _REGISTERS[head & 7 | head >> 4 & 8]
        now[target] = now.get(source, 0)
        return source in now
    return False


def _wide(now: dict[str, int], head: int, tail: int, memory: Memory) -> bool:
    if head == 0xE8BD:  # POP.W
        return _pop(now, tail, memory)
    if head == 0xF85D and tail & 0x0FFF == 0x0B04:  # LDR rX, [sp], #4
        return _pop(now, 1 << (tail >> 12), memory)
    if head & 0xFFBF == 0xECBD and tail & 0x0E00 == 0x0A00:  # VPOP
        now["sp"] = now["sp"] + (tail & 0xFF) * 4 & _WORD
        return True
    return False
