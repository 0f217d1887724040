"""LOOKUP: a byte for a byte, from a table. No file has it: passes make it of operators that are this together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Program
from harness.compiler.ops import checks, unary
from harness.compiler.ops.base import Operator, no_macs
from harness.dtypes import DType


@dataclass(frozen=True)
class Lookup:
    outputs: tuple[int, ...]  # 256, for each value of the operand's type in order


def parse(table: Any) -> Lookup:
    raise AssertionError("no model file has this operator")


def check(graph: Graph, op: Op) -> None:
    unary.check_shape(graph, op)
    for tensor in (checks.operand(graph, op, 0), checks.output(graph, op)):
        checks.one_of(graph, op, tensor, DType.I8, DType.U8)


def _entries(graph: Graph, op: Op) -> np.ndarray:
    return np.array(op.attrs.outputs, checks.output(graph, op).dtype.np)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = inputs
    assert x is not None
    return [_entries(graph, op)[x.astype(np.int64) - DType.of(x.dtype).min]]


def lower(graph: Graph, op: Op, name: str) -> Program:
    return unary.lower_table(graph, op, name, _entries(graph, op))


OPERATOR = Operator(
    "LOOKUP", "lookup", parse, check, reference, no_macs, (), lower, schedules.ELEMENTWISE, by_element=True
)
