"""Vectors in the loop IR: what a load, a store and an intrinsic on lanes mean, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.compiler.interpret import run
from harness.compiler.intrinsics.base import Intrinsic
from harness.compiler.intrinsics.lanes import I8X4, I8X16, I16X8, I32X4
from harness.compiler.loops import (
    Alloc,
    Binary,
    Block,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Program,
    Store,
    Var,
    load,
    minimum,
    store,
)
from harness.compiler.render_asm import printable
from harness.compiler.render_c import render_function
from harness.compiler.schedule import copy
from harness.compiler.share import share_loads
from harness.compiler.verify import verify
from harness.dtypes import DType, Vec
from harness.errors import CompilerBug

MVE, WORDS = frozenset({"mve"}), frozenset({"thumb2"})
P, K = Var("p"), Var("k")

SUM = Intrinsic("nn_sum", (("x", I8X16),), DType.I32, lambda x: x.sum(axis=-1), "")
SCALE = Intrinsic("nn_scale", (("x", I32X4), ("by", DType.I32)), I32X4, lambda x, by: x * by[..., None], "")


def memory(name: str, dtype: DType, *shape: int) -> Buffer:
    return Buffer(name, dtype, shape, "output" if name == "output" else "input")


def over(var: str, count: int, *body, parallel: bool = True, step: int = 1) -> For:
    return For(var, Const(0), Const(count), body, step, parallel)


def row_sums(rows: int, depth: int) -> Program:
    """output[p] = sum of input[p, :], 16 at a time, the last vector predicated; plus 0 from a scalar register."""
    x, y = memory("input", DType.I8, rows, depth), memory("output", DType.I32, rows)
    acc = Buffer("acc", DType.I32, (), "register")
    part = Let("part", load(x, P, K, lanes=I8X16, active=Const(depth) - K))
    add = Store(acc, (), load(acc) + Call(SUM, (part.var,)))
    loop = over("k", depth, part, add, parallel=False, step=16)
    return Program(
        "sums", (x, y), (over("p", rows, Alloc(acc), store(acc, value=0), loop, store(y, P, value=load(acc))),)
    )


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_predicated_loads_sum_a_row_of_any_length(rows: int, depth: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-128, 128, (rows, depth)).astype(np.int8)
    program = verify(row_sums(rows, depth), "test", MVE)
    assert run(program, {"input": x})["output"].tolist() == x.astype(int).sum(axis=1).tolist()


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.booleans(), st.integers(0, 2**32 - 1))
def test_widened_lanes_scaled_by_a_scalar_and_stored_under_a_predicate(
    rows: int, width: int, parallel: bool, seed: int
) -> None:
    x, y = memory("input", DType.I8, rows, width), memory("output", DType.I32, rows, width)
    at = over(
        "k",
        width,
        Let("v", load(x, P, K, lanes=I32X4, active=Const(width) - K)),
        Store(y, (P, K), Call(SCALE, (Var("v", I32X4), P + 1)), Const(width) - K),
        parallel=parallel,
        step=4,
    )
    program = verify(Program("scaled", (x, y), (over("p", rows, at, parallel=parallel),)), "test", MVE)
    data = np.random.default_rng(seed).integers(-128, 128, (rows, width)).astype(np.int8)
    want = data.astype(int) * (np.arange(rows)[:, None] + 1)
    assert np.array_equal(run(program, {"input": data})["output"], want)


def whole_rows(lanes: Vec, depth: int, step: int, *, element: DType = DType.I8, rows: int = 2) -> Program:
    """output = input, a vector at a time."""
    x, y = memory("input", element, rows, depth), memory("output", element, rows, depth)
    move = Store(y, (P, K), load(x, P, K, lanes=lanes))
    return Program("moved", (x, y), (over("p", rows, over("k", depth, move, step=step)),))


@pytest.mark.parametrize(("lanes", "features"), [(I8X4, WORDS), (I8X16, MVE), (I16X8, MVE), (I32X4, MVE)])
def test_a_vector_moves_its_elements(lanes: Vec, features: frozenset[str]) -> None:
    program = verify(whole_rows(lanes, 16, lanes.lanes), "test", features)
    x = np.arange(-16, 16, dtype=np.int8).reshape(2, 16)
    assert np.array_equal(run(program, {"input": x})["output"], x)
    assert "nn_load_" in render_function(program)
    assert "nn_store_" in render_function(program)


@given(st.integers(1, 4), st.integers(8, 20), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_lanes_apart_turn_columns_into_rows(rows: int, width: int, apart: int, seed: int) -> None:
    """output[p, c * width + i] = input[p, i * apart + c], eight at a time, the last eight reaching back."""
    x, y = memory("input", DType.I8, rows, width * apart), memory("output", DType.I8, rows, width * apart)
    held = Buffer("held", DType.I8, (width * apart,), "register")
    c, at = Var("c"), minimum(K, width - 8)
    spread = Store(held, (at * apart + c,), load(x, P, at * apart + c, lanes=I16X8, apart=apart), apart=apart)
    read = Load(held, (at * apart + c,), I16X8, apart=apart)
    fill = over("c", apart, over("k", width, spread, parallel=False, step=8), parallel=False)
    empty = over("c", apart, over("k", width, Store(y, (P, c * width + at), read), parallel=False, step=8))
    program = verify(
        Program("p", (x, y), (over("p", rows, Alloc(held), fill, replace(empty, parallel=False)),)), "test", MVE
    )
    data = np.random.default_rng(seed).integers(-128, 128, (rows, width * apart)).astype(np.int8)
    want = data.reshape(rows, width, apart).transpose(0, 2, 1).reshape(rows, -1)
    assert np.array_equal(run(program, {"input": data})["output"], want)


def test_lanes_apart_stay_inside_the_last_dimension_and_within_their_offsets() -> None:
    x, y = memory("input", DType.I8, 16), memory("output", DType.I8, 16)
    beyond = Store(y, (Const(0),), load(x, 2, lanes=I16X8, apart=2))  # the last lane is element 16 of 16
    assert "never fits" in refused(Program("p", (x, y), (beyond,)))
    later = over("k", 2, Store(y, (Const(0),), load(x, K + 1, lanes=I16X8, apart=2)))
    assert "leaves the last dimension" in refused(Program("p", (x, y), (later,)))
    far = Buffer("input", DType.I8, (80_000,), "input")
    assert "too far apart" in refused(
        Program("p", (far, y), (Store(y, (Const(0),), load(far, 0, lanes=I16X8, apart=9363)),))
    )


def test_a_part_of_a_register_array_is_written_and_read() -> None:
    """Three of four elements go in; what is read beyond them is 0."""
    x, y = memory("input", DType.I8, 2, 3), memory("output", DType.I32, 2, 4)
    held = Buffer("held", DType.I8, (3,), "register")
    three = load(x, P, 0, lanes=I32X4, active=3)
    body = (
        Alloc(held),
        Store(held, (Const(0),), three, Const(3)),
        Store(y, (P, Const(0)), load(held, 0, lanes=I32X4, active=3)),
    )
    program = verify(Program("p", (x, y), (over("p", 2, *body),)), "test", MVE)
    data = np.arange(1, 7, dtype=np.int8).reshape(2, 3)
    assert run(program, {"input": data})["output"].tolist() == [[1, 2, 3, 0], [4, 5, 6, 0]]


def refused(program: Program, features: frozenset[str] = MVE, data: np.ndarray | None = None) -> str:
    def attempt() -> None:
        verify(program, "test", features)
        x = program.of_space("input")[0]
        run(program, {"input": np.ones(x.shape, x.element.np) if data is None else data})

    with pytest.raises(CompilerBug) as caught:
        attempt()
    return str(caught.value)


def test_a_vector_stays_inside_the_last_dimension() -> None:
    assert "leaves the last dimension" in refused(whole_rows(I8X4, 6, 4), WORDS)  # elements 4 … 7 of 6
    assert "never fits" in refused(whole_rows(I8X16, 8, 16))


def test_vectors_need_the_feature_and_an_instruction() -> None:
    assert "no instruction of the target" in refused(whole_rows(I8X16, 16, 16), WORDS)
    assert "no instruction of the target" in refused(whole_rows(Vec(DType.I8, 8), 16, 8))


def body(*statements, outputs: int = 16) -> Program:
    x, y = memory("input", DType.I8, 16), memory("output", DType.I8, outputs)
    return Program("p", (x, y), tuple(s(x, y) if callable(s) else s for s in statements))


def test_arithmetic_is_for_scalars() -> None:
    added = body(lambda x, y: Let("v", load(x, 0, lanes=I8X16) + load(x, 0, lanes=I8X16)))
    assert "arithmetic on vectors" in refused(added)


def test_two_iterations_may_not_write_one_lane() -> None:
    x, y = memory("input", DType.I8, 24), memory("output", DType.I8, 24)
    at = For("k", Const(0), Const(9), (Store(y, (K,), load(x, 0, lanes=I8X16)),), 8, parallel=True)
    program = Program("p", (x, y), (at,))
    assert "two iterations of parallel k" in refused(program, data=np.arange(24, dtype=np.int8))


def test_two_iterations_may_write_the_same_value() -> None:
    """A last block that reaches back computes again what is there already."""
    x, y = memory("input", DType.I8, 24), memory("output", DType.I8, 24)
    at = For("k", Const(0), Const(9), (Store(y, (K,), load(x, K, lanes=I8X16)),), 8, parallel=True)
    data = np.arange(24, dtype=np.int8)
    assert np.array_equal(run(verify(Program("p", (x, y), (at,)), "test", MVE), {"input": data})["output"], data)


def test_a_vector_goes_into_a_register_array_and_comes_back() -> None:
    """Two halves of a row, swapped on their way through."""
    x, y = memory("input", DType.I8, 3, 8), memory("output", DType.I8, 3, 8)
    held = Buffer("held", DType.I8, (2, 4), "register", align=4)
    fill = over("k", 2, Store(held, (1 - K, Const(0)), load(x, P, K * 4, lanes=I8X4)), parallel=False)
    empty = over("k", 2, Store(y, (P, K * 4), load(held, K, 0, lanes=I8X4)), parallel=False)
    program = verify(Program("p", (x, y), (over("p", 3, Alloc(held), fill, empty),)), "test", WORDS)
    data = np.arange(24, dtype=np.int8).reshape(3, 8)
    assert np.array_equal(run(program, {"input": data})["output"], np.roll(data, 4, axis=1))
    assert "_Alignas(4) int8_t held[8];" in render_function(program)
    beyond = over("p", 3, Alloc(held), Store(held, (Const(0), Const(1)), load(x, P, 0, lanes=I8X4)))
    assert "never fits" in refused(Program("p", (x, y), (beyond,)), WORDS)


def test_a_narrowing_store_that_overflows_is_refused() -> None:
    big = Intrinsic("nn_big", (("x", I32X4),), I32X4, lambda x: x + 200, "")
    y = memory("output", DType.I8, 4)
    x = memory("input", DType.I8, 4)
    program = Program("p", (x, y), (Store(y, (Const(0),), Call(big, (load(x, 0, lanes=I32X4),))),))
    assert "overflow of int8" in refused(program)


def test_an_intrinsic_that_leaves_its_lanes_range_is_refused() -> None:
    wide = Intrinsic("nn_wide", (("x", I8X16),), I8X16, lambda x: x + 127, "")
    x, y = memory("input", DType.I8, 16), memory("output", DType.I8, 16)
    program = Program("p", (x, y), (Store(y, (Const(0),), Call(wide, (load(x, 0, lanes=I8X16),))),))
    assert "overflow of int8x16" in refused(program)


def test_lanes_left_out_are_neither_written_nor_read() -> None:
    program = body(lambda x, y: Store(y, (Const(0),), load(x, 0, lanes=I8X16), Const(15)))
    assert "1 elements of output are never written" in refused(program)


def test_under_a_branch_only_its_iterations_count() -> None:
    """The vector of p = 2 would leave the buffer: it is read only where p < 2."""
    x, y = memory("input", DType.I8, 32), memory("output", DType.I32, 3)
    acc = Buffer("acc", DType.I32, (), "register")
    inside: Block = (Store(acc, (), Call(SUM, (load(x, P * 16, lanes=I8X16),))),)
    loop = over("p", 3, Alloc(acc), store(acc, value=7), If(P < 2, inside), store(y, P, value=load(acc)))
    data = np.arange(32, dtype=np.int8)
    result = run(verify(Program("p", (x, y), (loop,)), "test", MVE), {"input": data})["output"]
    assert result.tolist() == [sum(range(16)), sum(range(16, 32)), 7]


def test_transformations_keep_lanes_and_predicates() -> None:
    program = row_sums(2, 20)
    (loop,) = program.body
    assert isinstance(loop, For)
    twice = replace(program, body=tuple(s for n in (0, 1) for s in copy(loop.body, f"_{n}", {"p": Const(n)})))
    data = np.arange(40, dtype=np.int8).reshape(2, 20)
    for changed in (twice, share_loads(twice)):
        result = run(verify(changed, "test", MVE), {"input": data})["output"]
        assert result.tolist() == data.astype(int).sum(axis=1).tolist()


def test_a_kernel_is_an_innermost_loop() -> None:
    inner = over("k", 4, parallel=False)
    outer = replace(over("p", 4, inner, parallel=False), kernel=1)
    assert "not an innermost loop" in refused(body(outer))


def test_a_kernel_walks_evenly_through_what_it_loads() -> None:
    """Words one after the other have an instruction each; every second one twice cannot be walked through."""
    x = Buffer("x", DType.I32, (8,), "const", np.arange(8, dtype=np.int32))
    w = Buffer("w", DType.I32, (8,), "const", np.arange(8, dtype=np.int32))
    sums = Buffer("sums", DType.I32, (1,), "register")
    k = Var("k")

    def kernel(at: Expr) -> For:
        lets = [Let("a", load(x, at)), Let("b", load(w, k))]
        add = Store(sums, (Const(0),), load(sums, 0) + lets[0].var * lets[1].var)
        return For("k", Const(0), Const(8), (*lets, add), kernel=2)

    assert printable(kernel(k))
    with pytest.raises(CompilerBug, match="does not walk evenly"):
        printable(kernel(Binary("shr", k, Const(1))))
