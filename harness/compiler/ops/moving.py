"""Operators that only move elements: what they share in rules and in lowering. Quantisation plays no part in a copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op, Tensor
from harness.compiler.loops import Program
from harness.compiler.lowering.building import Builder
from harness.compiler.lowering.moves import Move, copies
from harness.compiler.ops import checks
from harness.compiler.ops.base import Case, Operator, no_macs
from harness.compiler.ops.channels import Channels
from harness.dtypes import DType

MOVED = (DType.I8, DType.F32, DType.I32)


def moving(
    kind: str,
    c_name: str,
    parse: Callable[[tflite.Operator], Any],
    check: Callable[[Graph, Op], None],
    reference: Callable[[Graph, Op, Sequence[np.ndarray | None]], list[np.ndarray]],
    moves: Callable[[Graph, Op], tuple[Move, ...]],
    cases: tuple[Case, ...],
    channels: Callable[[Graph, Op], Channels | None] | None = None,
) -> Operator:
    """The entry of an operator whose whole definition is `moves`."""

    def lower(graph: Graph, op: Op, name: str) -> Program:
        build = Builder(name)
        made = moves(graph, op)
        read = sorted({move.operand for move in made if move.operand is not None})
        buffers = {}
        sources = {}
        for position in read:
            tensor, x = op.inputs[position], checks.operand(graph, op, position)
            if tensor not in buffers:
                known = sum(b.space == "input" for b in build.buffers)
                buffers[tensor] = (
                    build.input(f"input_{known}" if known else "input", x.dtype, x.elements)
                    if x.data is None
                    else build.table(f"constant_{position}", x.data.reshape(-1))
                )
            sources[position] = buffers[tensor]
        results = [build.output(y.dtype, y.elements) for y in map(graph.tensor, op.outputs)]
        return copies(build, made, sources, results)

    return Operator(kind, c_name, parse, check, reference, no_macs, cases, lower, schedules.COPIES, channels, moves)


def check_types(graph: Graph, op: Op, positions: Sequence[int]) -> None:
    """The operands at `positions` and all results are of one type, which is supported."""
    first = checks.operand(graph, op, positions[0])
    for tensor in (*(checks.operand(graph, op, p) for p in positions), *map(graph.tensor, op.outputs)):
        if tensor.dtype not in MOVED:
            names = ", ".join(dtype.value for dtype in MOVED)
            checks.refuse(graph, op, f"type {tensor.dtype.value}; supported are {names}", tensor=tensor)
        checks.has_dtype(graph, op, tensor, first.dtype)


def same_quantisation(graph: Graph, op: Op, x: Tensor, y: Tensor) -> None:
    """Elements of `x` mean in `y` what they meant: TFLite's int8 kernels demand it too, or copy and get it wrong."""
    if x.dtype is DType.I8 and checks.quantised(graph, op, x) != checks.quantised(graph, op, y):
        hint = "Convert the model again: int8 operands and result must have one scale and zero point."
        checks.refuse(graph, op, "is quantised differently from the result", tensor=x, hint=hint)


def numbers(graph: Graph, op: Op, position: int) -> list[int]:
    """The values of a constant operand of int32 or int64."""
    tensor = checks.operand(graph, op, position)
    if tensor.dtype is not DType.I64:
        checks.has_dtype(graph, op, tensor, DType.I32)
    return [int(value) for value in checks.is_constant(graph, op, tensor).ravel()]


def axis(graph: Graph, op: Op, given: int, rank: int) -> int:
    """An axis that may count from the end."""
    if not -rank <= given < rank:
        checks.refuse(graph, op, f"axis {given} of {rank} dimensions")
    return given % rank
