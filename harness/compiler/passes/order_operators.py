"""Puts operators into the order that needs the least memory at once: branches are finished one after the other.

    a -> b1 -> b2 -> +          a, b1, c1, b2, c2, +      five tensors' bytes, if b1 and c1 are large
      -> c1 -> c2 ->            a, b1, b2, c1, c2, +      four

What counts is the most that is alive at any operator, as if each could write over what it reads for the last time.
Sets of operators that are done are searched, the least peak first, so the first complete one is a best one; a set is
visited once, and their number is small where branches are few. Past a budget the best choice at each step has to do.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from harness.compiler.graph import Graph, TensorId

# Peak, minus the operators done, order of finding; the set, bytes alive, operators that may run; whence it came.
_Open = tuple[int, int, int, int, int, list[int], tuple[int, int] | None]
VISITED = 20_000  # sets of operators, before the search is given up


@dataclass(frozen=True)
class OrderOperators:
    name: str = "order-operators"
    visited: int = VISITED

    def run(self, graph: Graph) -> Graph:
        problem = _Problem(graph)
        order: Sequence[int] = range(len(graph.ops))
        peak = problem.peak(order)
        if peak <= problem.least():
            return graph
        other = problem.best(self.visited) or problem.greedy()
        if problem.peak(other) >= peak:  # the model's own order stays where nothing is gained
            return graph
        return graph.with_ops(tuple(graph.ops[i] for i in other))


class _Problem:
    """Operators as bits of a set; tensors are those with memory of their own."""

    def __init__(self, graph: Graph) -> None:
        self.count = len(graph.ops)
        self.reads = [frozenset(_memory(graph, op.inputs)) for op in graph.ops]
        self.writes = [frozenset(_memory(graph, op.outputs)) for op in graph.ops]
        self.kept = frozenset(_memory(graph, graph.outputs))
        self.given = frozenset(_memory(graph, graph.inputs))
        self.bytes = {t: graph.tensor(t).bytes for t in self.given.union(*self.reads, *self.writes)}
        self.readers = dict.fromkeys(self.bytes, 0)
        self.writers = dict.fromkeys(self.bytes, 0)
        for index in range(self.count):
            for tensor in self.reads[index]:
                self.readers[tensor] |= 1 << index
            for tensor in self.writes[index]:
                self.writers[tensor] |= 1 << index
        self.after = _dependencies(graph)  # what has to be done before each
        self.next: list[list[int]] = [[] for _ in range(self.count)]
        for index, before in enumerate(self.after):
            for earlier in _bits(before):
                self.next[earlier].append(index)

    def step(self, done: int, live: int, index: int) -> tuple[int, int]:
        """The bytes alive while `index` runs, and after it; `live` of them before."""
        new = sum(self.bytes[t] for t in self.writes[index] if not self.writers[t] & done and t not in self.given)
        now = done | 1 << index
        dead = sum(self.bytes[t] for t in self.reads[index] if not self.readers[t] & ~now and t not in self.kept)
        written = self.writes[index] if done else self.writes[index] | self.given
        unread = sum(self.bytes[t] for t in written if not self.readers[t] and t not in self.kept)
        return live + new - min(new, dead), live + new - dead - unread

    def least(self) -> int:
        """What any order needs: the most that one operator does by itself."""
        own = []
        for reads, writes in zip(self.reads, self.writes, strict=True):
            size = sum(self.bytes[t] for t in reads), sum(self.bytes[t] for t in writes)
            own.append(max(size))
        return max([*own, sum(self.bytes[t] for t in self.given)], default=0)

    def start(self) -> int:
        return sum(self.bytes[t] for t in self.given)

    def peak(self, order: Sequence[int]) -> int:
        done, live, most = 0, self.start(), self.start()
        for index in order:
            during, live = self.step(done, live, index)
            most = max(most, during)
            done |= 1 << index
        return most

    def best(self, visited: int) -> list[int] | None:
        """An order of the least peak; None where there are more than `visited` sets of operators on the way to it."""
        number = count()  # the earlier found goes first: the search is the same on every machine
        ready = [i for i in range(self.count) if not self.after[i]]
        queue: list[_Open] = [(self.start(), 0, next(number), 0, self.start(), ready, None)]
        seen: dict[int, tuple[int, int] | None] = {}  # set: the set before it and the operator in between
        while queue and len(seen) < visited:
            peak, left, _, done, live, ready, came = heapq.heappop(queue)
            if done in seen:
                continue
            seen[done] = came
            if -left == self.count:
                return self.way(seen, done)
            for index in ready:
                during, after = self.step(done, live, index)
                now = done | 1 << index
                if now in seen:
                    continue
                open_ = [i for i in ready if i != index]
                open_ += [i for i in self.next[index] if not self.after[i] & ~now]
                heapq.heappush(queue, (max(peak, during), left - 1, next(number), now, after, open_, (done, index)))
        return None

    def way(self, seen: dict[int, tuple[int, int] | None], done: int) -> list[int]:
        order = []
        while (came := seen[done]) is not None:
            done, index = came
            order.append(index)
        return order[::-1]

    def greedy(self) -> list[int]:
        """At each step the operator that leaves least alive, of equals the earliest."""
        done, live = 0, self.start()
        ready = [i for i in range(self.count) if not self.after[i]]
        order: list[int] = []
        while ready:
            index = min(ready, key=lambda i: (self.step(done, live, i)[1], i))
            _, live = self.step(done, live, index)
            done |= 1 << index
            ready.remove(index)
            ready += [i for i in self.next[index] if not self.after[i] & ~done]
            order.append(index)
        return order


def _memory(graph: Graph, tensors: Sequence[TensorId]) -> list[TensorId]:
    """The tensors whose memory these live in, without constants."""
    return [graph.base(t) for t in tensors if t >= 0 and graph.tensor(t).data is None]


def _dependencies(graph: Graph) -> list[int]:
    """For each operator the set of those that have to run before it.

    They write bytes that it reads: of a tensor made in pieces, those it looks at. And pieces are made in the order they
    had: who makes the last one stands for what the model calls the whole.
    """
    after = [0] * len(graph.ops)
    writers: dict[TensorId, list[tuple[int, int, int]]] = {}  # by memory: first byte, the one after the last, operator
    for index, op in enumerate(graph.ops):
        for tensor in op.outputs:
            base, at = graph.place(tensor)
            for _, _, earlier in writers.get(base, ()):
                if earlier != index:
                    after[index] |= 1 << earlier
            writers.setdefault(base, []).append((at, at + graph.tensor(tensor).bytes, index))
    for index, op in enumerate(graph.ops):
        for tensor in graph.activations(op):
            base, at = graph.place(tensor)
            for first, end, writer in writers.get(base, ()):
                if first < at + graph.tensor(tensor).bytes and at < end and writer != index:
                    after[index] |= 1 << writer
    return after


def _bits(number: int) -> list[int]:
    found = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found
