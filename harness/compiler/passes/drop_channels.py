"""Channels that no input changes, and channels that nobody reads, are not computed.

    4 CONV_2D  (64 channels, 31 of them always -128)  -> 20          4 CONV_2D  (33 channels)  -> 20
    5 CONV_2D  20 (64 channels) -> 21                                5 CONV_2D  20 (33 channels), the rest in its bias

The values a channel can take for any input of the model follow exactly from the integers: the sums of a convolution
from the ends of its inputs' intervals, at the border from the taps that lie inside, and the output from the sums, since
scaling and clamping never turn two values round. A channel that is one value everywhere goes into the bias of the
convolution that reads it: without padding always, with padding only if it is the zero point, because a tap outside adds
nothing. A channel with only zero weights after it is not read. What only such channels need goes as well, back to the
model's input.

A tensor keeps its id and loses channels; `Graph.kept` says which remain. Only tensors between two convolutions, of any
kind, are made smaller: a chain whose every link is understood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.compiler.graph import ABSENT, Graph, Kept, Op, Quant, Tensor, TensorId
from harness.compiler.lowering.quantise import ConvParams, requantise
from harness.compiler.lowering.window import Window
from harness.compiler.ops import conv2d, depthwise_conv2d
from harness.dtypes import DType

FULL = (-128, 127)


@dataclass(frozen=True)
class DropChannels:
    name: str = "drop-channels"

    def run(self, graph: Graph) -> Graph:
        ranges = _ranges(graph)
        kept = _kept(graph, ranges)
        return _rewritten(graph, ranges, kept) if kept else graph


# ---- forward: what values a channel can take


def _ranges(graph: Graph) -> dict[TensorId, np.ndarray]:
    """Of every int8 output of a convolution the least and the greatest value of each channel, int64 (2, channels)."""
    ranges: dict[TensorId, np.ndarray] = {}
    for op in graph.ops:
        if _is_link(graph, op):
            x = graph.tensor(op.inputs[0])
            given = ranges.get(op.inputs[0])
            if given is None:
                given = np.repeat(np.array(FULL, np.int64)[:, np.newaxis], x.shape[3], axis=1)
            ranges[op.outputs[0]] = _output_range(graph, op, given)
    return ranges


def _is_link(graph: Graph, op: Op) -> bool:
    """An int8 convolution of constant weights, depthwise ones with one output channel for each input channel."""
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return False
    constants = [graph.operand(op, position) for position in (1, 2)]
    known = constants[0] is not None and all(t is None or t.data is not None for t in constants)
    int8 = graph.tensor(op.inputs[0]).dtype is DType.I8
    return known and int8 and (op.kind == "CONV_2D" or op.attrs.depth_multiplier == 1)


def _params(graph: Graph, op: Op) -> ConvParams:
    module = conv2d if op.kind == "CONV_2D" else depthwise_conv2d
    return module.quantisation(graph, op)


def _weights(graph: Graph, op: Op) -> np.ndarray:
    """int64 (output channels, kernel height, kernel width, input channels that a channel reads)."""
    data = graph.tensor(op.inputs[1]).data
    assert data is not None
    ordered = data if op.kind == "CONV_2D" else data.transpose(3, 1, 2, 0)
    return np.asarray(ordered.astype(np.int64))


def _bias(graph: Graph, op: Op, channels: int) -> np.ndarray:
    given = graph.operand(op, 2)
    return np.zeros(channels, np.int64) if given is None or given.data is None else given.data.astype(np.int64)


def _output_range(graph: Graph, op: Op, given: np.ndarray) -> np.ndarray:
    params = _params(graph, op)
    w = _weights(graph, op)
    x = given - params.input_zero_point
    if op.kind == "DEPTHWISE_CONV_2D":
        x = x[:, :, np.newaxis, np.newaxis, np.newaxis]
    ends = np.stack([w * x[0], w * x[1]])
    taps = np.stack([ends.min(axis=0).sum(axis=3), ends.max(axis=0).sum(axis=3)])  # (2, channels, height, width)
    bias = _bias(graph, op, len(w))
    low, high = np.full(len(w), 127, np.int64), np.full(len(w), -128, np.int64)
    rows, columns = conv2d.windows(graph, op)
    for ky in _situations(rows):
        for kx in _situations(columns):
            sums = taps[:, :, ky.start : ky.stop, kx.start : kx.stop].sum(axis=(2, 3)) + bias
            values = requantise(sums, params.multipliers, params.shifts) + params.output_zero_point
            values = np.clip(values, params.act_min, params.act_max)
            low, high = np.minimum(low, values[0]), np.maximum(high, values[1])
    return np.stack([low, high])


def _situations(window: Window) -> list[range]:
    """The different sets of taps that lie inside the input."""
    return list({(taps.start, taps.stop): taps for taps in map(window.taps, range(window.out))}.values())


# ---- backward: which channels anybody needs


def _kept(graph: Graph, ranges: Mapping[TensorId, np.ndarray]) -> dict[TensorId, np.ndarray]:
    """Of every tensor that becomes smaller the channels that stay, in order."""
    readers: dict[TensorId, list[Op]] = {}
    for op in graph.ops:
        for tensor in op.inputs:
            readers.setdefault(tensor, []).append(op)
    shown = {graph.base(v.tensor) for v in graph.views} | {v.tensor for v in graph.views}
    makers = {op.outputs[0]: op for op in graph.ops if _is_link(graph, op)}

    def shrinks(tensor: TensorId) -> bool:
        users = readers.get(tensor, [])
        inner = tensor in makers and tensor not in graph.outputs and tensor not in shown
        if not inner or len(users) != 1 or not _is_link(graph, users[0]):
            return False
        maker = makers[tensor]
        return maker.kind == "CONV_2D" or shrinks(maker.inputs[0])

    needed: dict[TensorId, np.ndarray] = {}
    for op in reversed(graph.ops):
        if not op.outputs or not _is_link(graph, op):
            continue
        tensor = op.inputs[0]
        channels = graph.tensor(op.outputs[0]).shape[3]
        mine = needed.get(op.outputs[0], np.ones(channels, bool))
        if not shrinks(tensor):
            continue
        if op.kind == "DEPTHWISE_CONV_2D":
            needed[tensor] = mine
            continue
        read = _weights(graph, op)[mine].any(axis=(0, 1, 2))
        read = read & ~_foldable(graph, op, ranges[tensor])
        # A tensor keeps one channel where none is needed; and that one is computed, so what it needs is needed too.
        needed[tensor] = read if read.any() else np.arange(len(read)) == 0
    return {tensor: np.flatnonzero(mask) for tensor, mask in needed.items() if not mask.all()}


def _foldable(graph: Graph, op: Op, given: np.ndarray) -> np.ndarray:
    """Which input channels are one value that this convolution can take into its bias."""
    constant = given[0] == given[1]
    if any(window.padded for window in conv2d.windows(graph, op)):
        constant &= given[0] == _params(graph, op).input_zero_point
    change = _change_of_bias(graph, op, given, constant)
    bias = _bias(graph, op, len(change))
    fits = np.all(np.abs(bias + change) <= DType.I32.max)
    return np.asarray(constant if fits else np.zeros_like(constant))


def _change_of_bias(graph: Graph, op: Op, given: np.ndarray, folded: np.ndarray) -> np.ndarray:
    """What the folded input channels add to every sum, int64 (output channels,)."""
    x = np.where(folded, given[0] - _params(graph, op).input_zero_point, 0)
    return np.asarray((_weights(graph, op) * x).sum(axis=(1, 2, 3)))


# ---- the smaller graph


def _rewritten(graph: Graph, ranges: Mapping[TensorId, np.ndarray], kept: Mapping[TensorId, np.ndarray]) -> Graph:
    tensors = list(graph.tensors)
    ops = []
    for op in graph.ops:
        before = kept.get(op.inputs[0]) if _is_link(graph, op) else None
        after = kept.get(op.outputs[0]) if op.outputs else None
        if before is not None or after is not None:
            op = _smaller(graph, op, ranges, before, after, tensors)
        ops.append(op)
    maps = {}
    for tensor, channels in kept.items():
        spec = tensors[tensor]
        constant = ranges[tensor][0] == ranges[tensor][1]
        maps[tensor] = Kept(
            spec.shape, tuple(map(int, channels)), tuple(map(bool, constant)), tuple(map(int, ranges[tensor][0]))
        )
        tensors[tensor] = replace(spec, shape=(*spec.shape[:3], len(channels)))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops), kept=maps)


def _smaller(
    graph: Graph,
    op: Op,
    ranges: Mapping[TensorId, np.ndarray],
    before: np.ndarray | None,
    after: np.ndarray | None,
    tensors: list[Tensor],
) -> Op:
    """`op` for fewer channels; its new constants are appended to `tensors`."""
    weights = graph.tensor(op.inputs[1])
    assert weights.data is not None
    conv = op.kind == "CONV_2D"
    channels = weights.shape[0 if conv else 3]
    outputs = np.arange(channels) if after is None else after
    bias = _bias(graph, op, channels)
    data = weights.data
    if conv and before is not None:
        given = ranges[op.inputs[0]]
        gone = np.ones(given.shape[1], bool)
        gone[before] = False
        bias = bias + _change_of_bias(graph, op, given, gone & (given[0] == given[1]))
        data = data[..., before]
    data = data[outputs] if conv else data[..., outputs]
    tensors.append(replace(weights, shape=data.shape, data=_frozen(data), quant=_part(weights.quant, outputs)))
    inputs = [op.inputs[0], len(tensors) - 1]
    given_bias = graph.operand(op, 2)
    if given_bias is not None or bias.any():
        values = _frozen(bias[outputs].astype(np.int32))
        like = given_bias or Tensor("bias", (channels,), DType.I32)
        tensors.append(replace(like, shape=values.shape, data=values, quant=_part(like.quant, outputs)))
        inputs.append(len(tensors) - 1)
    elif len(op.inputs) > 2:
        inputs.append(ABSENT)
    return replace(op, inputs=tuple(inputs))


def _part(quant: Quant | None, channels: Sequence[int] | np.ndarray) -> Quant | None:
    """The quantisation of some channels."""
    if quant is None or len(quant.scales) == 1:
        return quant
    points = quant.zero_points
    return replace(
        quant,
        scales=tuple(quant.scales[c] for c in channels),
        zero_points=points if len(points) == 1 else tuple(points[c] for c in channels),
    )


def _frozen(data: np.ndarray) -> np.ndarray:
    data = np.ascontiguousarray(data)
    data.setflags(write=False)
    return data
