"""Cycles of a stream of instructions, estimated from the table that a core's manual publishes.

The tables assume memory without wait states, and give ranges where the cost depends on operands or on how well a branch
target was prefetched. So an estimate has a lowest and a highest value, and the one number quoted is the middle of both.
An instruction that no row covers makes the estimate unknown; it is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.toolchain.disassembly import Instruction

CONDITIONS = ("eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "hs", "lo")
_BRANCHES = frozenset(f"b{condition}" for condition in CONDITIONS)


@dataclass(frozen=True)
class Cycles:
    """At least and at most so many."""

    low: int
    high: int

    def __add__(self, other: Cycles) -> Cycles:
        return Cycles(self.low + other.low, self.high + other.high)

    def times(self, count: int) -> Cycles:
        return Cycles(self.low * count, self.high * count)

    @property
    def middle(self) -> int:
        """The number to quote, rounded up."""
        return (self.low + self.high + 1) // 2


NONE = Cycles(0, 0)


@dataclass(frozen=True)
class Step:
    """One instruction of the stream. `before` is the one executed just before it where that is known."""

    instruction: Instruction
    base: str  # mnemonic without condition, width, and the s of those that set flags
    before: Step | None
    jumps: bool  # execution went on elsewhere than behind it

    @property
    def registers(self) -> int:
        """N of the manuals: registers in the list between braces; two for LDRD and STRD."""
        found = re.search(r"\{(.*)\}", self.instruction.operands)
        return sum(map(_width, found[1].split(","))) if found else 2

    @property
    def destination(self) -> str:
        return self.instruction.operands.split(",")[0].strip()

    @property
    def address_registers(self) -> frozenset[str]:
        """Registers that a load or store makes its address of: those in brackets, or the one before a list."""
        operands = self.instruction.operands
        base, braces, _ = operands.partition("{")
        if braces:
            return frozenset((base.strip(" ,!") or "sp",))
        found = re.search(r"\[([^\]]*)\]", operands)
        return frozenset(re.findall(r"\b(?:r\d+|sp|lr|pc|ip|fp|sl)\b", found[1])) if found else frozenset()

    @property
    def indexed(self) -> bool:
        """Whether the address has an offset in a register."""
        return len(self.address_registers) > 1


def _width(item: str) -> int:
    """Registers in one item of a list: "r4" or "s16-s31"."""
    ends = re.findall(r"\d+", item)
    return int(ends[1]) - int(ends[0]) + 1 if "-" in item and len(ends) == 2 else 1


Cost = Callable[[Step], Cycles]


def fixed(low: int, high: int | None = None) -> Cost:
    """The same for every instruction of a row."""
    cycles = Cycles(low, low if high is None else high)
    return lambda step: cycles


@dataclass(frozen=True)
class Timing:
    """The table of one core. `assumptions` are what it leaves open and is decided here."""

    name: str  # as `--timing` takes it
    title: str
    source: str  # document and section
    cores: frozenset[str]  # whose code it can time
    rows: Mapping[str, Cost]  # by base mnemonic
    assumptions: tuple[str, ...] = ()

    def step(self, instruction: Instruction, before: Step | None, jumps: bool) -> Step:
        return Step(instruction, self.base(instruction.mnemonic), before, jumps)

    def cost(self, step: Step) -> Cycles | None:
        """None: the table has no row for it."""
        row = self.rows.get(step.base)
        return None if row is None else row(step)

    def base(self, mnemonic: str) -> str:
        """The row's name: "addeq.w" and "adds" are "add", "bne.n" is "bcc", "vadd.f32" is "vadd", "ittt" is "it"."""
        name = re.sub(r"\.[nw]$", "", mnemonic)
        if name in _BRANCHES:
            return "bcc"
        if re.fullmatch(r"it[te]{0,3}", name):
            return "it"
        stem = name.partition(".")[0]
        return next((candidate for candidate in _stems(stem) if candidate in self.rows), stem)


def _stems(stem: str) -> list[str]:
    """`stem` itself and without what may have been added to it, the most literal first."""
    found = [stem, stem.removesuffix("s")]
    if stem[-2:] in CONDITIONS:
        found += [stem[:-2], stem[:-2].removesuffix("s")]
    return found
