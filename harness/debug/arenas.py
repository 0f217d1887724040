"""Where the tensors of the model are.

In the harness's own firmware the arena is a variable of a known name. Anybody else calls `model_run` with any memory:
then the functions that were running tell it by their arguments, as far as debug information has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.compiler.csource import CSource, Layer
from harness.debug.image import Image

ARENA = "harness_arena"
RUN = "model_run"  # its one argument is the arena
_WRAP = 0xFFFFFFFF
# where memory can be that no section of the file tells of: heaps, stacks, external RAM (DDI 0403E B3.1, table B3-1)
_RAM = (range(0x20000000, 0x40000000), range(0x60000000, 0xA0000000))


@dataclass(frozen=True)
class Arguments:
    """Pointers that the functions of a chain of calls were given; None: not known."""

    arena: int | None = None  # by what ran the layer: `model_run`, or a wrapper of the table of layers
    called: Sequence[int | None] = ()  # what the layer's parameters were at its call
    now: Sequence[int | None] = ()  # what they hold: perhaps they have walked on since


@dataclass(frozen=True)
class Arena:
    symbol: str | None  # the variable it lies in
    address: int
    bytes: int
    exists: bool = True  # False: there is no memory
    shift: int = 0  # bytes from the start of the variable

    def covers(self, address: int) -> bool:
        return self.exists and self.address <= address < self.address + self.bytes


def arena_of(
    image: Image,
    source: CSource | None = None,
    layer: Layer | None = None,
    arguments: Arguments | None = None,
    refused: int | None = None,
) -> Arena | None:
    """The arena of the model in `image`; None where there is none, or nothing tells for certain where.

    `refused` is an address that an access failed at: where that is in it, and no section of the file has it, there is
    no memory.
    """
    symbol = image.symbol(ARENA)
    if symbol is not None and symbol.size:
        return Arena(ARENA, symbol.address, symbol.size)
    address = _address(image, source, layer, arguments) if source is not None and arguments is not None else None
    if source is None or address is None:
        return None
    variable, section = image.object_at(address), image.section_at(address)
    if section is not None:
        exists = section.writable
    else:
        failed = refused is not None and address <= refused < address + source.arena_bytes
        exists = not failed and any(address in memory for memory in _RAM)
    if variable is None:
        return Arena(None, address, source.arena_bytes, exists)
    return Arena(variable.name, address, source.arena_bytes, exists, address - variable.address)


def _address(image: Image, source: CSource, layer: Layer | None, arguments: Arguments) -> int | None:
    if arguments.arena is not None:
        return arguments.arena
    if layer is None:
        return None
    called = _start(source, layer, arguments.called)
    if called is not None:
        return called
    # Parameters that walked in step agree as well: but hardly on the start of a variable.
    now = _start(source, layer, arguments.now)
    variable = image.object_at(now) if now is not None else None
    return now if variable is not None and variable.address == now else None


def _start(source: CSource, layer: Layer, values: Sequence[int | None]) -> int | None:
    """What all `values` agree on. A layer is given its inputs, its outputs and its scratch memory, in this order."""
    tensors = [source.placements.get(tensor) for tensor in (*layer.inputs, *layer.outputs)]
    places = [*tensors, *layer.scratch]
    if len(places) != len(values):
        return None
    pairs = zip(places, values)
    told = {(value - place.offset) & _WRAP for place, value in pairs if place is not None and value is not None}
    return told.pop() if len(told) == 1 else None
