"""Two opinions on every tensor: where they differ, which operator began it, and which value to go by.

TFLite, asked to keep all tensors, still lets some operators write their output over an input (ADD does). The input then
shows the values of a later tensor. That is told from a real disagreement by two signs together: the bytes shown are
those of a later output, and every operator that reads the tensor gave what the second opinion gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.compiler.graph import Graph, Op, TensorId
from harness.oracle.tolerance import Difference, Tolerance

Values = Mapping[TensorId, np.ndarray]  # each (samples, *shape)


@dataclass(frozen=True)
class Disagreement:
    """An operator's output on which the oracle and the numpy reference differ."""

    op: int  # index of the model's operator
    kind: str
    tensor: TensorId
    name: str
    difference: Difference
    inputs_agree: bool  # True: the two implementations of this very operator differ; False: only carried on

    def to_json(self) -> dict[str, Any]:
        apart = self.difference
        return {
            "op": self.op,
            "kind": self.kind,
            "tensor": self.name,
            "elements": apart.elements,
            "mismatches": apart.mismatches,
            "max_abs_diff": apart.max_abs_diff if np.isfinite(apart.max_abs_diff) else None,
            "inputs_agree": self.inputs_agree,
        }


@dataclass(frozen=True)
class Expected:
    """What every tensor should hold. Samples run along the first axis of each array."""

    oracle: str
    tensors: Values
    disagreements: tuple[Disagreement, ...] = ()
    overwritten: tuple[TensorId, ...] = ()  # the oracle shows a later tensor's bytes here; the numpy value stands


def reconcile(oracle: str, graph: Graph, first: Values, second: Values, tolerance: Tolerance) -> Expected:
    """`first`, the oracle's word, stands wherever it has one, but for tensors it overwrote; `second` is numpy's."""
    differing = {
        t: tolerance.difference(second[t], first[t])
        for op in graph.ops
        for t in op.outputs
        if t in first and t in second and not tolerance.equal(second[t], first[t])
    }
    overwritten = _overwritten(graph, first, differing.keys())
    wrong = differing.keys() - overwritten
    disagreements = tuple(
        Disagreement(op.sources[0], op.kind, t, graph.tensor(t).name, differing[t], wrong.isdisjoint(op.inputs))
        for op in graph.ops
        for t in op.outputs
        if t in wrong
    )
    tensors = {**second, **{t: values for t, values in first.items() if t not in overwritten}}
    return Expected(oracle, tensors, disagreements, tuple(sorted(overwritten)))


def _overwritten(graph: Graph, shown: Values, differing: set[TensorId] | Any) -> set[TensorId]:
    """Backwards through the model, because a tensor may be overwritten by one that was itself overwritten."""
    found: set[TensorId] = set()
    later: list[bytes] = []
    for op in reversed(graph.ops):
        for tensor in op.outputs:
            if tensor not in differing or tensor in graph.outputs:
                continue
            readers = _readers(graph, tensor)
            excused = all(t not in differing or t in found for reader in readers for t in reader.outputs)
            if readers and excused and shown[tensor].tobytes() in later:
                found.add(tensor)
        later.extend(shown[t].tobytes() for t in op.outputs if t in shown)
    return found


def _readers(graph: Graph, tensor: TensorId) -> list[Op]:
    return [op for op in graph.ops if tensor in op.inputs]
