"""What lies at an address: a tensor, a variable, the stack, code, or nothing of this firmware."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.board import Board
from harness.compiler.csource import CSource, Layer
from harness.compiler.graph import TensorId
from harness.debug.arenas import Arena, arena_of
from harness.debug.image import Image
from harness.debug.unwinding.stacks import Stack, stack_top, stacks

NULL_PAGE = 256  # bytes; the offsets that a field of a structure at NULL usually has
_BEYOND = 4096  # bytes past the arena or below the stack that are still told as a distance from it
_PERIPHERAL = 4096  # bytes that a peripheral's registers take at most

STACK_GUARD = "harness_stack_guard"  # lowest of the bytes below the firmware stub's stack that nothing may touch

# the architecture's memory map (DDI 0403E B3.1, table B3-1): end, name
_REGIONS = (
    (0x20000000, "code region"),
    (0x40000000, "on-chip RAM region"),
    (0x60000000, "peripheral region"),
    (0xA0000000, "external RAM region"),
    (0xE0000000, "external device region"),
    (0xE0100000, "private peripheral region"),
    (0x100000000, "vendor's system region"),
)
# what the private peripheral bus has (DDI 0403E table B3-3, C1.2.3; DDI 0553 D1.1): start, end, name
_SYSTEM = (
    (0xE0000000, 0xE0001000, "instrumentation trace macrocell (ITM)"),
    (0xE0001000, 0xE0002000, "data watchpoint and trace unit (DWT)"),
    (0xE0002000, 0xE0003000, "breakpoint unit (FPB)"),
    (0xE000E010, 0xE000E020, "system timer (SysTick)"),
    (0xE000E100, 0xE000E600, "interrupt controller (NVIC)"),
    (0xE000ED00, 0xE000ED90, "system control block (SCB)"),
    (0xE000ED90, 0xE000EDD0, "memory protection unit (MPU)"),
    (0xE000EDD0, 0xE000EDF0, "security attribution unit (SAU)"),
    (0xE000EDF0, 0xE000EF00, "debug control registers"),
    (0xE000E000, 0xE000F000, "system control space (SCS)"),
    (0xE002E000, 0xE002F000, "non-secure alias of the system control space"),
    (0xE0040000, 0xE0041000, "trace port interface unit (TPIU)"),
    (0xE0041000, 0xE0042000, "embedded trace macrocell (ETM)"),
)


@dataclass(frozen=True)
class Place:
    """`text` continues a sentence after an address: "…, in the arena …". `kind` is one of null_page, arena, past_arena,
    stack, stack_guard, below_stack, code, constant, variable, section, free (memory of the board that the firmware does
    not use), peripheral, system, unmapped."""

    kind: str
    text: str


class AddressMap:
    """The places of one firmware. `source` adds the tensors in the arena, `layer` the layer whose tensors go first,
    `board` the names of its memories and of the peripheral it talks through. `arena` is for firmware of which
    `arena_of` needs to know more than the image."""

    def __init__(
        self,
        image: Image,
        source: CSource | None = None,
        layer: Layer | None = None,
        board: Board | None = None,
        arena: Arena | None = None,
    ) -> None:
        self._image = image
        self._board = board
        self._source = source
        self._layer = layer
        self.arena = arena if arena is not None else arena_of(image)
        self._arena = self.arena if self.arena is not None and self.arena.exists else None
        self._stacks = stacks(image)

    def at(self, address: int) -> Place:
        return next(self._places(address))

    def below_stack(self, pointer: int, variables: bool = True) -> int:
        """How many bytes a stack pointer has run past the end of the next stack; 0 when it has not or none is known.

        `variables`: that stack may also be a variable, which is known by its name alone.
        """
        stack = self._stack_above(pointer)
        return stack.bottom - pointer if stack is not None and (variables or not stack.name) else 0

    def _stack_above(self, address: int) -> Stack | None:
        """The stack that ends shortly above an address where there is no variable."""
        if self._image.object_at(address) is not None or any(stack.covers(address) for stack in self._stacks):
            return None
        above = next((stack for stack in self._stacks if 0 < stack.bottom - address <= _BEYOND), None)
        end = stack_top(self._image, address)  # of a stack whose bottom nobody named: the address is on that
        return None if above is not None and end is not None and end <= above.bottom else above

    def _places(self, address: int) -> Iterator[Place]:
        if address < NULL_PAGE:
            yield Place("null_page", "in the null page")
        if self._arena is not None and self._arena.covers(address):
            yield Place("arena", f"in the arena{self._tensor(address - self._arena.address)}")
        for stack in self._stacks:
            if stack.covers(address):
                yield Place("stack", f"in {stack.text}, {_bytes(address - stack.bottom)} above its end")
            guard = self._image.symbol(STACK_GUARD) if not stack.name else None
            if guard is not None and guard.address <= address < stack.bottom:
                yield Place("stack_guard", f"in the guard at the end of {stack.text}")
        above = self._stack_above(address)
        if above is not None:
            yield Place("below_stack", f"{_bytes(above.bottom - address)} past the end of {above.text}")
        yield from self._of_the_file(address)
        if self._arena is not None and (past := address - self._arena.address - self._arena.bytes) in range(_BEYOND):
            yield Place("past_arena", f"{_bytes(past)} past the end of the arena of {_bytes(self._arena.bytes)}")
        yield from self._of_the_board(address)
        region = next((name for end, name in _REGIONS if address < end), "address space")
        unit = next((name for start, end, name in _SYSTEM if start <= address < end), None)
        if unit is not None:
            yield Place("system", f"in the {unit}")
        kind = "peripheral" if region == "peripheral region" else "unmapped"
        yield Place(kind, f"where this firmware has nothing ({region})")

    def _of_the_board(self, address: int) -> Iterator[Place]:
        if self._board is None or self._board.sections is None:
            return
        name = self._board.name
        for memory in self._board.memory:
            where = f"{memory.name} ({memory.kind.upper() if memory.kind == 'ram' else memory.kind} of {name})"
            if memory.address <= address < memory.end:
                yield Place("free", f"in {where}, which this firmware does not use there")
            if (past := address - memory.end) in range(_BEYOND):
                yield Place("unmapped", f"{_bytes(past)} past the end of {where}")
        uart = self._board.uart
        if address - uart.address in range(_PERIPHERAL):
            yield Place("peripheral", f"in the UART of {name} ({uart.kind}), {_bytes(address - uart.address)} "
                        "from its start")  # fmt: skip

    def brief(self, address: int) -> str:
        """A few words: a tensor's element, a variable, a function; empty where there is nothing to name."""
        place = self.at(address)
        if place.kind == "arena":
            return place.text.removeprefix("in the arena").removeprefix(", ") or "the arena"
        if place.kind in ("variable", "constant"):
            variable = self._image.object_at(address)
            assert variable is not None
            return f"{variable.name}{_distance(address - variable.address)}"
        if place.kind == "code":
            function = self._image.function_at(address & ~1)
            return "" if function is None else f"{function.name}{_distance((address & ~1) - function.address)}"
        if place.kind == "unmapped":
            return "nothing"
        return {"stack": "the stack", "null_page": "the null page", "section": "", "free": "memory not in use"}.get(
            place.kind, place.text
        )

    @property
    def reach(self) -> range:
        """Where an access may come to that runs on from the arena: to the end of its memory and a little more."""
        if self._arena is None:
            return range(0)
        start, end = self._arena.address, self._arena.address + self._arena.bytes
        memories = self._board.memory if self._board is not None else ()
        end = max([end, *(memory.end for memory in memories if memory.address <= start < memory.end)])
        return range(max(0, start - _BEYOND), end + _BEYOND)

    def _of_the_file(self, address: int) -> Iterator[Place]:
        variable = self._image.object_at(address)
        section = self._image.section_at(address)
        if variable is not None:
            what = "constant" if section is not None and not section.writable else "variable"
            yield Place(what, f"in the {what} {variable.name}, {_bytes(address - variable.address)} from its start")
        if section is not None and section.executable:
            function = self._image.function_at(address)
            yield Place("code", f"in the code of {function.name}" if function else f"in the code ({section.name})")
        if section is not None:
            yield Place("section", f"in {section.name}")

    def _tensor(self, offset: int) -> str:
        """Which tensor lies at `offset` in the arena: of several that take turns there those of the running layer."""
        if self._source is None:
            return f", {_bytes(offset)} from its start"
        places = self._source.placements
        layer = self._layer
        own = () if layer is None else (*layer.outputs, *layer.inputs)
        near = {places[t]: t for t in reversed(own) if t in places and places[t].covers(offset)}  # of views the last
        here = [*reversed(near.values())]
        here.sort(key=lambda tensor: places[tensor].offset != offset)  # whose start it is goes first
        here = here or [t for t, place in places.items() if place.covers(offset)][:1]
        if layer is not None and not near and any(place.covers(offset) for place in layer.scratch):
            return f", in scratch memory of {layer.name}"
        if not here:
            return f", {_bytes(offset)} from its start, between tensors"
        return ", " + ", which lies over ".join(self._element(tensor, offset) for tensor in here)

    def _element(self, tensor: TensorId, offset: int) -> str:
        assert self._source is not None
        info = self._source.graph.tensors[tensor] if tensor < len(self._source.graph.tensors) else None
        if info is None:
            return f"in tensor {tensor}"
        element = (offset - self._source.placements[tensor].offset) // info.dtype.bytes
        return f"element {element} of {info.elements} of tensor {tensor} {quoted(info.name)}"


def counted(count: int, unit: str) -> str:
    return f"{count} {unit}" + ("" if count == 1 else "s")


def _bytes(count: int) -> str:
    return counted(count, "byte")


def _distance(count: int) -> str:
    return f"+{count}" if count else ""


def quoted(name: str, longest: int = 80) -> str:
    """A name out of a model file, fit for one line of a terminal: nothing in it can end the quotes or the line."""
    shown = name if len(name) <= longest else name[: longest - 1] + "…"
    safe = (c if c.isprintable() and c not in '"\\' else c.encode("unicode_escape").decode() for c in shown)
    return '"' + "".join('\\"' if c == '"' else c for c in safe) + '"'
