"""Channels of the operators that sum products with constant weights and scale the sums: convolutions, FULLY_CONNECTED.

The sums of an output channel lie between those of the ends of its inputs' intervals, at the border from the taps that
lie inside; the output follows from the sums, since scaling and clamping never turn two values round. An input channel
that is one value everywhere goes into the bias: without padding always, with padding only if it is the zero point,
because a tap outside adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from harness.compiler.graph import Graph, Op, Quant, Tensor
from harness.compiler.lowering.quantise import ConvParams, requantise
from harness.compiler.lowering.window import Window
from harness.compiler.ops.channels import Mask, Narrowed, Ranges, Tie
from harness.dtypes import DType


@dataclass(frozen=True, eq=False)
class Product:
    """Every output channel sums over every input channel.

    Where a row of the weights spans several pixels, feature f reads channel f % channels, as in a flattened tensor.
    """

    graph: Graph
    op: Op
    params: ConvParams
    windows: tuple[Window, Window]
    channels_in: int

    @property
    def ties(self) -> Sequence[Tie]:
        return ()

    @cached_property
    def _weights(self) -> np.ndarray:
        """int64 (output channels, kernel height, kernel width, features)."""
        data = self._constant(1).data
        assert data is not None
        wide = data.reshape(data.shape[0], *(h.kernel for h in self.windows), -1)
        return np.asarray(wide.astype(np.int64))

    @cached_property
    def _reads(self) -> np.ndarray:
        """bool (output channels, input channels): the weights that are not all zero."""
        any_tap = self._weights.any(axis=(1, 2))
        return np.asarray(any_tap.reshape(len(any_tap), -1, self.channels_in).any(axis=1))

    def ranges(self, given: Sequence[Ranges | None]) -> Ranges:
        x = self._features(given) - self.params.input_zero_point
        return output_ranges(self._weights, x, bias_of(self.graph, self.op), self.params, self.windows)

    def needs(self, given: Sequence[Ranges | None], needed: Mask) -> Mapping[int, Mask]:
        return {0: self._reads[needed].any(axis=0) & ~self._foldable(given)}

    def narrow(self, given: Sequence[Ranges | None], kept: Mapping[int, Mask], result: Mask) -> Narrowed:
        before = kept.get(0, np.ones(self.channels_in, bool))
        x = self._range(given)
        bias = bias_of(self.graph, self.op) + self._change_of_bias(given, ~before & (x[0] == x[1]))
        weights = self._constant(1)
        assert weights.data is not None
        features = np.tile(before, weights.data.shape[-1] // self.channels_in)
        data = weights.data[result][..., features]
        return Narrowed(self.op.attrs, constants_of(self.graph, self.op, data, bias, result))

    def _constant(self, position: int) -> Tensor:
        tensor = self.graph.operand(self.op, position)
        assert tensor is not None
        return tensor

    @staticmethod
    def _range(given: Sequence[Ranges | None]) -> Ranges:
        assert given[0] is not None
        return given[0]

    def _features(self, given: Sequence[Ranges | None]) -> Ranges:
        return np.tile(self._range(given), self._weights.shape[-1] // self.channels_in)

    def _foldable(self, given: Sequence[Ranges | None]) -> Mask:
        """The input channels that are one value that can go into the bias."""
        low, high = self._range(given)
        constant = low == high
        if any(window.padded for window in self.windows):
            constant &= low == self.params.input_zero_point
        bias = bias_of(self.graph, self.op) + self._change_of_bias(given, constant)
        fits = np.all(np.abs(bias) <= DType.I32.max)
        return np.asarray(constant if fits else np.zeros_like(constant))

    def _change_of_bias(self, given: Sequence[Ranges | None], folded: Mask) -> np.ndarray:
        """What the folded input channels add to every sum, int64 (output channels,)."""
        values = np.where(folded, self._range(given)[0] - self.params.input_zero_point, 0)
        features = np.tile(values, self._weights.shape[-1] // self.channels_in)
        return np.asarray((self._weights * features).sum(axis=(1, 2, 3)))


@dataclass(frozen=True, eq=False)
class Separate:
    """Output channel c sums over input channel c // multiplier alone; weights (1, kernel height, kernel width, c)."""

    graph: Graph
    op: Op
    params: ConvParams
    windows: tuple[Window, Window]
    multiplier: int

    @cached_property
    def _data(self) -> np.ndarray:
        weights = self.graph.operand(self.op, 1)
        assert weights is not None
        assert weights.data is not None
        return weights.data

    @cached_property
    def _sources(self) -> np.ndarray:
        return np.arange(self._data.shape[3]) // self.multiplier

    @property
    def _alone(self) -> bool:
        """All output channels read the only input channel: none of them depends on another."""
        return self._data.shape[3] == self.multiplier

    @property
    def ties(self) -> Sequence[Tie]:
        return () if self._alone else (Tie(0, np.arange(len(self._sources)), self._sources),)

    def ranges(self, given: Sequence[Ranges | None]) -> Ranges:
        assert given[0] is not None
        x = (given[0] - self.params.input_zero_point)[:, self._sources, np.newaxis, np.newaxis, np.newaxis]
        weights = self._data.transpose(3, 1, 2, 0).astype(np.int64)
        return output_ranges(weights, x, bias_of(self.graph, self.op), self.params, self.windows)

    def needs(self, given: Sequence[Ranges | None], needed: Mask) -> Mapping[int, Mask]:
        return {}

    def narrow(self, given: Sequence[Ranges | None], kept: Mapping[int, Mask], result: Mask) -> Narrowed:
        attrs = replace(self.op.attrs, depth_multiplier=int(result.sum())) if self._alone else self.op.attrs
        bias = bias_of(self.graph, self.op)
        return Narrowed(attrs, constants_of(self.graph, self.op, self._data[..., result], bias, result))


def output_ranges(
    weights: np.ndarray, x: np.ndarray, bias: np.ndarray, params: ConvParams, windows: tuple[Window, Window]
) -> Ranges:
    """Of the scaled sums of int64 weights (output channels, kernel height, kernel width, features).

    x has the ends of every feature's interval less the zero point, int64 (2, features), or (2, output channels, 1, 1,
    1) where each output channel reads one input channel.
    """
    ends = np.stack([weights * x[0], weights * x[1]])
    taps = np.stack([ends.min(axis=0).sum(axis=3), ends.max(axis=0).sum(axis=3)])  # (2, channels, height, width)
    low, high = np.full(len(weights), DType.I8.max, np.int64), np.full(len(weights), DType.I8.min, np.int64)
    rows, columns = windows
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


def bias_of(graph: Graph, op: Op) -> np.ndarray:
    """int64 (output channels,); zeros where there is none."""
    given = graph.operand(op, 2)
    if given is None or given.data is None:
        return np.zeros(graph.tensor(op.outputs[0]).shape[-1], np.int64)
    return np.asarray(given.data.astype(np.int64))


def constants_of(graph: Graph, op: Op, weights: np.ndarray, bias: np.ndarray, result: Mask) -> dict[int, Tensor]:
    """Operands 1 and 2 for the output channels in `result`: `weights` has only those, `bias`, int64, all there are."""
    before, given = graph.operand(op, 1), graph.operand(op, 2)
    assert before is not None
    found = {1: constant_like(before, weights, result)}
    if given is not None or bias.any():
        like = given or Tensor("bias", bias.shape, DType.I32)
        found[2] = constant_like(like, bias[result].astype(np.int32), result)
    return found


def constant_like(tensor: Tensor, data: np.ndarray, channels: Mask) -> Tensor:
    """`tensor` with what is left of its data, and of its quantisation where that goes by channels."""
    data = np.ascontiguousarray(data)
    data.setflags(write=False)
    return replace(tensor, shape=data.shape, data=data, quant=_part(tensor.quant, channels))


def _part(quant: Quant | None, channels: Mask) -> Quant | None:
    """The quantisation of some channels; of one alone it still is one by channels, which FULLY_CONNECTED minds."""
    if quant is None or quant.axis is None:
        return quant

    def chosen(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return values if len(values) == 1 else tuple(values[c] for c in np.flatnonzero(channels))

    return replace(quant, scales=chosen(quant.scales), zero_points=chosen(quant.zero_points))
