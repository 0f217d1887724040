"""How an operator acts on channels, the places of a tensor's last dimension: what a pass must know to leave some out.

An operator that says nothing here is opaque: it may make any value of its type in any channel, reads every channel,
and takes and gives whole tensors. One that does says three things about its int8 output:

    ranges   the least and the greatest value of each channel, from those of the operands
    ties     output channels that an operand's channels are carried over to one for one: they stay or go together
    needs    of an operand that is not tied, the channels without which needed output channels cannot be had
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from harness.compiler.graph import Tensor
from harness.dtypes import DType

Ranges = np.ndarray  # int64 (2, channels): the least and the greatest value of each channel, for any input of the model
Mask = np.ndarray  # bool (channels,)


@dataclass(frozen=True, eq=False)
class Tie:
    """Output channel `result[i]` is made from channel `operand[i]` of the operand at `position`, and needs no other."""

    position: int
    result: np.ndarray  # int64
    operand: np.ndarray  # int64, as long


@dataclass(frozen=True, eq=False)
class Narrowed:
    """What changes in an operator that has fewer channels, beside its tensors' shapes and tied constants."""

    attrs: Any
    constants: Mapping[int, Tensor] = field(default_factory=dict)  # operands by position, also one there was none of


class Channels(Protocol):
    """One operator of a graph. Operands are by position; `given` has their ranges, None where absent or not int8."""

    @property
    def ties(self) -> Sequence[Tie]: ...

    def ranges(self, given: Sequence[Ranges | None]) -> Ranges:
        """Of the output, true for every input within `given`."""

    def needs(self, given: Sequence[Ranges | None], needed: Mask) -> Mapping[int, Mask]:
        """Of operands that no tie mentions; one left out is needed whole. Grows with `needed`.

        A channel that is one value and that the operator can take into its constants is not needed.
        """

    def narrow(self, given: Sequence[Ranges | None], kept: Mapping[int, Mask], result: Mask) -> Narrowed:
        """The operator with the operand channels in `kept`, by position, and the output channels in `result`."""


@dataclass(frozen=True, eq=False)
class Tied:
    """An operator without constants of its own that treats every channel the same way, apart from the others."""

    attrs: Any
    ties: Sequence[Tie]
    bounds: Callable[[Sequence[Ranges | None]], Ranges]

    def ranges(self, given: Sequence[Ranges | None]) -> Ranges:
        return self.bounds(given)

    def needs(self, given: Sequence[Ranges | None], needed: Mask) -> Mapping[int, Mask]:
        return {}

    def narrow(self, given: Sequence[Ranges | None], kept: Mapping[int, Mask], result: Mask) -> Narrowed:
        return Narrowed(self.attrs)


def full_range(channels: int) -> Ranges:
    """Any int8 value."""
    return np.repeat(np.array([[DType.I8.min], [DType.I8.max]], np.int64), channels, axis=1)


def constant_range(data: np.ndarray) -> Ranges:
    """Of a constant, which without dimensions has one channel."""
    rows = data.reshape(-1, (1, *data.shape)[-1]).astype(np.int64)
    return np.stack([rows.min(axis=0), rows.max(axis=0)])


def through_table(table: np.ndarray, position: int) -> Callable[..., Ranges]:
    """The ranges of a function of one int8 element, `table` (256,), of the operand at `position`."""

    def bounds(given: Sequence[Ranges | None]) -> Ranges:
        found = given[position]
        assert found is not None
        parts = [table[low - DType.I8.min : high - DType.I8.min + 1] for low, high in found.T]
        return np.array([[part.min() for part in parts], [part.max() for part in parts]], np.int64)

    return bounds


def straight(position: int, channels: int) -> Tie:
    """Output channel c from channel c of the operand."""
    return Tie(position, np.arange(channels), np.arange(channels))


def reshaped(x: Tensor, y: Tensor, attrs: Any = None) -> Tied | None:
    """The same elements in the same order, int8: channel f of y shows channel f % channels of x.

    None where rows of y are shorter than rows of x: then a place in them stands for several channels.
    """
    if x.dtype is not DType.I8 or not x.shape or not y.shape or y.shape[-1] % x.shape[-1]:
        return None
    shown = np.arange(y.shape[-1]) % x.shape[-1]

    def bounds(given: Sequence[Ranges | None]) -> Ranges:
        assert given[0] is not None
        return given[0][:, shown]

    return Tied(attrs, [Tie(0, np.arange(y.shape[-1]), shown)], bounds)
