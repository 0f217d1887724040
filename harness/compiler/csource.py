"""What the compiler hands over: C text, and the map from it back to the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from harness.board import Target
from harness.compiler.graph import Graph, Kept, TensorId


@dataclass(frozen=True)
class Placement:
    """Where a tensor lives. Tensors that are views of one another share one place, and an output may lie over inputs
    that its layer reads for the last time."""

    offset: int  # bytes from the start of the arena
    bytes: int

    def covers(self, offset: int) -> bool:
        return self.offset <= offset < self.offset + self.bytes

    def meets(self, other: Placement) -> bool:
        """Whether the two have a byte in common."""
        return self.offset < other.offset + other.bytes and other.offset < self.offset + self.bytes


@dataclass(frozen=True)
class Layer:
    """One compiled operator group: one C function in one file."""

    index: int  # position in execution order, from 0; the same number in file names, JSON and reports
    name: str  # the C function, such as "conv2d_3"
    op: str  # the operator that does the work, such as "CONV_2D"
    ops: tuple[int, ...]  # indices of the model's operators it computes, in order
    inputs: tuple[TensorId, ...]  # non-constant tensors that its outputs are computed from
    outputs: tuple[TensorId, ...]  # tensors that are done with it, once for all their bytes
    file: str  # "layers/003_conv2d_3.c"
    macs: int  # multiply-accumulates of one inference
    schedule: str = "plain"  # how its loops were made fast, and with what knobs
    parts: tuple[TensorId, ...] = ()  # tensors that are done with it too, and whose bytes `outputs` cover
    scratch: tuple[Placement, ...] = ()  # parts of the arena that are its own while it runs, as further parameters


@dataclass(frozen=True)
class Trade:
    """What the model costs when it is optimised for one objective: estimated before anything is built."""

    objective: str  # as `--optimize` takes it
    instructions: int  # of one inference
    code_bytes: int
    constant_bytes: int
    ram_bytes: int  # tensors and scratch memory of the layer that needs most


@dataclass(frozen=True)
class CSource:
    """A model as C. `files` maps a relative POSIX path to its text; it holds all that is needed to build."""

    name: str
    target: Target
    graph: Graph  # the model as it was read, before any pass
    files: Mapping[str, str]
    layers: tuple[Layer, ...]
    placements: Mapping[TensorId, Placement]
    arena_bytes: int
    arena_lower_bound: (
        int  # most bytes alive at once, less what loops let outputs share with inputs: no plan can be smaller
    )
    constant_bytes: int  # weights, biases and tables in flash
    kept: Mapping[TensorId, Kept] = field(default_factory=dict)  # tensors that hold fewer channels than the model's
    objective: str = "balanced"  # as `--optimize` takes it
    without: tuple[str, ...] = ()  # the passes that were left out, in the order of their names

    def maker(self, tensor: TensorId) -> Layer | None:
        """The layer that `tensor` is done with; None: it is an input of the model, or shows bytes of one."""
        index = self._makers.get(tensor)
        return None if index is None else self.layers[index]

    @cached_property
    def alike(self) -> Mapping[TensorId, tuple[TensorId, ...]]:
        """Of every tensor of the model that has a place those that show the same bytes, itself among them.

        They lie in one place and are done with one layer, so that nothing can have come between.
        """
        found: dict[tuple[int | None, Placement], list[TensorId]] = {}
        for tensor, place in self.placements.items():
            if tensor < len(self.graph.tensors):  # none that a pass added
                found.setdefault((self._makers.get(tensor), place), []).append(tensor)
        return {tensor: tuple(same) for same in found.values() for tensor in same}

    @cached_property
    def _makers(self) -> Mapping[TensorId, int]:
        return {tensor: layer.index for layer in self.layers for tensor in (*layer.outputs, *layer.parts)}
