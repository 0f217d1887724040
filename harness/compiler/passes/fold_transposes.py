"""Two TRANSPOSEs one after another are one, or none.

    4 TRANSPOSE  8 (1, 6, 5, 4) -> 9 (1, 4, 6, 5)
    5 RESHAPE    9 -> 10 (4, 30)
    6 TRANSPOSE  10 -> 11 (30, 4)                       6 RESHAPE  8 -> 11      8's elements in their order again

Whatever stands between two of them and leaves the elements in their order, a RESHAPE, a SQUEEZE, takes part. The order
that comes out is not worked out by rules: both are applied to the numbers 0, 1, 2, … and it is read off and checked on
every element. What is left is a TRANSPOSE of x under another shape, whose result is seen under the model's shape, or,
where the order is the old one, a RESHAPE, which is free. What others read on the way stays, and then the model must not
need more memory than before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from harness.compiler.graph import ABSENT, Graph, Op, Tensor, TensorId, View
from harness.compiler.ops import operator, reshape, transpose
from harness.compiler.passes.base import peak
from harness.dtypes import DType


@dataclass(frozen=True)
class FoldTransposes:
    name: str = "fold-transposes"

    def run(self, graph: Graph) -> Graph:
        for last in reversed([op.outputs[0] for op in graph.ops if op.kind == "TRANSPOSE"]):
            chain = _chain(graph, last)
            while sum(map(_turns, chain)) > 1:
                made = _replaced(graph, chain)
                if made is not None:
                    graph = made
                    break
                chain = _from_the_next(chain)
        return graph


def _chain(graph: Graph, last: TensorId) -> list[Op]:
    """The longest chain from one TRANSPOSE to the one that makes `last`."""
    makers = {t: op for op in graph.ops for t in op.outputs}
    chain = [makers[last]] if last in makers else []
    while chain:
        x = chain[0].inputs[0]
        base = graph.base(x)
        same = graph.tensor(base).shape == graph.tensor(x).shape  # an equal operator's result, or x itself
        before = makers.get(base if same else x)
        if before is None or not (_turns(before) or _in_order(graph, before)):
            break
        chain.insert(0, before)
    return chain if not chain or _turns(chain[0]) else _from_the_next(chain)


def _from_the_next(chain: list[Op]) -> list[Op]:
    """What is left of a chain from the second TRANSPOSE on, or from the first where it begins with none."""
    rest = chain[1:]
    while rest and not _turns(rest[0]):
        rest = rest[1:]
    return rest


def _turns(op: Op) -> bool:
    return op.kind == "TRANSPOSE"


def _in_order(graph: Graph, op: Op) -> bool:
    """One output with all the elements of operand 0 in their order."""
    moves = operator(graph, op).moves
    made = () if moves is None else moves(graph, op)
    return len(made) == 1 and made[0].is_run and made[0].operand == 0 and _same_size(graph, op)


def _same_size(graph: Graph, op: Op) -> bool:
    return graph.tensor(op.inputs[0]).elements == graph.tensor(op.outputs[0]).elements


def _replaced(graph: Graph, chain: list[Op]) -> Graph | None:
    """`graph` with one operator for the chain; what others read of it stays, unless that needs more memory."""
    x, y = chain[0].inputs[0], chain[-1].outputs[0]
    order = np.arange(graph.tensor(x).elements)
    for op in chain:
        order = order.reshape(graph.tensor(op.inputs[0]).shape)
        turned = order.transpose(transpose.permutation(graph, op)) if _turns(op) else order
        order = turned.reshape(-1)
    found = factors(order)
    if found is None or graph.tensor(x).data is not None:
        return None
    shape, permutation = found
    sources = tuple(sorted({source for op in chain for source in op.sources}))
    tensors, views = list(graph.tensors), list(graph.views)
    if permutation == tuple(range(len(permutation))):
        made = Op("RESHAPE", (x, ABSENT), (y,), reshape.Reshape(), sources)
    else:
        spec = graph.tensor(y)
        turned_shape = tuple(shape[p] for p in permutation)
        given = np.array(permutation, np.int32)
        first = len(tensors)
        tensors += [
            replace(graph.tensor(x), shape=shape),
            Tensor("order", given.shape, DType.I32, data=given),
            replace(spec, shape=turned_shape),
        ]
        views += [View(first, x, sources), View(y, first + 2, sources)]
        made = Op("TRANSPOSE", (first, first + 1), (first + 2,), transpose.Transpose(), sources)
    ops = tuple(made if op is chain[-1] else op for op in graph.ops)
    left, kept = _without_unread(replace(graph, ops=ops, tensors=tuple(tensors), views=tuple(views)), chain[:-1])
    return left if not kept or peak(left) <= peak(graph) else None


def _without_unread(graph: Graph, chain: list[Op]) -> tuple[Graph, bool]:
    """`graph` without those of the chain that nobody reads any more, and whether any stays."""
    kept = False
    for op in reversed(chain):
        read = {graph.base(t) for other in graph.ops for t in other.inputs} | {graph.base(t) for t in graph.outputs}
        (output,) = op.outputs
        if graph.base(output) in read:
            kept = True
            continue
        views = tuple(v for v in graph.views if graph.base(v.tensor) != graph.base(output))
        graph = replace(graph, ops=tuple(other for other in graph.ops if other is not op), views=views)
    return graph, kept


def factors(order: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """A shape and a permutation with order = arange(n).reshape(shape).transpose(permutation).reshape(-1).

    None where there is none that runs of equal steps lead to; one found is checked on every element.
    """
    extents: list[int] = []
    steps: list[int] = []
    rest = order
    while rest.size > 1:
        step = int(rest[1] - rest[0])
        run = int(np.argmax(np.append(np.diff(rest) != step, True))) + 1
        if rest.size % run:
            return None
        extents.insert(0, run)
        steps.insert(0, step)
        rest = rest[::run]
    by_step = sorted(range(len(steps)), key=lambda axis: -steps[axis])
    shape = tuple(extents[axis] for axis in by_step)
    permutation = tuple(by_step.index(axis) for axis in range(len(steps)))
    whole = np.arange(order.size).reshape(shape).transpose(permutation).reshape(-1)
    return (shape, permutation) if prod(shape) == order.size and np.array_equal(whole, order) else None
