"""The instructions of one run, given to the functions that executed them.

    Execution + symbols + listing  ──>  Node model_run ── Node conv2d_0 ── Node nn_kernel_1f…
                                                       └─ Node conv2d_1 ── …

A function is an ELF symbol: code inlined into it is its own. A node is one function called along one chain of
functions; its calls from several places of the same function are one node. A function reached by a jump, as the last
call of a function often is, stands below the one that jumped. Children stand in the order of their first entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.debug.image import Image
from harness.profile.tcg import Execution
from harness.profile.timing import NONE, Cycles, Step, Timing
from harness.toolchain.disassembly import Instruction, Listing


@dataclass
class Node:
    """`instructions` and `cycles` are the function's own, without what it calls."""

    function: str
    address: int  # of its first instruction
    instructions: int = 0
    cycles: Cycles | None = NONE  # estimated; None: not for everything that it executed
    calls: int = 0
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Instructions with those of everything below."""
        return self.instructions + sum(child.total for child in self.children.values())

    @property
    def total_cycles(self) -> Cycles | None:
        """Cycles with those of everything below; None: not all of it is known."""
        cycles = self.cycles
        for child in self.children.values():
            below = child.total_cycles
            cycles = None if cycles is None or below is None else cycles + below
        return cycles

    def walk(self, above: tuple[Node, ...] = ()) -> Iterator[tuple[Node, ...]]:
        """Every chain of nodes from this one down, a node before its children."""
        chain = (*above, self)
        yield chain
        for child in self.children.values():
            yield from child.walk(chain)


@dataclass(frozen=True)
class CallTree:
    root: Node
    addresses: Counter[int]  # how often the instruction at each address was executed
    untimed: Counter[str]  # mnemonics that the timing table does not have


def call_tree(execution: Execution, image: Image, listing: Listing, timing: Timing | None) -> CallTree:
    """ToolFailed: code was executed that objdump does not show."""
    return _Builder(execution, image, listing, timing).build()


class _Builder:
    def __init__(self, execution: Execution, image: Image, listing: Listing, timing: Timing | None) -> None:
        self._execution = execution
        self._image = image
        self._listing = listing
        self._timing = timing
        self._frames: dict[int, tuple[Node, ...]] = {}  # of each context: nodes from the root to the function called
        self._addresses: Counter[int] = Counter()
        self._untimed: Counter[str] = Counter()

    def build(self) -> CallTree:
        root = self._node(self._execution.contexts[0].entry)
        root.calls = 1
        self._frames[0] = (root,)
        for block in self._execution.blocks:
            node = self._chain(block.context, block.start)[-1]
            if node is not self._frame(block.context)[-1] and block.start == node.address:
                node.calls += block.count  # by a jump
            instructions = self._listing.run(block.start, block.length)
            node.instructions += block.length * block.count
            for instruction in instructions:
                self._addresses[instruction.address] += block.count
            if self._timing is None:
                node.cycles = None
            else:
                cycles = self._cycles(self._timing, instructions, block.count, block.through)
                node.cycles = None if node.cycles is None or cycles is None else node.cycles + cycles
        return CallTree(root, self._addresses, self._untimed)

    def _chain(self, context: int, address: int) -> tuple[Node, ...]:
        """The nodes from the root to the function at `address`, which was executed as part of `context`."""
        frame = self._frame(context)
        function = self._name(address)
        for depth in range(len(frame), 0, -1):
            if frame[depth - 1].function == function:
                return frame[:depth]
        return (*frame, self._below(frame[-1], address))

    def _frame(self, number: int) -> tuple[Node, ...]:
        if number not in self._frames:
            context = self._execution.contexts[number]
            caller = self._chain(context.parent, context.site)
            node = self._below(caller[-1], context.entry)
            node.calls += context.times
            self._frames[number] = (*caller, node)
        return self._frames[number]

    def _below(self, parent: Node, address: int) -> Node:
        node = self._node(address)
        return parent.children.setdefault(node.function, node)

    def _node(self, address: int) -> Node:
        symbol = self._image.function_at(address)
        return Node(self._name(address), symbol.address if symbol else address)

    def _name(self, address: int) -> str:
        symbol = self._image.function_at(address)
        return symbol.name if symbol else f"{address:#010x}"

    def _cycles(self, timing: Timing, instructions: list[Instruction], count: int, through: int) -> Cycles | None:
        """Of a block that was executed `count` times; `through` times its last instruction did not jump."""
        total: Cycles | None = NONE
        before: Step | None = None
        for position, instruction in enumerate(instructions):
            last = position == len(instructions) - 1
            for jumps, times in ((True, count - through), (False, through)) if last else ((False, count),):
                if times == 0:
                    continue
                step = timing.step(instruction, before, jumps)
                cost = timing.cost(step)
                if cost is None:
                    self._untimed[step.base] += times
                    total = None
                elif total is not None:
                    total = total + cost.times(times)
            before = timing.step(instruction, before, False)
        return total
