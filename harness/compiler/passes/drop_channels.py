"""Channels that no input changes, and channels that nobody reads, are not computed.

    4 CONV_2D  (64 channels, 31 of them always -128)  -> 20          4 CONV_2D  (33 channels)  -> 20
    5 CONV_2D  20 (64 channels) -> 21                                5 CONV_2D  20 (33 channels), the rest in its bias

Forwards, the values a channel can take for any input of the model follow exactly from the integers. Backwards, a
channel is needed where an operator cannot do without it: a channel that is one value everywhere it can often take into
its constants, one with only zero weights it does not look at. What only such channels need goes as well, back to the
model's input. What each operator does to ranges and needs, it says itself (`ops/channels.py`).

Channels that operators carry over one for one are a *strand*: those of both operands of a residual sum and of its
result, of a pool's input and output, of a tensor and its flattened form. A strand stays or goes as a whole, so that a
sum finds its operands alike and a window its rows.

A tensor keeps its id and loses channels; `Graph.kept` says which remain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.compiler.graph import ABSENT, Graph, Kept, Op, Tensor, TensorId
from harness.compiler.ops import channels_of
from harness.compiler.ops.channels import Channels, Mask, Ranges, Tie, constant_range, full_range, reshaped
from harness.compiler.ops.products import constant_like
from harness.compiler.passes.strands import Key, Strands
from harness.dtypes import DType


@dataclass(frozen=True)
class DropChannels:
    name: str = "drop-channels"

    def run(self, graph: Graph) -> Graph:
        known = [channels_of(graph, op) for op in graph.ops]
        ranges = _ranges(graph, known)
        kept = _kept(graph, known, ranges)
        return _rewritten(graph, known, ranges, kept) if kept else graph


def _given(graph: Graph, op: Op, ranges: Mapping[TensorId, Ranges]) -> list[Ranges | None]:
    return [None if t == ABSENT else ranges.get(t) for t in op.inputs]


# ---- forwards: what values a channel can take


def _ranges(graph: Graph, known: Sequence[Channels | None]) -> dict[TensorId, Ranges]:
    """Of every int8 tensor the least and the greatest value of each channel; one without dimensions has one."""
    ranges = {
        t: full_range((1, *tensor.shape)[-1]) if tensor.data is None else constant_range(tensor.data)
        for t, tensor in enumerate(graph.tensors)
        if tensor.dtype is DType.I8
    }
    views: dict[TensorId, list[TensorId]] = {}
    for view in graph.views:
        views.setdefault(graph.base(view.tensor), []).append(view.tensor)
    for op, channels in zip(graph.ops, known, strict=True):
        if channels is None:
            continue
        (result,) = op.outputs
        ranges[result] = channels.ranges(_given(graph, op, ranges))
        for tensor in views.get(result, ()):
            shown = reshaped(graph.tensor(result), graph.tensor(tensor))
            if shown is not None:
                ranges[tensor] = shown.ranges([ranges[result]])
    return ranges


# ---- backwards: which channels anybody needs


def _key(graph: Graph, index: int, position: int) -> Key:
    """An operand as what has channels: a constant is something of its own in every use, for each can have a copy."""
    tensor = graph.ops[index].inputs[position]
    return (index, position) if graph.tensor(tensor).data is not None else tensor


def _kept(graph: Graph, known: Sequence[Channels | None], ranges: Mapping[TensorId, Ranges]) -> dict[Key, Mask]:
    """Of everything that becomes smaller the channels that stay."""
    strands = _strands(graph, known)
    while _sweep(graph, strands, known, ranges, bare=True):
        pass  # needs only grow: a second sweep finds nothing new, but for circles of strands
    while _sweep(graph, strands, known, ranges, bare=False):
        pass
    made = [*(t for op in graph.ops for t in op.outputs), *(view.tensor for view in graph.views)]
    copied = [
        _key(graph, index, tie.position)
        for index, channels in enumerate(known)
        if channels is not None
        for tie in channels.ties
    ]
    masks = {key: strands.needed(key) for key in dict.fromkeys([*made, *copied]) if strands.has(key)}
    return {key: mask for key, mask in masks.items() if not mask.all()}


def _strands(graph: Graph, known: Sequence[Channels | None]) -> Strands:
    """The strands of all tensors, with those needed that the application or an opaque operator looks at."""
    sizes: dict[Key, int] = {t: x.shape[-1] for t, x in enumerate(graph.tensors) if x.shape and x.data is None}
    ties: list[tuple[Key, Key, Tie]] = []
    whole = [*graph.inputs, *graph.outputs]
    for index, (op, channels) in enumerate(zip(graph.ops, known, strict=True)):
        if channels is None:
            whole += [*op.inputs, *op.outputs]
            continue
        for tie in channels.ties:
            key = _key(graph, index, tie.position)
            sizes[key] = graph.tensor(op.inputs[tie.position]).shape[-1]
            ties.append((op.outputs[0], key, tie))
    for view in graph.views:
        base = graph.base(view.tensor)
        shown = reshaped(graph.tensor(base), graph.tensor(view.tensor))
        if shown is None:
            whole += [base, view.tensor]
        else:
            ties += [(view.tensor, base, tie) for tie in shown.ties]
    strands = Strands(sizes)
    for result, operand, tie in ties:
        strands.tie(result, tie.result, operand, tie.operand)
    strands.need_all(whole)
    return strands


def _sweep(
    graph: Graph, strands: Strands, known: Sequence[Channels | None], ranges: Mapping[TensorId, Ranges], *, bare: bool
) -> bool:
    """Note what every operator needs of its operands for what is needed of its output; whether there was news.

    Unless tensors may stay `bare`, one of which nothing is needed keeps its first channel. That one is computed, so
    what it needs is needed too.
    """
    news = False
    for op, channels in zip(reversed(graph.ops), reversed(known), strict=True):
        if channels is None:
            continue
        wanted = strands.needed(op.outputs[0])
        if not wanted.any() and not bare:
            news |= strands.need(op.outputs[0], np.arange(len(wanted)) == 0)
            wanted = strands.needed(op.outputs[0])
        needs = channels.needs(_given(graph, op, ranges), wanted)
        tied = {tie.position for tie in channels.ties}
        for position, tensor in enumerate(op.inputs):
            if position not in tied and strands.has(tensor):
                everything = np.ones(graph.tensor(tensor).shape[-1], bool)
                news |= strands.need(tensor, needs.get(position, everything))
    return news


# ---- the smaller graph


def _rewritten(
    graph: Graph, known: Sequence[Channels | None], ranges: Mapping[TensorId, Ranges], kept: Mapping[Key, Mask]
) -> Graph:
    tensors = list(graph.tensors)
    ops = tuple(
        op if channels is None else _smaller(graph, index, channels, _given(graph, op, ranges), kept, tensors)
        for index, (op, channels) in enumerate(zip(graph.ops, known, strict=True))
    )
    maps = {}
    for tensor, mask in kept.items():
        if isinstance(tensor, TensorId):
            spec = tensors[tensor]
            low, high = ranges[tensor]
            maps[tensor] = Kept(
                spec.shape, tuple(map(int, np.flatnonzero(mask))), tuple(map(bool, low == high)), tuple(map(int, low))
            )
            tensors[tensor] = replace(spec, shape=(*spec.shape[:-1], int(mask.sum())))
    return replace(graph, tensors=tuple(tensors), ops=ops, kept=maps)


def _smaller(
    graph: Graph,
    index: int,
    channels: Channels,
    given: Sequence[Ranges | None],
    kept: Mapping[Key, Mask],
    tensors: list[Tensor],
) -> Op:
    """An operator for the channels that stay; its new constants are appended to `tensors`."""
    op = graph.ops[index]
    before = {
        p: kept[_key(graph, index, p)] for p, t in enumerate(op.inputs) if t != ABSENT and _key(graph, index, p) in kept
    }
    if not before and op.outputs[0] not in kept:
        return op
    result = kept.get(op.outputs[0], np.ones(graph.tensor(op.outputs[0]).shape[-1], bool))
    narrowed = channels.narrow(given, before, result)
    constants = dict(narrowed.constants)
    for position, mask in before.items():  # of a constant that is tied, such as a table that is added
        constant = graph.tensor(op.inputs[position])
        if constant.data is not None:
            constants[position] = constant_like(constant, constant.data[..., mask], mask)
    inputs = list(op.inputs)
    for position, constant in constants.items():
        inputs.extend([ABSENT] * (position + 1 - len(inputs)))
        inputs[position] = len(tensors)
        tensors.append(constant)
    return replace(op, inputs=tuple(inputs), attrs=narrowed.attrs)
