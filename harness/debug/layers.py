"""Which layer of the model a function or source file belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from harness.compiler.csource import CSource, Layer
from harness.debug.places import quoted


class LayerMap:
    """The layers of one model. Without `source` their tensors' names are not known."""

    def __init__(self, layers: Sequence[Layer] = (), source: CSource | None = None) -> None:
        self.layers = tuple(layers) or (source.layers if source is not None else ())
        self._source = source
        self._by_function = {layer.name: layer for layer in self.layers}
        self._by_file = {PurePath(layer.file).parts: layer for layer in self.layers}

    def of(self, function: str, file: str | None) -> Layer | None:
        """The layer a function is the kernel of, or a part of because it stands in the same file."""
        if function in self._by_function:
            return self._by_function[function]
        parts = PurePath(file).parts if file else ()
        return next((layer for own, layer in self._by_file.items() if own == parts[-len(own) :]), None)

    def number(self, index: int | None) -> Layer | None:
        return next((layer for layer in self.layers if layer.index == index), None)

    def label(self, layer: Layer) -> str:
        """Such as `layer 3 of 13, CONV_2D "block1/pointwise"`: layers are numbered from 0, as in file names."""
        return f"layer {layer.index} of {len(self.layers)}, {layer.op}{self._name(layer)}"

    def _name(self, layer: Layer) -> str:
        if self._source is None or not layer.outputs or layer.outputs[0] >= len(self._source.graph.tensors):
            return ""
        return f" {quoted(self._source.graph.tensors[layer.outputs[0]].label)}"
