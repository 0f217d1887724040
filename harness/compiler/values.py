"""The values of a graph's tensors while it runs in Python; tensors that share memory share it here as well."""

from __future__ import annotations

import numpy as np

from harness.compiler.graph import Graph, TensorId


class Values:
    """Constants are there from the start. What is written to a tensor shows in every view of its bytes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._memory = {t: _bytes(spec.data) for t, spec in enumerate(graph.tensors) if spec.data is not None}

    def __setitem__(self, tensor: TensorId, value: np.ndarray) -> None:
        base, offset = self._graph.place(tensor)
        if base not in self._memory:
            self._memory[base] = np.zeros(self._graph.tensor(base).bytes, np.uint8)
        data = _bytes(value)
        self._memory[base][offset : offset + data.size] = data

    def __getitem__(self, tensor: TensorId) -> np.ndarray:
        """The tensor's value in its shape and dtype, a view of the memory."""
        base, offset = self._graph.place(tensor)
        spec = self._graph.tensor(tensor)
        held = self._memory[base][offset : offset + spec.bytes]
        return held.view(spec.dtype.np).reshape(spec.shape)

    def all(self) -> dict[TensorId, np.ndarray]:
        """Every tensor that has memory by now."""
        tensors = range(len(self._graph.tensors))
        return {t: self[t] for t in tensors if self._graph.base(t) in self._memory}


def _bytes(value: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8)
