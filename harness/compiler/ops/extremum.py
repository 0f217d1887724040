"""MINIMUM and MAXIMUM of two operands, broadcast as numpy does.

For int8 both compare the stored integers, as TFLite does: it means something where all are quantised alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import tflite

from harness.compiler import schedules
from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Block, Expr, Program, cast, maximum, minimum
from harness.compiler.lowering.building import Builder
from harness.compiler.lowering.elementwise import Extremum
from harness.compiler.ops import binary, checks
from harness.compiler.ops.base import Case, Operator, no_macs, options_table
from harness.dtypes import DType


@dataclass(frozen=True)
class Extreme:
    """Nothing to say: what is computed is the operator's kind."""


def parse(table: tflite.Operator) -> Extreme:
    options_table(table, "MaximumMinimumOptions")
    return Extreme()


def check(graph: Graph, op: Op) -> None:
    binary.check(graph, op)


def reference(graph: Graph, op: Op, inputs: Sequence[np.ndarray | None], largest: bool) -> list[np.ndarray]:
    a, b = inputs
    assert a is not None
    assert b is not None
    # TFLite's `a < b ? a : b`: where one is not a number, the second operand.
    return [np.where(a > b if largest else a < b, a, b)]


def lower(graph: Graph, op: Op, name: str, largest: bool) -> Program:
    def element(build: Builder, operands: Sequence[Expr]) -> tuple[Block, Expr]:
        kind = DType.F32 if operands[0].dtype is DType.F32 else DType.I32
        a, b = (cast(x, kind) for x in operands)
        return (), cast(maximum(a, b) if largest else minimum(a, b), checks.output(graph, op).dtype)

    return binary.lower(graph, op, name, element, Extremum(largest))


CASES = (
    Case("same_shape", ((1, 4, 5, 3), (1, 4, 5, 3)), {"quant": (0.05, 3)}, quants=((0.05, 3), (0.05, 3))),
    Case("one_element", ((1,), (1,))),
    Case("scalar_like", ((1, 4, 4, 6), (1,))),
    Case("first_broadcast", ((1, 1, 1, 6), (1, 4, 4, 6))),
    Case("both_broadcast", ((1, 5, 1, 3), (1, 1, 4, 3))),
    Case("float", ((1, 4, 5, 3), (1, 4, 5, 3)), dtype="float32"),
    Case("float_broadcast", ((1, 4, 5, 3), (3,)), dtype="float32"),
)


def _operator(kind: str, c_name: str, largest: bool) -> Operator:
    return Operator(
        kind,
        c_name,
        parse,
        check,
        partial(reference, largest=largest),
        no_macs,
        CASES,
        partial(lower, largest=largest),
        schedules.ELEMENTWISE,
        channels=partial(binary.channels, reference=partial(reference, largest=largest)),
        by_element=True,
    )


MINIMUM = _operator("MINIMUM", "minimum", False)
MAXIMUM = _operator("MAXIMUM", "maximum", True)
