"""The operators, one file each, and running them in numpy: the second opinion beside every oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.compiler.graph import ABSENT, Graph, Op, TensorId
from harness.compiler.ops import (
    add,
    concatenation,
    conv2d,
    depthwise_conv2d,
    dequantize,
    extremum,
    fully_connected,
    hard_swish,
    leaky_relu,
    logistic,
    lookup,
    mean,
    mul,
    pack,
    pad,
    pool2d,
    quantize,
    relu,
    reshape,
    resize_nearest_neighbor,
    shape,
    slice,
    softmax,
    split,
    squeeze,
    strided_slice,
    sub,
    tanh,
    transpose,
)
from harness.compiler.ops.base import Case, Operator
from harness.compiler.ops.channels import Channels, Tied, straight, through_table
from harness.compiler.values import Values
from harness.dtypes import DType
from harness.errors import BadInput, ModelError

__all__ = [
    "OPERATORS",
    "Case",
    "Operator",
    "byte_function",
    "channels",
    "check",
    "operator",
    "reference",
    "run_reference",
]

OPERATORS: dict[str, Operator] = {
    operator.kind: operator
    for operator in (
        conv2d.OPERATOR,
        depthwise_conv2d.OPERATOR,
        fully_connected.OPERATOR,
        pool2d.AVERAGE,
        pool2d.MAX,
        reshape.OPERATOR,
        softmax.OPERATOR,
        add.OPERATOR,
        pad.PAD,
        pad.PADV2,
        transpose.OPERATOR,
        concatenation.OPERATOR,
        split.SPLIT,
        split.SPLIT_V,
        squeeze.SQUEEZE,
        squeeze.EXPAND_DIMS,
        slice.OPERATOR,
        strided_slice.OPERATOR,
        pack.PACK,
        pack.UNPACK,
        resize_nearest_neighbor.OPERATOR,
        sub.OPERATOR,
        mul.OPERATOR,
        extremum.MINIMUM,
        extremum.MAXIMUM,
        relu.RELU,
        relu.RELU6,
        relu.RELU_N1_TO_1,
        leaky_relu.OPERATOR,
        logistic.OPERATOR,
        tanh.OPERATOR,
        hard_swish.OPERATOR,
        quantize.OPERATOR,
        dequantize.OPERATOR,
        mean.OPERATOR,
        shape.OPERATOR,
    )
}


MADE: dict[str, Operator] = {lookup.OPERATOR.kind: lookup.OPERATOR}  # by passes; no model file has them


def operator(graph: Graph, op: Op) -> Operator:
    """The operator's entry. Raises ModelError when there is none."""
    if op.kind in MADE:
        return MADE[op.kind]
    if op.kind not in OPERATORS:
        where = f"{graph.name}, operator {', '.join(map(str, op.sources))}"
        raise ModelError(f"{op.kind} is not supported", where=where, hint=f"Supported: {', '.join(sorted(OPERATORS))}.")
    return OPERATORS[op.kind]


def check(graph: Graph) -> None:
    """Every operator's own rules of dtype, shape and quantisation. Raises ModelError at the first one broken."""
    for op in graph.ops:
        operator(graph, op).check(graph, op)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """One operator in numpy: arrays for `op.inputs` in order, of their tensors' shapes and dtypes, to its outputs.

    None stands for an operand that is absent or, to save copying them about, for a constant.
    """
    values: list[np.ndarray | None] = []
    for tensor, value in zip(op.inputs, inputs, strict=True):
        values.append(graph.tensor(tensor).data if value is None and tensor != ABSENT else value)
    return operator(graph, op).reference(graph, op, values)


@dataclass(frozen=True, eq=False)
class ByteFunction:
    """An operator each of whose output bytes depends on one byte of one tensor."""

    root: TensorId
    table: np.ndarray  # (256,), of the output's dtype, for each value of the root's type in order


def byte_function(graph: Graph, op: Op) -> ByteFunction | None:
    """The operator as a table; None where it is not one. Constants among its operands are of one element."""
    if not operator(graph, op).by_element or ABSENT in op.inputs:
        return None
    tensors = [*map(graph.tensor, op.inputs), graph.tensor(op.outputs[0])]
    roots = {t for t in op.inputs if graph.tensor(t).data is None}
    if len(roots) != 1 or any(t.dtype not in (DType.I8, DType.U8) for t in tensors):
        return None
    (root,) = roots
    x = graph.tensor(root)
    if x.shape != tensors[-1].shape or any(t.data is not None and t.elements != 1 for t in tensors):
        return None
    values = np.arange(x.dtype.min, x.dtype.max + 1).astype(x.dtype.np)
    operands = [values if t.data is None else t.data.reshape(1) for t in tensors[:-1]]
    (table,) = reference(graph, op, operands)
    return ByteFunction(root, table)


def channels_of(graph: Graph, op: Op) -> Channels | None:
    """What the operator says of its channels, or what the table of a function of one byte does. None: it is opaque."""
    says = operator(graph, op).channels
    if len(op.outputs) != 1:
        return None
    if says is not None:
        return says(graph, op)
    function = byte_function(graph, op)
    if function is None or not graph.tensor(function.root).shape:
        return None
    if graph.tensor(function.root).dtype is not DType.I8 or graph.tensor(op.outputs[0]).dtype is not DType.I8:
        return None
    wide = graph.tensor(function.root).shape[-1]
    ties = [straight(position, wide) for position, tensor in enumerate(op.inputs) if tensor == function.root]
    return Tied(op.attrs, ties, through_table(function.table, ties[0].position))


def run_reference(graph: Graph, inputs: Sequence[np.ndarray]) -> dict[TensorId, np.ndarray]:
    """The whole model in numpy: arrays for `graph.inputs` in order → every tensor, constants and views included.

    Raises BadInput for an array of the wrong count, shape or dtype.
    """
    if len(inputs) != len(graph.inputs):
        raise BadInput(f"{len(inputs)} input arrays for {len(graph.inputs)} inputs", where=graph.name)
    values = Values(graph)
    for tensor, array in zip(graph.inputs, inputs, strict=True):
        t = graph.tensor(tensor)
        if array.shape != t.shape or array.dtype != t.dtype.np:
            what = f"array {array.dtype.name}{list(array.shape)} where {t.dtype.value}{list(t.shape)} belongs"
            raise BadInput(what, where=f"{graph.name}, input {t.name!r}")
        values[tensor] = array
    for op in graph.ops:
        operands = [None if tensor == ABSENT else values[tensor] for tensor in op.inputs]
        for tensor, array in zip(op.outputs, reference(graph, op, operands), strict=True):
            values[tensor] = array
    return values.all()
