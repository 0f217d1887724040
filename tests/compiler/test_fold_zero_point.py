"""The zero point goes into the bias where that is exact, and stays where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from harness.board import core_target
from harness.compiler.fold_zero_point import TABLE, fold_zero_point
from harness.compiler.frontends import parse_model
from harness.compiler.interpret import run
from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Program,
    Var,
    accumulate,
    cast,
    load,
    minimum,
    store,
    walk,
    walk_expr,
)
from harness.compiler.pipeline import compile_graph
from harness.compiler.verify import verify
from harness.dtypes import DType
from tests.compiler.ops.oracle import draw
from tests.compiler.passes.test_fold_moves import compare_layers
from tests.models import Net

CHANNELS, DEPTH = 3, 4
C, K = Var("c"), Var("k")
X = Buffer("input", DType.I8, (DEPTH,), "input")
Y = Buffer("output", DType.I32, (2, CHANNELS), "output")


def table(name: str, *shape: int, low: int = -127, high: int = 127, dtype: DType = DType.I8) -> Buffer:
    data = np.random.default_rng(len(name)).integers(low, high, shape, dtype.np, endpoint=True)
    return Buffer(name, dtype, shape, "const", data)


def bias(name: str, value: int) -> Buffer:
    return Buffer(name, DType.I32, (CHANNELS,), "const", np.arange(value, value + CHANNELS, dtype=np.int32))


W, W2 = table("weights", CHANNELS, DEPTH), table("more_weights", CHANNELS, DEPTH)
WHOLE = Const(DEPTH)
B, B2 = bias("bias", 100), bias("other_bias", -900)


def sums(row: int, start: Buffer, weights: Buffer, stop: Expr = WHOLE) -> Block:
    """output[row, c] = start[c] + sum of (input[k] - 9) * weights[c, k]."""
    acc = Buffer(f"acc_{row}", DType.I32, (), "register")
    x = cast(load(X, K), DType.I32) - 9
    return (
        Alloc(acc),
        store(acc, value=load(start, C)),
        For("k", Const(0), stop, (accumulate(acc, x * cast(load(weights, C, K), DType.I32)),)),
        store(Y, row, C, value=load(acc)),
    )


def program(*body, tables: tuple[Buffer, ...] = (W, W2, B, B2)) -> Program:
    return Program("layer_0", (X, Y, *tables), (For("c", Const(0), Const(CHANNELS), body, parallel=True),))


def folded(plain: Program) -> Program:
    """The folded program, which computes the same at both ends of the input's range and in between."""
    result = fold_zero_point(plain)
    verify(result, "folding")
    for values in (np.full(DEPTH, -128), np.full(DEPTH, 127), np.arange(DEPTH) * 37 - 50):
        inputs = {"input": values.astype(np.int8)}
        assert np.array_equal(run(plain, inputs)["output"], run(result, inputs)["output"])
    return result


def zero_points_left(p: Program) -> int:
    stores = [s for s in walk(p.body) if type(s).__name__ == "Store"]
    return sum(n == Const(9) for s in stores for n in walk_expr(s.value))


def test_one_table_serves_equal_sums() -> None:
    result = folded(program(*sums(0, B, W), *sums(1, B, W)))
    assert [b.name for b in result.buffers].count(TABLE) == 1
    assert zero_points_left(result) in (0, 1)  # the second has an accumulator of its own: it may stay as it was


@pytest.mark.parametrize(("start", "weights"), [(B, W2), (B2, W), (B2, W2)])
def test_another_sum_or_bias_never_gets_the_first_ones_table(start: Buffer, weights: Buffer) -> None:
    assert zero_points_left(folded(program(*sums(0, B, W), *sums(1, start, weights)))) == 1


def test_clipped_loops_keep_their_zero_point() -> None:
    clipped = sums(1, B2, W, stop=minimum(DEPTH, C + 2))
    assert zero_points_left(folded(program(*sums(0, B, W), *clipped))) == 1


def test_taps_that_are_others_for_each_output_keep_their_zero_point() -> None:
    """A table has one entry a channel."""
    row = Var("row")
    taps = table("taps", 2, CHANNELS, DEPTH)
    acc = Buffer("acc", DType.I32, (), "register")
    x = cast(load(X, K), DType.I32) - 9
    body = (
        Alloc(acc),
        store(acc, value=load(B, C)),
        For("k", Const(0), WHOLE, (accumulate(acc, x * cast(load(taps, row, C, K), DType.I32)),)),
        store(Y, row, C, value=load(acc)),
    )
    rows = For("row", Const(0), Const(2), body, parallel=True)
    assert zero_points_left(folded(program(rows, tables=(taps, B)))) == 1


@pytest.mark.parametrize(
    ("shape", "pad", "kernel", "stride"),
    [
        ((2, 1), (0, 1), (2, 3), (2, 1)),
        ((2, 1), (0, 1), (3, 3), (2, 1)),
        ((2, 1), (1, 0), (2, 2), (2, 1)),
        ((2, 1), (1, 0), (3, 2), (2, 1)),
        ((1, 2), (0, 1), (3, 2), (1, 2)),
    ],
)
def test_an_input_one_element_wide_in_its_padding(
    shape: tuple[int, int], pad: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    """Each output of a row has another tap on the only column that there is."""
    net = Net(1)
    x = net.input((1, *shape, 2), quant=(0.05, 3))
    padded = net.padv2(x, ((0, 0), (0, 0), pad, (0, 0)), value=3)
    net.depthwise_conv2d(padded, kernel, stride=stride, quant=(0.05, 3))
    graph = parse_model(net.build(), "net.tflite")
    for core in ("host", "cortex-m0", "cortex-m4"):
        compile_graph(graph, core_target(core))  # proves every schedule that it looks at
    for seed in range(3):
        compare_layers(graph, draw(graph, seed), frozenset())


@pytest.mark.parametrize("end", [DType.I32.max, DType.I32.min])
def test_sums_that_reach_the_end_of_int32_stay_inside(end: int) -> None:
    """The interpreter refuses an overflow; what x - 9 adds at most is at x = -128."""
    away = -1 if end > 0 else 1
    heavy = Buffer("weights", DType.I8, (CHANNELS, DEPTH), "const", np.full((CHANNELS, DEPTH), away * 100, np.int8))
    most = DEPTH * 100 * (128 + 9)
    edge = Buffer("bias", DType.I32, (CHANNELS,), "const", np.full(CHANNELS, end + away * most, np.int32))
    plain = program(*sums(0, edge, heavy), *sums(1, edge, heavy), tables=(heavy, edge))
    assert end in run(plain, {"input": np.full(DEPTH, -128, np.int8)})["output"]
    assert TABLE in [b.name for b in folded(plain).buffers]
