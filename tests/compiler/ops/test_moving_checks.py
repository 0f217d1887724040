"""What the operators that move elements refuse, and what they read from a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.compiler.graph import Quant
from harness.compiler.ops import OPERATORS, check
from harness.compiler.ops.concatenation import Concatenation
from harness.compiler.ops.pack import Pack
from harness.compiler.ops.resize_nearest_neighbor import ResizeNearestNeighbor
from harness.compiler.ops.split import Split
from harness.compiler.ops.squeeze import Squeeze
from harness.compiler.ops.strided_slice import StridedSlice
from harness.dtypes import DType
from harness.errors import ModelError
from tests.compiler.ops.test_checks import Change, attrs, graph_of, operands, tensor

OTHER = Quant((0.77,), (0,))


def numbers(*values: Any) -> dict[str, Any]:
    data = np.array(values, np.int32)
    return {"shape": data.shape, "data": data}


def both(one: Change, other: Change) -> Change:
    return lambda graph: other(one(graph))


thrice = both(both(tensor(1, **numbers(18, 10)), tensor(-1, shape=(1, 18, 10, 4))), attrs(align_corners=True))
REFUSED: list[tuple[str, Change, str]] = [
    ("PAD", operands(0), "1 operands, of which 1 are present, where 2 belong"),
    ("PAD", tensor(0, dtype=DType.I16), "type int16; supported are int8, float32, int32"),
    ("PAD", tensor(1, dtype=DType.F32), "type float32 where int32 belongs"),
    ("PAD", tensor(1, data=None), "computed at run time"),
    ("PAD", tensor(1, **numbers((0, 0), (1, 1), (0, 0))), r"shape \[3, 2\] where \[4, 2\] belongs"),
    ("PAD", tensor(1, **numbers((0, 0), (1, -1), (1, 1), (0, 0))), "no amount may be negative"),
    ("PAD", tensor(-1, shape=(1, 8, 8, 4)), r"shape \[1, 8, 8, 4\] where \[1, 8, 7, 4\] belongs"),
    ("PAD", tensor(-1, quant=OTHER), "quantised differently from the result"),
    ("PADV2", tensor(2, data=None), "computed at run time"),
    ("PADV2", tensor(2, shape=(2,), data=np.zeros(2, np.int8)), "fills with 2 values where one belongs"),
    ("PADV2", tensor(2, quant=OTHER), "quantised differently"),
    ("PADV2", tensor(2, dtype=DType.F32), "type float32 where int8 belongs"),
    ("TRANSPOSE", tensor(1, data=None), "computed at run time"),
    ("TRANSPOSE", tensor(1, **numbers(0, 1, 2)), r"shape \[3\] where \[4\] belongs"),
    ("TRANSPOSE", tensor(1, **numbers(0, 1, 2, 2)), "does not name every dimension once"),
    ("TRANSPOSE", tensor(1, **numbers(0, 1, 2, 4)), "axis 4 of 4 dimensions"),
    ("TRANSPOSE", tensor(-1, shape=(4, 6, 5, 1)), r"where \[4, 5, 6, 1\] belongs"),
    ("CONCATENATION", attrs(axis=4), "axis 4 of 4 dimensions"),
    ("CONCATENATION", attrs(activation="RELU"), "fuses RELU"),
    ("CONCATENATION", tensor(0, quant=OTHER), "quantised differently"),
    ("CONCATENATION", tensor(0, shape=(1, 6, 4, 4)), r"shape \[1, 6, 4, 4\] where \[1, 6, 5, 4\] belongs"),
    ("CONCATENATION", tensor(0, shape=(6, 5, 4)), "3 dimensions"),
    ("CONCATENATION", tensor(-1, shape=(1, 6, 5, 5)), r"shape \[1, 6, 5, 5\] where \[1, 6, 5, 4\] belongs"),
    ("CONCATENATION", operands(), "0 operands"),
    ("SPLIT", attrs(pieces=0), "0 pieces"),
    ("SPLIT", attrs(pieces=3), "2 results where 3 belong"),
    ("SPLIT", tensor(0, **numbers(2)), "5 elements do not split into 2 equal pieces"),
    ("SPLIT", tensor(0, **numbers(7)), "axis 7 of 4 dimensions"),
    ("SPLIT", tensor(0, **numbers(1, 2)), "2 axes where one belongs"),
    ("SPLIT", tensor(-1, shape=(1, 6, 5, 3)), r"where \[1, 6, 5, 2\] belongs"),
    ("SPLIT_V", tensor(1, **numbers(-1, -1)), "at most one may be left open"),
    ("SPLIT_V", tensor(1, **numbers(3, 3)), r"sizes \[3, 3\] of 4 elements"),
    ("SPLIT_V", tensor(1, **numbers(5, -1)), r"sizes \[5, -1\] of 4 elements"),
    ("SPLIT_V", tensor(1, **numbers(1, 1, 2)), "2 pieces of sizes"),
    ("SQUEEZE", attrs(dimensions=(1,)), "not all of size 1"),
    ("SQUEEZE", attrs(dimensions=(9,)), "axis 9 of 4 dimensions"),
    ("EXPAND_DIMS", tensor(1, **numbers(6)), "axis 6 of 5 dimensions"),
    ("EXPAND_DIMS", tensor(1, **numbers(0, 1)), "2 axes where one belongs"),
    ("SLICE", tensor(1, **numbers(0, 2, 0, 0)), r"where \[1, 4, 5, 4\] belongs"),
    ("SLICE", tensor(1, **numbers(0, 6, 0, 0)), "is not inside"),
    ("SLICE", tensor(1, **numbers(0, -1, 0, 0)), "is not inside"),
    ("SLICE", tensor(2, **numbers(1, 7, 5, 4)), "is not inside"),
    ("SLICE", tensor(2, **numbers(1, 6, 5)), r"shape \[3\] where \[4\] belongs"),
    ("STRIDED_SLICE", attrs(ellipsis_mask=1), "ellipsis"),
    ("STRIDED_SLICE", attrs(new_axis_mask=1), "new axis"),
    ("STRIDED_SLICE", attrs(offset=True), "count from their begins"),
    ("STRIDED_SLICE", tensor(3, **numbers(1, 0, 1, 1)), r"strides \[1, 0, 1, 1\]"),
    ("STRIDED_SLICE", tensor(1, **numbers(0, 6, 0, 0)), "takes 0:1:1, 6:6:1"),
    ("STRIDED_SLICE", tensor(1, **numbers(0, 2, 0, 0)), r"where \[1, 4, 5, 4\] belongs"),
    ("STRIDED_SLICE", tensor(2, **numbers(1, 6, 5)), r"shape \[3\] where \[4\] belongs"),
    ("PACK", attrs(axis=5), "axis 5 of 5 dimensions"),
    ("PACK", attrs(count=2), "1 pieces and a count of 2"),
    ("PACK", tensor(0, quant=OTHER), "quantised differently"),
    ("UNPACK", attrs(count=2), "1 pieces and a count of 2"),
    ("UNPACK", tensor(-1, shape=(6, 5, 3)), r"where \[6, 5, 4\] belongs"),
    ("RESIZE_NEAREST_NEIGHBOR", tensor(0, shape=(6, 5, 4)), "3 dimensions"),
    ("RESIZE_NEAREST_NEIGHBOR", tensor(1, **numbers(12, 11)), r"where \[1, 12, 11, 4\] belongs"),
    ("RESIZE_NEAREST_NEIGHBOR", both(tensor(1, **numbers(9, 10)), tensor(-1, shape=(1, 9, 10, 4))), "6 to 9 pixels"),
    ("RESIZE_NEAREST_NEIGHBOR", thrice, "6 to 18 pixels; only enlargements"),
]


@pytest.mark.parametrize(
    ("kind", "change", "message"), REFUSED, ids=[f"{kind}-{message[:40]}" for kind, _, message in REFUSED]
)
def test_refused(kind: str, change: Change, message: str) -> None:
    graph = graph_of(kind)
    check(graph)
    with pytest.raises(ModelError, match=message) as caught:
        check(change(graph))
    assert kind in caught.value.where
    assert "operator 0" in caught.value.where


PARSED = [
    ("CONCATENATION", {"axis": 1}, Concatenation(1)),
    ("SPLIT", {"pieces": 4}, Split(4)),
    ("SPLIT_V", {"sizes": (1, 2, 1)}, Split(3)),
    ("SQUEEZE", {"dimensions": (0,)}, Squeeze((0,))),
    ("SQUEEZE", {}, Squeeze(())),
    ("STRIDED_SLICE", {"begin_mask": 1, "end_mask": 2, "shrink_mask": 4}, StridedSlice(1, 2, shrink_mask=4)),
    ("PACK", {"axis": 2}, Pack(1, 2)),
    ("UNPACK", {"axis": 3}, Pack(4, 3)),
    ("RESIZE_NEAREST_NEIGHBOR", {"half_pixel_centers": True}, ResizeNearestNeighbor(half_pixel_centers=True)),
]


@pytest.mark.parametrize(("kind", "options", "expected"), PARSED)
def test_attributes_from_a_file(kind: str, options: dict[str, Any], expected: object) -> None:
    assert graph_of(kind, **options).ops[0].attrs == expected


@pytest.mark.parametrize("kind", [kind for kind, entry in OPERATORS.items() if entry.moves is not None])
def test_every_element_of_every_output_is_written_once(kind: str) -> None:
    """What lets a move stand for an operator: the boxes cover the outputs and do not overlap."""
    graph = graph_of(kind)
    (op,) = graph.ops
    moves = OPERATORS[kind].moves
    assert moves is not None
    written = [np.zeros(graph.tensor(t).elements, int) for t in op.outputs]
    for move in moves(graph, op):
        at = np.indices(move.extents).reshape(len(move.extents), -1).T @ np.array(move.to_strides)
        np.add.at(written[move.output], move.to + at, 1)
    assert all((counts == 1).all() for counts in written)
