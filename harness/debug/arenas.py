"""Where the tensors of the model are.

In the harness's own firmware the arena is a variable of a known name. Anybody else calls `model_run` with any memory:
then the functions that were running tell it by their arguments, as debug information has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.compiler.csource import CSource, Layer
from harness.debug.image import Image

ARENA = "harness_arena"
RUN = "model_run"  # its one argument is the arena

Arguments = Mapping[str, Sequence[int | None]]  # of the running functions by name; None: not known


@dataclass(frozen=True)
class Arena:
    name: str  # of the variable it is, perhaps with an offset; or "arena"
    address: int
    bytes: int
    exists: bool = True  # False: the firmware has no memory there

    def covers(self, address: int) -> bool:
        return self.exists and self.address <= address < self.address + self.bytes


def arena_of(
    image: Image, source: CSource | None = None, layer: Layer | None = None, arguments: Arguments | None = None
) -> Arena | None:
    """The arena of the model in `image`; None where there is none, or the functions that ran contradict each other."""
    symbol = image.symbol(ARENA)
    if symbol is not None and symbol.size:
        return Arena(ARENA, symbol.address, symbol.size)
    if source is None or not arguments:
        return None
    told = {value for value in arguments.get(RUN, ())[:1] if value is not None}
    if layer is not None:
        told |= _by_the_layer(source, layer, arguments.get(layer.name, ()))
    if len(told) != 1:
        return None
    (address,) = told
    section, variable = image.section_at(address), image.object_at(address)
    name = "arena"
    if variable is not None:
        distance = address - variable.address
        name = variable.name + (f"+0x{distance:x}" if distance else "")
    return Arena(name, address, source.arena_bytes, section is not None and section.writable)


def _by_the_layer(source: CSource, layer: Layer, values: Sequence[int | None]) -> set[int]:
    """A layer is given its inputs, its outputs and its scratch memory, in this order."""
    tensors = [source.placements.get(tensor) for tensor in (*layer.inputs, *layer.outputs)]
    places = [*tensors, *layer.scratch]
    if len(places) != len(values):
        return set()
    pairs = zip(places, values)
    return {value - place.offset for place, value in pairs if place is not None and value is not None}
