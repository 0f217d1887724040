"""What the compiler hands over: C text, and the map from it back to the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.board import Target
from harness.compiler.graph import Graph, Kept, TensorId


@dataclass(frozen=True)
class Layer:
    """One compiled operator group: one C function in one file."""

    index: int  # position in execution order, from 0; the same number in file names, JSON and reports
    name: str  # the C function, such as "conv2d_3"
    op: str  # the operator that does the work, such as "CONV_2D"
    ops: tuple[int, ...]  # indices of the model's operators it computes, in order
    inputs: tuple[TensorId, ...]  # non-constant tensors it reads, as its C function's parameters; one may stand twice
    outputs: tuple[TensorId, ...]  # tensors it writes: ids below graph.model_tensors are the model's own
    file: str  # "layers/003_conv2d_3.c"
    macs: int  # multiply-accumulates of one inference


@dataclass(frozen=True)
class Placement:
    """Where a tensor lives. Tensors that are views of one another share one place."""

    offset: int  # bytes from the start of the arena
    bytes: int


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
    arena_lower_bound: int  # most bytes alive at once: no plan without overlap can be smaller
    constant_bytes: int  # weights, biases and tables in flash
    kept: Mapping[TensorId, Kept] = field(default_factory=dict)  # tensors that hold fewer channels than the model's
    aliases: Mapping[TensorId, TensorId] = field(
        default_factory=dict
    )  # tensors that show another one's bytes, all of it
    without: tuple[str, ...] = ()  # the passes that were left out, in the order of their names

    def memory_of(self, tensor: TensorId) -> TensorId:
        """The one tensor that stands for all that show the same bytes."""
        return self.aliases.get(tensor, tensor)
