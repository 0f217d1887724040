"""The tensors of the layer that was running, and which of them an address ran out of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.compiler.csource import CSource, Layer, Placement
from harness.compiler.graph import TensorId
from harness.debug.arenas import Arena
from harness.debug.places import quoted

Role = Literal["input", "output", "part", "scratch"]

# Whose bounds an access is likely to have left: a layer stores to what it makes and loads what it reads.
_STORED: tuple[Role, ...] = ("output", "part", "scratch")
_LOADED: tuple[Role, ...] = ("input", "scratch")
_ALL: tuple[Role, ...] = ("output", "part", "scratch", "input")


@dataclass(frozen=True)
class LayerTensor:
    """A part of the arena that a layer works on."""

    role: Role
    tensor: TensorId | None  # None for scratch memory
    name: str  # out of the model: it may be anything
    shape: tuple[int, ...]
    dtype: str  # empty for scratch memory
    element_bytes: int
    offset: int  # in the arena
    bytes: int  # that it takes there; fewer than its shape says where channels were found to be constant
    symbol: str | None  # the variable that the arena lies in; None where that is not known
    shift: int  # bytes from its start to the arena's
    address: int | None  # None where the arena is not known, or is no memory

    @property
    def elements(self) -> int:
        return self.bytes // self.element_bytes

    @property
    def label(self) -> str:
        return "scratch memory" if self.tensor is None else f"tensor {self.tensor} {quoted(self.name)}"

    @property
    def place(self) -> str:
        """Such as `harness_arena+0x40, 0x20000440`."""
        there = f"the arena's byte {self.offset}"
        if self.symbol is not None:
            there = f"{self.symbol}+0x{self.shift + self.offset:x}"
        return there if self.address is None else f"{there}, 0x{self.address:08x}"

    def element(self, address: int) -> int:
        """The index that an element at `address` would have: negative before the tensor."""
        assert self.address is not None
        return (address - self.address) // self.element_bytes

    def to_json(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "tensor": self.tensor,
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "elements": self.elements,
            "bytes": self.bytes,
            "symbol": self.symbol,
            "shift": self.shift,
            "offset": self.offset,
            "address": self.address,
        }


def layer_tensors(source: CSource, layer: Layer, arena: Arena | None) -> tuple[LayerTensor, ...]:
    """What `layer` reads, makes and uses, in this order; `arena` is the tensors' memory."""
    roles: list[tuple[Role, TensorId]] = [("input", tensor) for tensor in layer.inputs]
    roles += [("output", tensor) for tensor in layer.outputs]
    roles += [("part", tensor) for tensor in layer.parts]
    found = [
        _view(source, role, tensor, source.placements[tensor], arena)
        for role, tensor in roles
        if tensor in source.placements and tensor < len(source.graph.tensors)
    ]
    return (*found, *(_view(source, "scratch", None, place, arena) for place in layer.scratch))


def _view(source: CSource, role: Role, tensor: TensorId | None, place: Placement, arena: Arena | None) -> LayerTensor:
    where: tuple[str | None, int, int | None] = None, 0, None
    if arena is not None:
        where = arena.symbol, arena.shift, arena.address + place.offset if arena.exists else None
    if tensor is None:
        return LayerTensor(role, None, "", (place.bytes,), "", 1, place.offset, place.bytes, *where)
    info = source.graph.tensors[tensor]
    kind = info.label, tuple(info.shape), info.dtype.value, info.dtype.bytes
    return LayerTensor(role, tensor, *kind, place.offset, place.bytes, *where)


@dataclass(frozen=True)
class Overrun:
    """A bad address as an element that a tensor does not have."""

    tensor: LayerTensor
    element: int  # the index it would have
    by: int  # elements past the last one; negative: before the first one
    why: str  # what speaks for this tensor, as a phrase

    @property
    def text(self) -> str:
        """A sentence."""
        side = "past the end" if self.by > 0 else "before the start"
        count = f"{abs(self.by):,} element" + ("" if abs(self.by) == 1 else "s")
        what = f"{self.tensor.role} of {self.tensor.elements:,}"
        return f"That is {count} {side} of {self.tensor.label} ({what}): {self.why}."

    def to_json(self) -> dict[str, Any]:
        return {
            "tensor": self.tensor.to_json(),
            "element": self.element,
            "by": self.by,
            "why": self.why,
        }


def overrun(
    address: int,
    store: bool | None,
    tensors: Sequence[LayerTensor],
    registers: Collection[tuple[str, int]],
    pointers: Collection[tuple[str, int]],
    reach: range,
) -> Overrun | None:
    """Which of a layer's tensors an access to `address` ran out of; None when that is not likely of any.

    `store`: whether it was one, None when that is not known. `registers` are those that the instruction computed the
    address from, `pointers` the variables of the function that hold one; both with their values. `reach` are the
    addresses that a loop may come to which runs on past the arena.
    """
    here = [tensor for tensor in tensors if tensor.address is not None]
    if any(_covers(tensor, address) for tensor in here):
        return None
    roles = _ALL if store is None else _STORED if store else _LOADED
    likely = [tensor for tensor in here if tensor.role in roles]
    for name, value in registers:
        # a pointer that walked says nothing of where it began
        for tensor in [*likely, *here] if value != address else ():
            if _covers(tensor, value):
                return _found(tensor, address, f"{name} holds {_part(tensor, value)}")
    if address not in reach:
        return None
    pointed = {id(t): _found(t, address, f"{name} holds {_part(t, value)}")
               for t in likely for name, value in pointers if _covers(t, value)}  # fmt: skip
    if len(pointed) == 1:
        return next(iter(pointed.values()))
    verb = "uses" if store is None else "stores to" if store else "loads from"
    below = max((tensor for tensor in likely if _end(tensor) <= address), key=_end, default=None)
    if below is not None:
        return _found(below, address, f"the nearest below of what the layer {verb}")
    above = min((tensor for tensor in likely if _start(tensor) > address), key=_start, default=None)
    return None if above is None else _found(above, address, f"the nearest above of what the layer {verb}")


def _part(tensor: LayerTensor, address: int) -> str:
    element = tensor.element(address)
    return "its start" if element == 0 else f"its element {element}"


def _found(tensor: LayerTensor, address: int, why: str) -> Overrun:
    element = tensor.element(address)
    return Overrun(tensor, element, element - tensor.elements + 1 if element >= 0 else element, why)


def _start(tensor: LayerTensor) -> int:
    assert tensor.address is not None
    return tensor.address


def _end(tensor: LayerTensor) -> int:
    return _start(tensor) + tensor.bytes


def _covers(tensor: LayerTensor, address: int) -> bool:
    return _start(tensor) <= address < _end(tensor)
