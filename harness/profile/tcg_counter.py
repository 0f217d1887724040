"""Counts in QEMU: every instruction, by function, layer and line, exact."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.debug.image import Image
from harness.debug.symbolise import Symboliser
from harness.debug.unwinding.stacks import STACK_TOP
from harness.errors import InfrastructureError
from harness.firmware import Firmware
from harness.profile import tcg
from harness.profile.call_tree import CallTree, Node, call_tree
from harness.profile.measurement import ENTRY, Figures, Function, Measurement, SourceLine
from harness.profile.timing import NONE, Timing
from harness.runners.qemu import QemuRunner
from harness.session import Session
from harness.toolchain.disassembly import Listing, disassemble

_RUNS = 2


@dataclass(frozen=True)
class TcgCounter:
    """Counts by the plugin `tcg_count.c`. `timing` estimates cycles; `timeout` is seconds a layer may take."""

    runner: QemuRunner
    timing: Timing | None
    timeout: float

    @property
    def name(self) -> str:
        return "QEMU TCG plugin"

    def measure(self, firmware: Firmware, inputs: Sequence[np.ndarray]) -> Measurement:
        image = Image(firmware.elf)
        listing = disassemble(firmware.elf)
        execution, stacks = self._run(firmware, image, listing, inputs)
        tree = call_tree(execution, image, listing, self.timing)
        symboliser = Symboliser(image)
        top = image.symbol(STACK_TOP)
        layers = (_figures(_layer(tree.root, layer.name)) for layer in firmware.source.layers)
        return Measurement(
            total=replace(_figures(tree.root), stack=stacks.whole),
            layers=tuple(replace(found, stack=stack) for found, stack in zip(layers, stacks.layers, strict=True)),
            tree=tree.root,
            functions=functions(tree.root, symboliser),
            lines=_lines(tree, symboliser),
            stack_used=top.address - execution.lowest if top else None,
            notes=self._notes(tree),
        )

    def _run(
        self, firmware: Firmware, image: Image, listing: Listing, inputs: Sequence[np.ndarray]
    ) -> tuple[tcg.Execution, _Stacks]:
        """What one call executes, and the stack it takes. InfrastructureError: two calls from reset differ."""

        def write_inputs(session: Session) -> None:
            for tensor, values in zip(firmware.source.graph.inputs, inputs, strict=True):
                session.write_tensor(tensor, values)

        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "counts"
            options = (*self.runner.options, *tcg.options(image, ENTRY, out))
            with Session(firmware, replace(self.runner, options=options), timeout=self.timeout) as session:
                for run in range(_RUNS):
                    if run:
                        session.reset()
                    write_inputs(session)
                    whole = session.run()
                write_inputs(session)
                stacks = _Stacks(whole.stack, tuple(done.stack for done in session.run_layers()))
            runs = tcg.read(out)
        if len(runs) != _RUNS:
            raise InfrastructureError(f"the QEMU plugin saw {len(runs)} calls of {ENTRY}, not {_RUNS}")
        first, second = runs
        if (first.contexts, by_address(first, listing)) != (second.contexts, by_address(second, listing)):
            raise InfrastructureError(
                f"two equal runs executed {first.instructions:,} and {second.instructions:,} instructions, "
                "or others: the count cannot be relied on",
                where=str(firmware.elf),
            )
        return first, stacks

    def _notes(self, tree: CallTree) -> tuple[str, ...]:
        if self.timing is None or not tree.untimed:
            return ()
        names = ", ".join(sorted(tree.untimed))
        return (f"no estimate where the timing table of {self.timing.title} lacks an instruction: {names}",)


@dataclass(frozen=True)
class _Stacks:
    """Bytes of the stack that were written: by `model_run`, and by each layer alone."""

    whole: int
    layers: tuple[int, ...]


def by_address(execution: tcg.Execution, listing: Listing) -> Counter[tuple[int, int]]:
    """How often each instruction was executed, by context and address: whatever blocks QEMU cuts the code into."""
    counts: Counter[tuple[int, int]] = Counter()
    for block in execution.blocks:
        for instruction in listing.run(block.start, block.length):
            counts[block.context, instruction.address] += block.count
    return counts


def _layer(root: Node, name: str) -> Node | None:
    """The node of a layer's function; None: it was never called, as for a layer without code."""
    return next((chain[-1] for chain in root.walk() if chain[-1].function == name), None)


def _figures(node: Node | None) -> Figures:
    return Figures(0, estimate=NONE) if node is None else Figures(node.total, estimate=node.total_cycles)


def functions(root: Node, symboliser: Symboliser) -> tuple[Function, ...]:
    """Every function with what it executed along all chains; most instructions of its own first."""
    own: dict[str, Node] = {}
    inclusive: Counter[str] = Counter()
    for chain in root.walk():
        node = chain[-1]
        known = own.setdefault(node.function, Node(node.function, node.address))
        known.instructions += node.instructions
        known.calls += node.calls
        known.cycles = None if known.cycles is None or node.cycles is None else known.cycles + node.cycles
        if all(above.function != node.function for above in chain[:-1]):
            inclusive[node.function] += node.total
    found = []
    for node in sorted(own.values(), key=lambda node: (-node.instructions, node.function)):
        places = symboliser.at(node.address)
        file, line = (places[-1].file, places[-1].line) if places else (None, None)
        figures = Figures(node.instructions, estimate=node.cycles)
        found.append(Function(node.function, file, line, node.calls, figures, inclusive[node.function]))
    return tuple(found)


def _lines(tree: CallTree, symboliser: Symboliser) -> tuple[SourceLine, ...]:
    """Every source line that has code of its own, inlined or not. Code without debug information is in none."""
    counts: Counter[tuple[str, int]] = Counter()
    for address, count in tree.addresses.items():
        places = symboliser.at(address)
        if places and places[0].file is not None and places[0].line is not None:
            counts[places[0].file, places[0].line] += count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(SourceLine(file, line, count) for (file, line), count in ordered)
