"""The first IR: *what* a model computes. Tensors, operators, quantisation; no loops, no addresses.

    Graph  = name, tensors: Tensor*, ops: Op*, inputs: TensorId*, outputs: TensorId*, views: View*
    View   = tensor, base, sources: operator index in the model*, offset
    Op     = kind, inputs: (TensorId | ABSENT)*, outputs: TensorId*, attrs, sources: operator index in the model*
    Tensor = name, shape, dtype, quant?, data?          data present: a constant
    Quant  = scales, zero_points, axis?                 real = scale * (q - zero_point); one pair, or one per channel

A tensor's id is its position in `Graph.tensors`; ids below `Graph.model_tensors` are the model file's own tensor
indices, so an oracle and a report can speak of the same tensor. Passes append tensors, never renumber; one that loses
channels keeps its id, and `kept` says how it shows in the model's own. Operators stand
in execution order. A view is a tensor that shows some of another one's bytes under its own shape: what is read through
it was written through the other, as after a reshape or a split, or the other way round, as before a concatenation. Each
byte is written by one operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from harness.dtypes import DType

TensorId = int
ABSENT: TensorId = -1  # an optional operand that the model leaves out


@dataclass(frozen=True)
class Quant:
    """Affine quantisation. `scales` are the float32 values of the file, held exactly as Python floats."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None  # dimension that the channels run along; None: one pair for the whole tensor

    @property
    def scale(self) -> float:
        """The single scale of a per-tensor quantisation."""
        (value,) = self.scales
        return value

    @property
    def zero_point(self) -> int:
        """The single zero point of a per-tensor quantisation."""
        (value,) = self.zero_points
        return value


@dataclass(frozen=True, eq=False)
class Tensor:
    name: str  # as in the file: untrusted, any bytes that decode; escape before it reaches C, HTML or a path
    shape: tuple[int, ...]
    dtype: DType
    quant: Quant | None = None
    data: np.ndarray | None = None  # read-only array of `shape` and `dtype` when the tensor is constant

    @property
    def label(self) -> str:
        """The name without what it was fused from: TFLite joins those names by semicolons, the tensor's own first."""
        return self.name.partition(";")[0] or self.name

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.bytes


@dataclass(frozen=True)
class Op:
    kind: str  # TFLite's BuiltinOperator name, such as "CONV_2D"
    inputs: tuple[TensorId, ...]
    outputs: tuple[TensorId, ...]
    attrs: Any  # a frozen dataclass defined beside the operator in compiler/ops/
    sources: tuple[int, ...]  # indices of the model's operators that this one stands for


@dataclass(frozen=True)
class View:
    tensor: TensorId
    base: TensorId  # another view, or a tensor with memory of its own
    sources: tuple[int, ...]  # the model's operators that it stands for
    offset: int = 0  # bytes from the start of the base


@dataclass(frozen=True)
class Kept:
    """What is left of a tensor that lost channels of its last dimension, and how it looks as the model's own tensor.

    A channel that is not kept either is one `value` for every input of the model, and is held to that, or nobody reads
    it: then it is not computed, and nothing can be said about it.
    """

    shape: tuple[int, ...]  # of the model's tensor
    channels: tuple[int, ...]  # that are kept, in order
    constant: tuple[bool, ...]  # of every channel of the model's tensor
    values: tuple[int, ...]  # of those that are constant

    @cached_property
    def assumed(self) -> tuple[int, ...]:
        """The channels that are not computed because they are one value, in order."""
        return tuple(c for c, known in enumerate(self.constant) if known and c not in self._present)

    @cached_property
    def unread(self) -> tuple[int, ...]:
        """The channels that are not computed because nobody reads them, in order."""
        return tuple(c for c, known in enumerate(self.constant) if not known and c not in self._present)

    @cached_property
    def _present(self) -> frozenset[int]:
        return frozenset(self.channels)

    @property
    def rows(self) -> int:
        """Elements of each channel."""
        return int(np.prod(self.shape[:-1], dtype=np.int64))

    def project(self, whole: np.ndarray) -> np.ndarray:
        """The kept channels of a tensor in the model's shape."""
        return np.ascontiguousarray(whole[..., list(self.channels)])

    def restore(self, part: np.ndarray) -> np.ndarray:
        """The kept channels in the model's shape: the constant ones as what they are, 0 in those that nobody reads."""
        whole = np.empty(self.shape, part.dtype)
        whole[...] = np.where(self.constant, self.values, 0)
        whole[..., list(self.channels)] = part
        return whole


@dataclass(frozen=True, eq=False)
class Graph:
    name: str  # the model file's base name
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[TensorId, ...]
    outputs: tuple[TensorId, ...]
    model_tensors: int  # how many of `tensors` come from the file
    views: tuple[View, ...] = ()
    kept: Mapping[TensorId, Kept] = field(default_factory=dict)  # tensors that lost channels

    def tensor(self, tensor: TensorId) -> Tensor:
        return self.tensors[tensor]

    def operand(self, op: Op, position: int) -> Tensor | None:
        """The operand at `position`, or None where the model leaves it out."""
        if position >= len(op.inputs) or op.inputs[position] == ABSENT:
            return None
        return self.tensors[op.inputs[position]]

    def activations(self, op: Op) -> tuple[TensorId, ...]:
        """The tensors `op` reads that are not constant, each once: what its C function gets, in this order."""
        return tuple(t for t in dict.fromkeys(op.inputs) if t != ABSENT and self.tensors[t].data is None)

    def base(self, tensor: TensorId) -> TensorId:
        """The tensor whose memory `tensor` lives in: itself unless it is a view."""
        return self.place(tensor)[0]

    def place(self, tensor: TensorId) -> tuple[TensorId, int]:
        """The tensor whose memory `tensor` lives in, and how many bytes after its start."""
        return self._places.get(tensor, (tensor, 0))

    @cached_property
    def shown(self) -> frozenset[TensorId]:
        """Tensors that are seen by others than the operators that read them: outputs, and what views show."""
        return frozenset({*self.outputs, *(t for view in self.views for t in (view.tensor, view.base))})

    @cached_property
    def _places(self) -> Mapping[TensorId, tuple[TensorId, int]]:
        """Of every view its place; a view's base stands before it in `views`, or after."""
        direct = {view.tensor: view for view in self.views}
        resolved: dict[TensorId, tuple[TensorId, int]] = {}
        for tensor in direct:
            chain = [tensor]
            while chain[-1] in direct and chain[-1] not in resolved:
                chain.append(direct[chain[-1]].base)
            base, offset = resolved.get(chain[-1], (chain[-1], 0))
            for view in (direct[t] for t in reversed(chain[:-1])):
                offset += view.offset
                resolved[view.tensor] = base, offset
        return resolved

    def with_ops(self, ops: tuple[Op, ...], tensors: tuple[Tensor, ...] | None = None) -> Graph:
        return replace(self, ops=ops, tensors=self.tensors if tensors is None else tensors)
