"""A profile as slices of a whole, one inside the other: what traces and flame graphs are drawn from.

Where functions were counted, a slice is a function called along one chain of calls; where only layers were, a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.compiler.csource import Layer
from harness.profile import Profile
from harness.profile.call_tree import Node
from harness.report.text import printable


@dataclass(frozen=True)
class Slice:
    """`own` is what was counted in it outside its parts."""

    name: str  # of a function; printable
    label: str  # with the layer it is the function of, if it is one
    own: int
    parts: tuple[Slice, ...] = ()
    layer: int | None = None  # index of that layer

    @property
    def total(self) -> int:
        return self.own + sum(part.total for part in self.parts)

    def walk(self, above: tuple[Slice, ...] = ()) -> Iterator[tuple[Slice, ...]]:
        """Every chain from this slice down, a slice before its parts, which are in order."""
        chain = (*above, self)
        yield chain
        for part in self.parts:
            yield from part.walk(chain)


@dataclass(frozen=True)
class Slices:
    title: str
    unit: str  # "instructions" or "cycles"
    root: Slice


def slices(profile: Profile) -> Slices:
    measurement = profile.measurement
    title = f"{printable(profile.model.name)} on {printable(profile.firmware.board.name)}"
    if measurement.tree is not None:
        named = {layer.name: layer for layer in profile.layers}
        return Slices(title, "instructions", _of_node(measurement.tree, named, profile))
    parts = [
        _of_layer(profile, layer, figures.cycles or 0)
        for layer, figures in zip(profile.layers, measurement.layers, strict=True)
    ]
    rest = max(0, (measurement.total.cycles or 0) - sum(part.own for part in parts))
    return Slices(title, "cycles", Slice("model_run", "model_run", rest, tuple(parts)))


def _of_node(node: Node, layers: Mapping[str, Layer], profile: Profile) -> Slice:
    parts = tuple(_of_node(child, layers, profile) for child in node.children.values())
    layer = layers.get(node.function)
    if layer is None:
        name = printable(node.function)
        return Slice(name, name, node.instructions, parts)
    return _of_layer(profile, layer, node.instructions, parts)


def _of_layer(profile: Profile, layer: Layer, own: int, parts: tuple[Slice, ...] = ()) -> Slice:
    label = f"{layer.name}: layer {layer.index}, {layer.op} {printable(profile.tensor(layer))!r}"
    return Slice(layer.name, label, own, parts, layer.index)
