"""What an operator is: everything the compiler knows about it, in one value that its file defines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tflite

from harness.compiler.graph import Graph, Op
from harness.compiler.loops import Program
from harness.compiler.lowering.moves import Move
from harness.compiler.ops.channels import Channels
from harness.compiler.schedules.base import Family
from harness.errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One small instance of an operator, as data: what every implementation of it has to agree on.

    `options` speak the vocabulary of the operator's attributes (kernel, stride, padding, activation, ...); what they
    leave out, the builder of the test model chooses from `seed`, weights and quantisation included.
    """

    name: str
    shapes: tuple[Shape, ...]  # of the operands that are not constant
    options: Mapping[str, Any] = field(default_factory=dict)
    quants: tuple[tuple[float, int] | None, ...] = ()  # (scale, zero point) of those operands; None or missing: drawn
    dtype: str = "int8"
    seed: int = 0


@dataclass(frozen=True)
class Operator:
    """`reference` gets one array per entry of `op.inputs`, constants included, None where an operand is absent."""

    kind: str  # TFLite's BuiltinOperator name, such as "CONV_2D"
    c_name: str  # stem of the layer's C function, such as "conv2d"
    parse: Callable[[tflite.Operator], Any]  # to the frozen attributes; raises ModelError
    check: Callable[[Graph, Op], None]  # dtypes, shapes and quantisation; raises ModelError
    reference: Callable[[Graph, Op, Sequence[np.ndarray | None]], list[np.ndarray]]
    macs: Callable[[Graph, Op], int]  # multiply-accumulates of one run, taps in the padding included
    cases: tuple[Case, ...]
    lower: Callable[[Graph, Op, str], Program] | None = None  # the plain loops, under the C function's name
    schedules: Family = ()  # how they can be made fast; none: they stay as they are
    channels: Callable[[Graph, Op], Channels | None] | None = None  # which of them can be left out; None: opaque
    moves: Callable[[Graph, Op], tuple[Move, ...]] | None = None  # of an operator that only moves elements
    by_element: bool = False  # an element of the result depends on one of each operand; the reference takes any shapes
    of_shapes: bool = False  # the result follows from the operands' shapes alone, whatever they hold


def no_macs(graph: Graph, op: Op) -> int:
    """For operators that multiply nothing by weights."""
    return 0


def options_table(op: tflite.Operator, name: str) -> Any | None:
    """The operator's builtin options read as the schema's table `name`, or None when the model has none.

    Raises ModelError when the options are those of another operator.
    """
    tag = op.BuiltinOptionsType()
    table = op.BuiltinOptions()
    if tag == tflite.BuiltinOptions.NONE or table is None:
        return None
    if tag != getattr(tflite.BuiltinOptions, name):
        raise ModelError(f"carries options of type {tag} where {name} belong", hint="The file is damaged.")
    options = getattr(tflite, name)()
    options.Init(table.Bytes, table.Pos)
    return options


def required_options(op: tflite.Operator, name: str) -> Any:
    """As `options_table`, for operators that mean nothing without options."""
    options = options_table(op, name)
    if options is None:
        raise ModelError(f"has no {name}", hint="Convert the model again.")
    return options


def no_options(op: tflite.Operator) -> None:
    """For operators that have none. Raises ModelError when these are those of another operator."""
    tag = op.BuiltinOptionsType()
    if tag != tflite.BuiltinOptions.NONE:
        raise ModelError(f"carries options of type {tag} where none belong", hint="The file is damaged.")


_ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: "NONE",
    tflite.ActivationFunctionType.RELU: "RELU",
    tflite.ActivationFunctionType.RELU_N1_TO_1: "RELU_N1_TO_1",
    tflite.ActivationFunctionType.RELU6: "RELU6",
}


def activation_name(code: int) -> str:
    """Name of a fused activation. Raises ModelError for those that TFLite's kernels do not fuse either."""
    if code not in _ACTIVATIONS:
        raise ModelError(
            f"fuses activation {code}; supported are {', '.join(_ACTIVATIONS.values())}",
            hint="Make the activation an operator of its own.",
        )
    return _ACTIVATIONS[code]


_PADDINGS = {tflite.Padding.SAME: "SAME", tflite.Padding.VALID: "VALID"}


def padding_name(code: int) -> str:
    """Name of a padding rule: "SAME" or "VALID"."""
    if code not in _PADDINGS:
        raise ModelError(f"has unknown padding {code}", hint="The file is damaged.")
    return _PADDINGS[code]
