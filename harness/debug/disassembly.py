"""Instructions in words, by the Capstone library: a crash is explained also where there is no Arm toolchain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import capstone

from harness.debug.image import Image
from harness.debug.thumb import is_wide

_CONDITIONS = "eq|ne|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le"
_BRANCHES = re.compile(rf"(?:bl?(?:{_CONDITIONS})?|cbn?z|le|letp|wls|wlstp)(?:\.\w+)?")
_TARGET = re.compile(r"#?(0x[0-9a-f]+|\d+)$")
_MAX_FUNCTION = 1 << 20  # bytes of a function that are decoded to reach a place in it


@dataclass(frozen=True)
class Instruction:
    address: int
    code: bytes
    text: str  # mnemonic and operands; a branch with the function it leads to

    @property
    def end(self) -> int:
        """Address of what comes behind it."""
        return self.address + len(self.code)


class Disassembler:
    """Of the Thumb code of one image."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def around(self, address: int, before: int, after: int) -> tuple[Instruction, ...]:
        """The instruction at `address` with those before and after it in its function; empty where there is no code.

        A program counter stood at `address`: there even what was written as data is an instruction.
        """
        function = self._image.function_at(address)
        start = function.address if function is not None and address - function.address < _MAX_FUNCTION else address
        kept: list[Instruction] = []
        following = 0
        for instruction in self.decode(start, address + 4 * (after + 1), address):
            if instruction.address > address:
                inside = function is None or function.size == 0 or function.covers(instruction.address)
                following += 1
                if following > after or not inside or all(known.address != address for known in kept):
                    break
            kept.append(instruction)
            if instruction.address < address and len(kept) > before:
                del kept[0]
        return tuple(kept) if any(instruction.address == address for instruction in kept) else ()

    def decode(self, start: int, end: int, executed: int | None = None) -> Iterator[Instruction]:
        """Instructions from `start` on that begin before `end`. Data between them, such as a literal pool, is left out,
        but for what was `executed`.

        What a condition makes of an instruction is known only from the IT or VPT before it, so start before those.
        """
        # the library keeps the state of IT blocks: a handle of its own for each run
        decoder = _decoder()
        at = start & ~1
        while at < end:
            is_code = self._image.may_run(at) if at == executed else self._image.is_code(at)
            head = self._image.constant(at, 2) if is_code else None
            if head is None:
                at += 2
                continue
            code = self._image.constant(at, 4 if is_wide(int.from_bytes(head, "little")) else 2)
            if code is None:
                return
            yield self._instruction(decoder, at, code)
            at += len(code)

    def bases(self, address: int) -> tuple[str, ...]:
        """The registers that the instruction at `address` computes an address in memory from."""
        code = self._image.constant(address, 2) if self._image.is_code(address) else None
        if code is not None and is_wide(int.from_bytes(code, "little")):
            code = self._image.constant(address, 4)
        if code is None:
            return ()
        decoder = _decoder()
        decoder.detail = True
        names: list[str] = []
        for found in decoder.disasm(code, address, 1):
            for operand in found.operands:
                if operand.type == capstone.CS_OP_MEM:
                    numbers = (operand.mem.base, operand.mem.index)
                    names += [found.reg_name(number) for number in numbers if number]
        return tuple(name for name in dict.fromkeys(names) if name)

    def _instruction(self, decoder: Any, address: int, code: bytes) -> Instruction:
        found = next(decoder.disasm_lite(code, address, 1), None)
        if found is None or found[1] != len(code):
            words = " ".join(code[i : i + 2][::-1].hex() for i in range(0, len(code), 2))
            return Instruction(address, code, f".inst 0x{words.replace(' ', '')}")
        _, _, mnemonic, operands = found
        text = f"{mnemonic} {operands}".rstrip()
        target = _TARGET.search(operands)
        if target is not None and _BRANCHES.fullmatch(mnemonic):
            text += self._named(int(target[1], 0))
        return Instruction(address, code, text)

    def _named(self, address: int) -> str:
        function = self._image.function_at(address)
        if function is None:
            return ""
        distance = address - function.address
        return f" <{function.name}{f'+0x{distance:x}' if distance else ''}>"


def _decoder() -> Any:
    return capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8)
