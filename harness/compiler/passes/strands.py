"""Strands: channels of several tensors that stay or go together, because operators carry them over one for one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import numpy as np

from harness.compiler.ops.channels import Mask

Key = Hashable  # what has channels: a tensor, or one use of a constant


class Strands:
    """Disjoint sets of (what has channels, channel), each needed or not. At first every channel is alone in one."""

    def __init__(self, channels: Mapping[Key, int]) -> None:
        ends = np.cumsum(list(channels.values()), dtype=np.int64)
        self._of = {
            key: np.arange(end - count, end) for (key, count), end in zip(channels.items(), ends.tolist(), strict=True)
        }
        size = int(ends[-1]) if len(ends) else 0
        self._parent = list(range(size))
        self._needed = np.zeros(size, bool)  # right at the first member of each strand

    def has(self, key: Key) -> bool:
        """Whether it has channels at all."""
        return key in self._of

    def tie(self, one: Key, ones: np.ndarray, other: Key, others: np.ndarray) -> None:
        """Join channel `ones[i]` of `one` with channel `others[i]` of `other`."""
        for a, b in zip(self._of[one][ones].tolist(), self._of[other][others].tolist(), strict=True):
            a, b = self._first(a), self._first(b)
            if a != b:
                self._parent[max(a, b)] = min(a, b)
                self._needed[min(a, b)] |= self._needed[max(a, b)]

    def need_all(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if self.has(key):
                self._needed[self._firsts(key)] = True

    def need(self, key: Key, channels: Mask) -> bool:
        """Need these channels; whether one of them was not needed before."""
        firsts = self._firsts(key)[channels]
        news = not self._needed[firsts].all()
        self._needed[firsts] = True
        return news

    def needed(self, key: Key) -> Mask:
        return np.asarray(self._needed[self._firsts(key)])

    def _firsts(self, key: Key) -> np.ndarray:
        return np.array([self._first(member) for member in self._of[key].tolist()], np.int64)

    def _first(self, member: int) -> int:
        """The first member of a strand, which stands for it; the way there is made shorter."""
        parent = self._parent
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member
