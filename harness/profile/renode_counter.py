"""Counts in Renode: `ExecutedInstructions` of its core, read where `model_run` and each layer begin and return.

    hook at an address  ──>  a line of the log: address, link register, instructions before it  ──>  Visit*  ──>  counts

A hook is a breakpoint of Renode: it ends the block of instructions that is being executed, so that what was executed by
then is known to the instruction. A function's count is the difference between its entry and the first visit, behind the
call, of the address that the link register held at its entry.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from harness.debug.image import Image
from harness.errors import BadInput, InfrastructureError
from harness.firmware import Firmware
from harness.profile.measurement import ENTRY, Figures, Measurement
from harness.runners.base import RunningTarget
from harness.runners.renode import RenodeRunner, tail
from harness.session import Session
from harness.toolchain.disassembly import Listing, disassemble

LOG_SECONDS = 10.0  # for a line to get into Renode's log, which a thread of its own writes
_RUNS = 2

# Python, as the hooks of Renode are; `self` is the core. The form is that of Renode's own tests.
_SCRIPT = "self.InfoLog('visit {} from {} after {}'.format(self.PC, self.LR, self.ExecutedInstructions))"
_VISIT = re.compile(r"\bvisit 0x([0-9a-f]+) from 0x([0-9a-f]+) after (\d+)\r?\n")


class Visit(NamedTuple):
    """The core is about to execute the instruction at `address`."""

    address: int
    link: int  # address in the link register
    executed: int  # instructions since the machine was made


@dataclass(frozen=True)
class RenodeCounter:
    """`timeout` is seconds a layer may take."""

    runner: RenodeRunner
    timeout: float

    @property
    def name(self) -> str:
        return "Renode ExecutedInstructions"

    def measure(self, firmware: Firmware, inputs: Sequence[np.ndarray]) -> Measurement:
        """InfrastructureError: two runs differ, or a function was entered and its return not seen."""
        image = Image(firmware.elf)
        layers = [layer.name for layer in firmware.source.layers]
        entries = {symbol.address: name for name in (ENTRY, *layers) if (symbol := image.symbol(name)) is not None}
        if ENTRY not in entries.values():
            raise BadInput(f"there is no {ENTRY}", where=str(image.path))
        returns = return_addresses(disassemble(firmware.elf), entries)
        first, second = (self._run(firmware, inputs, entries, returns) for _ in range(_RUNS))
        if first != second:
            raise InfrastructureError(
                f"two equal runs executed {first[ENTRY]:,} and {second[ENTRY]:,} instructions, or others: the count "
                "cannot be relied on",
                where=str(firmware.elf),
            )
        return Measurement(
            total=Figures(first[ENTRY]),
            layers=tuple(Figures(first[name]) for name in layers),  # 0: one without code
        )

    def _run(
        self, firmware: Firmware, inputs: Sequence[np.ndarray], entries: dict[int, str], returns: Collection[int]
    ) -> Counter[str]:
        """What each function of `entries` executes within one call of `model_run`, those it calls included."""
        commands = tuple(f'sysbus.cpu AddHook {address:#x} "{_SCRIPT}"' for address in sorted({*entries, *returns}))
        with Session(firmware, replace(self.runner, commands=commands), timeout=self.timeout) as session:
            for tensor, values in zip(firmware.source.graph.inputs, inputs, strict=True):
                session.write_tensor(tensor, values)
            session.run()
            return self._told(session.target, entries)

    def _told(self, target: RunningTarget, entries: dict[int, str]) -> Counter[str]:
        """What the log says, once it says that `model_run` has returned."""
        deadline = time.monotonic() + LOG_SECONDS
        while True:
            visits = [Visit(int(at, 16), int(link, 16) & ~1, int(n)) for at, link, n in _VISIT.findall(target.stderr)]
            counts = executed(visits, entries)
            if counts[ENTRY]:
                return counts
            if target.exit_reason(0.05) is not None or time.monotonic() > deadline:
                raise InfrastructureError(
                    f"Renode's log does not tell when {ENTRY} was entered and left", hint=tail(target.stderr)
                )


def return_addresses(listing: Listing, entries: Collection[int]) -> set[int]:
    """Where control comes back from a call of one of the functions at `entries`."""
    return {
        instruction.end
        for instruction in listing.instructions.values()
        if instruction.mnemonic == "bl" and int(instruction.operands.split()[0], 16) in entries
    }


def executed(visits: Iterable[Visit], entries: dict[int, str]) -> Counter[str]:
    """Instructions between the entry and the return of each function, over all its calls that have returned.

    The last call of a function may be a jump: then both return to the same address, at once.
    """
    counts: Counter[str] = Counter()
    running: list[Visit] = []
    for visit in visits:
        while running and running[-1].link == visit.address:
            called = running.pop()
            counts[entries[called.address]] += visit.executed - called.executed
        if visit.address in entries:
            running.append(visit)
    return counts
