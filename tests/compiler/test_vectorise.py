"""Loops in lanes against the same loops one iteration at a time, and what has no form in lanes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board import core_target
from harness.compiler.interpret import run
from harness.compiler.intrinsics import fixed_point
from harness.compiler.intrinsics.lanes import I8X16, I32X4
from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    Let,
    Program,
    Select,
    Store,
    Var,
    accumulate,
    binary,
    cast,
    load,
    maximum,
    minimum,
    store,
)
from harness.compiler.lowering.building import parallel, serial
from harness.compiler.vectorise import NoVectors, vectorise
from harness.compiler.verify import verify
from harness.dtypes import DType

M55 = core_target("cortex-m55")
I32 = DType.I32
I, K = Var("i"), Var("k")
X = Buffer("input", DType.I8, (3, 50), "input")
Y = Buffer("input_1", DType.I8, (50,), "input")


def wide(value: Expr) -> Expr:
    return cast(value, I32)


small = st.integers(-100, 100)
leaves = st.one_of(
    st.just(wide(load(X, 1, I))),
    st.just(wide(load(Y, I))),
    st.just(wide(load(Y, I * 3))),
    st.just(wide(load(Y, 5))),
    small.map(Const),
)


def grown(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    def bounded(value: Expr) -> Expr:
        return maximum(minimum(value, 4000), -4000)

    pair = st.tuples(inner.map(bounded), inner.map(bounded))
    return st.one_of(
        st.tuples(st.sampled_from(["add", "sub", "mul", "min", "max"]), pair).map(lambda t: binary(t[0], *t[1])),
        st.tuples(inner.map(bounded), small).map(lambda t: t[0] * t[1] + 7),
        st.tuples(inner.map(bounded), small, inner.map(bounded)).map(lambda t: t[0] * t[1] + t[2]),
        st.tuples(inner, st.integers(1, 9)).map(lambda t: t[0] >> t[1]),
        st.tuples(inner, st.integers(2, 9)).map(lambda t: binary("div", t[0], Const(t[1]))),
        st.tuples(pair, pair).map(lambda t: Select(t[0][0] > t[0][1], *t[1])),
        st.tuples(pair, pair).map(lambda t: Select(t[0][0] < t[0][1], *t[1])),
        st.tuples(inner, st.integers(1 << 30, (1 << 31) - 1), st.integers(1, 9)).map(
            lambda t: Call(fixed_point.REQUANTISE, (t[0], Const(t[1]), Const(t[2])))
        ),
        st.tuples(st.sampled_from([fixed_point.RESCALE, fixed_point.RESCALE_UP]), inner, st.integers(1, 9), small).map(
            lambda t: Call(t[0], (t[1], Const(1_500_000_001), Const(t[2]), Const(t[3])))
        ),
        st.tuples(st.sampled_from([fixed_point.HIGH_ADD, fixed_point.HIGH_ADD_ROUNDED]), inner, small).map(
            lambda t: Call(t[0], (t[1], Const(1_900_000_003), Const(t[2])))
        ),
        inner.map(lambda value: Call(fixed_point.HIGH_MUL, (value, Const(2_000_000_011)))),
        inner.map(lambda value: wide(Call(fixed_point.SATURATE_I8, (value,)))),
        st.tuples(inner, st.integers(1, 24)).map(lambda t: wide(Call(fixed_point.saturate_shifted(t[1]), (t[0],)))),
    )


expressions = st.recursive(leaves, grown, max_leaves=8)


def both_ways(body: Block, y: Buffer, count: int) -> None:
    """The loop over i, iteration by iteration and in lanes."""
    plain = Program("p", (X, Y, y), (parallel("i", count, *body),))
    lanes = Program("p", (X, Y, y), vectorise(plain.body, "i", I32X4))
    rng = np.random.default_rng(count)
    data = {b.name: rng.integers(-128, 128, b.shape).astype(np.int8) for b in (X, Y)}
    want, got = run(verify(plain, "test"), data), run(verify(lanes, "test", M55.instructions), data)
    assert np.array_equal(want["output"], got["output"])


@settings(deadline=None, max_examples=150)
@given(expressions, st.integers(1, 16))
def test_every_operation_means_the_same_in_lanes(value: Expr, count: int) -> None:
    y = Buffer("output", I32, (count,), "output")
    named = Let("v", value)
    both_ways((named, store(y, I, value=maximum(named.var, -(1 << 20)))), y, count)


@pytest.mark.parametrize("count", [3, 4, 13])
def test_a_register_of_the_loop_becomes_a_vector(count: int) -> None:
    y = Buffer("output", I32, (count,), "output")
    acc = Buffer("acc", I32, (), "register")
    total = serial("k", 0, 3, accumulate(acc, wide(load(X, K, I))))
    both_ways((Alloc(acc), store(acc, value=5), total, store(y, I, value=load(acc) + 1)), y, count)


def test_what_is_only_compared_goes_by_bytes() -> None:
    y = Buffer("output", DType.I8, (37,), "output")
    top = Buffer("top", I32, (), "register")
    step = serial("k", 0, 3, Store(top, (), maximum(load(top), wide(load(X, K, I)))))
    last = store(y, I, value=cast(minimum(load(top), 90), DType.I8))
    plain = Program("p", (X, y), (parallel("i", 37, Alloc(top), store(top, value=-128), step, last),))
    lanes = Program("p", (X, y), vectorise(plain.body, "i", I8X16))
    data = {"input": np.random.default_rng(0).integers(-128, 128, X.shape).astype(np.int8)}
    want, got = run(verify(plain, "test"), data), run(verify(lanes, "test", M55.instructions), data)
    assert np.array_equal(want["output"], got["output"])
    with pytest.raises(NoVectors, match="an operation"):
        vectorise((parallel("i", 37, store(y, I, value=cast(wide(load(X, 0, I)) + 1, DType.I8))),), "i", I8X16)


F = Buffer("floats", DType.F32, (50,), "input")
TABLE = Buffer("table", I32, (256,), "const", np.arange(256, dtype=np.int32))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (load(TABLE, wide(load(Y, I)) + 128), "does not run along"),
        (I + 1, "a loop variable as a value"),
        (wide(load(X, I, 3)), "does not run along"),
        (cast(load(F, I), I32), "a cast"),
        (wide(load(Y, Const(49) - I)), "does not run along"),
        (Call(fixed_point.CLZ, (wide(load(Y, I)),)), "an intrinsic"),
    ],
)
def test_what_has_no_form_in_lanes_is_refused(value: Expr, why: str) -> None:
    y = Buffer("output", I32, (3,), "output")
    with pytest.raises(NoVectors, match=why):
        vectorise((parallel("i", 3, store(y, I, value=value)),), "i", I32X4)


def test_a_loop_whose_iterations_wait_for_each_other_is_refused() -> None:
    y = Buffer("output", I32, (8,), "output")
    loop = For("i", Const(0), Const(8), (store(y, I, value=wide(load(Y, I))),))
    with pytest.raises(NoVectors, match="not a parallel one"):
        vectorise((loop,), "i", I32X4)


def test_a_bound_that_differs_from_lane_to_lane_is_refused() -> None:
    y = Buffer("output", I32, (8,), "output")
    acc = Buffer("acc", I32, (), "register")
    inner = serial("k", 0, minimum(I, 3), accumulate(acc, wide(load(X, K, I))))
    body = (Alloc(acc), store(acc, value=0), inner, store(y, I, value=load(acc)))
    with pytest.raises(NoVectors, match="that differs from lane to lane"):
        vectorise((parallel("i", 8, *body),), "i", I32X4)
