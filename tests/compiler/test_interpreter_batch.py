"""A serial loop that the interpreter runs as one computes, and is refused, as one that it runs step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compiler import interpret, interpreter_sums
from harness.compiler.interpret import run
from harness.compiler.interpreter_batch import batch_of
from harness.compiler.interpreter_values import Evaluator
from harness.compiler.intrinsics import dsp
from harness.compiler.intrinsics.lanes import I16X2, I16X8
from harness.compiler.loops import (
    Alloc,
    Buffer,
    Call,
    Const,
    For,
    If,
    Let,
    Load,
    Program,
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
from harness.dtypes import DType
from harness.errors import CompilerBug
from tests.compiler.small_programs import ACC, I, J, K, both_ways, const, output, parallel, program, serial


@given(st.integers(1, 5), st.integers(1, 4), st.integers(2, 6), st.integers(0, 3), st.integers(1, 2), st.data())
def test_windows_that_border_on_nothing(
    pixels: int, channels: int, taps: int, pad: int, step: int, data: st.DataObject
) -> None:
    """A convolution along one dimension whose windows are clipped, in pieces of a few iterations or whole."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = const("x", rng.integers(-128, 128, pixels + 2), DType.I8)
    w = const("w", rng.integers(-128, 128, (channels, taps)), DType.I8)
    y = output(pixels, channels)
    term = (cast(load(x, I + K - pad), DType.I32) + 128) * cast(load(w, J, K), DType.I32)
    window = serial("k", maximum(0, pad - I), minimum(taps, pixels + 2 + pad - I), accumulate(ACC, term), step=step)
    body = (Alloc(ACC), store(ACC, value=J * 1000), window, store(y, I, J, value=load(ACC)))
    p = program(y, parallel("i", pixels, parallel("j", channels, *body)), consts=(x, w))
    assert batch_of(window) is not None
    with pytest.MonkeyPatch.context() as patched:
        whole = both_ways(patched, p)
        patched.setattr(interpreter_sums, "FEW", 0)
        assert np.array_equal(both_ways(patched, p), whole)
        patched.setattr(interpret, "LANES", 3 * pixels * channels)
        assert np.array_equal(both_ways(patched, p), whole)


@pytest.mark.parametrize("stop", [5, 9])
def test_an_index_past_the_end_is_found_in_the_last_iteration(stop: int) -> None:
    x, y = const("x", [1, 2, 3, 4]), output(2)
    body = (Alloc(ACC), store(ACC, value=0), serial("k", 0, stop, accumulate(ACC, load(x, K))))
    with pytest.raises(CompilerBug, match="index outside x"):
        run(program(y, parallel("i", 2, *body, store(y, I, value=load(ACC))), consts=(x,)), {})


PATCH = Buffer("patch", DType.I32, (6,), "register")


def test_a_patch_is_filled_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies outside the input is -1, branch by branch and lane by lane."""
    x, y = const("x", range(10, 40)), output(9)
    at = Let("at", I * 3 + K - 2)
    inside = binary("and", at.var >= 0, at.var < 20)
    fill = If(inside, (serial("k", 0, 6, at, store(PATCH, 5 - K, value=load(x, at.var))),))
    filled = serial("k", 0, 6, store(PATCH, K, value=-1))
    summed = serial("k", 0, 6, accumulate(ACC, load(PATCH, K) * (K + 1)))
    guarded = serial("k", 0, 6, at, If(inside, fill.then[0].body[1:]))  # type: ignore[union-attr]
    body = (Alloc(PATCH), filled, guarded, Alloc(ACC), store(ACC, value=0), summed, store(y, I, value=load(ACC)))
    got = both_ways(monkeypatch, program(y, parallel("i", 9, *body), consts=(x,)))
    for i in range(9):
        patch = [-1] * 6
        for k in range(6):
            if 0 <= i * 3 + k - 2 < 20:
                patch[5 - k] = 10 + i * 3 + k - 2
        assert got[i] == sum(v * (n + 1) for n, v in enumerate(patch))


def test_pairs_are_stored_and_loaded_by_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    patch = Buffer("patch", DType.I16, (3, 4), "register", align=4)
    x, y = const("x", np.arange(24).reshape(2, 12) * 7, DType.I16), output(2)
    word = Let("word", Load(x, (I, K * 4 + J * 2), I16X2))
    put = serial("k", 0, 3, word, Store(patch, (2 - K, J * 2), word.var))
    pair = Load(patch, (K, J * 2), I16X2)
    add = serial("k", 0, 3, Store(ACC, (), Call(dsp.SMLAD, (pair, pair, load(ACC)))))
    body = (Alloc(patch), serial("j", 0, 2, put), Alloc(ACC), store(ACC, value=1), serial("j", 0, 2, add))
    p = program(y, parallel("i", 2, *body, store(y, I, value=load(ACC))), consts=(x,))
    assert batch_of(put) is not None
    assert batch_of(add) is not None
    wide = x.data.astype(np.int64) if x.data is not None else None
    assert wide is not None
    assert both_ways(monkeypatch, p).tolist() == [1 + int((row**2).sum()) for row in wide]


def test_iterations_that_see_each_other_run_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    y = output(2)
    chained = serial("k", 0, 5, store(PATCH, K + 1, value=load(PATCH, K) * 2))
    same = serial("k", 0, 6, store(PATCH, binary("div", K, Const(2)), value=K))
    body = (Alloc(PATCH), store(PATCH, 0, value=3), chained, store(y, I, value=load(PATCH, 5)))
    assert both_ways(monkeypatch, program(y, parallel("i", 2, *body))).tolist() == [96, 96]
    body = (Alloc(PATCH), same, store(y, I, value=load(PATCH, 1)))
    assert both_ways(monkeypatch, program(y, parallel("i", 2, *body))).tolist() == [3, 3]
    ahead = serial("k", 0, 5, store(PATCH, K, value=K), store(PATCH, K + 1, value=Const(100)))
    body = (Alloc(PATCH), ahead, store(y, I, value=load(PATCH, 1) + load(PATCH, 5)))
    assert both_ways(monkeypatch, program(y, parallel("i", 2, *body))).tolist() == [101, 101]


def test_lanes_of_the_other_branch_keep_what_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    y = output(6)
    clipped = serial("k", maximum(0, 2 - I), minimum(4, 7 - I), accumulate(ACC, K + 1))
    plain = serial("k", 0, 4, accumulate(ACC, K + 1))
    for loop, want in ((clipped, [7, 9, 10, 50, 50, 50]), (plain, [10, 10, 10, 50, 50, 50])):
        branch = If(binary("lt", I, Const(3)), (loop,), (store(ACC, value=50),))
        body = (Alloc(ACC), store(ACC, value=0), branch, store(y, I, value=load(ACC)))
        assert both_ways(monkeypatch, program(y, parallel("i", 6, *body))).tolist() == want


def test_an_iteration_that_no_lane_takes_writes_nothing() -> None:
    """Lanes 0 and 1 take the branch, and of its loop the iterations before their own number."""
    y = output(4)
    loop = serial("k", Const(0), maximum(0, I), store(PATCH, K, value=K))
    branch = If(binary("lt", I, Const(2)), (loop,))
    body = (Alloc(PATCH), branch, store(y, I, value=load(PATCH, 1)))
    with pytest.raises(CompilerBug, match="read before it is written"):
        run(program(y, parallel("i", 4, *body)), {})


def test_two_steps_of_one_sum_run_in_order() -> None:
    """Each alone would stay inside: both together pass the top in between."""
    x, y = const("x", [2**30, 2**30 - 1]), output(1)
    up, down = accumulate(ACC, load(x, K)), accumulate(ACC, 0 - load(x, K))
    body = (Alloc(ACC), store(ACC, value=2**30), serial("k", 0, 2, up, down), store(y, 0, value=load(ACC)))
    with pytest.raises(CompilerBug, match="overflow"):
        run(program(y, *body, consts=(x,)), {})


def test_what_was_never_written_is_not_read() -> None:
    y = output(2)
    some = serial("k", 0, 5, store(PATCH, K, value=K))
    add = serial("k", 0, 6, accumulate(ACC, load(PATCH, K)))
    body = (Alloc(PATCH), some, Alloc(ACC), store(ACC, value=0), add, store(y, I, value=load(ACC)))
    with pytest.raises(CompilerBug, match="read before it is written"):
        run(program(y, parallel("i", 2, *body)), {})
    lost = (Alloc(ACC), serial("k", 0, 3, accumulate(ACC, K)), store(y, I, value=load(ACC)))
    with pytest.raises(CompilerBug, match="read before it is written"):
        run(program(y, parallel("i", 2, *lost)), {})


def test_a_register_of_outside_is_not_written_by_many() -> None:
    y = output(4)
    body = parallel("i", 4, serial("k", 0, 3, accumulate(ACC, K)))
    with pytest.raises(CompilerBug, match="several iterations"):
        run(program(y, Alloc(ACC), store(ACC, value=0), body), {})


def test_names_of_a_loop_end_with_it() -> None:
    x, y = const("x", [1, 2, 3]), output(1)
    one = Let("one", load(x, K))
    loop = serial("k", 0, 3, one, accumulate(ACC, one.var))
    with pytest.raises(CompilerBug, match="a name without a value"):
        run(program(y, Alloc(ACC), store(ACC, value=0), loop, store(y, 0, value=one.var), consts=(x,)), {})


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.data())
def test_windows_with_a_border_are_copied_at_once(
    pixels: int, height: int, width: int, depth: int, pad: int, data: st.DataObject
) -> None:
    """Loops in loops, of other lengths in the two branches: every lane takes its own way through every iteration."""
    size = pixels + 2
    x = const("x", np.random.default_rng(data.draw(st.integers(0, 99))).integers(-99, 99, (size, size, depth)))
    patch = Buffer("patch", DType.I32, (height * width, depth), "register")
    row, column = Let("row", I + Var("ky") - pad), Let("column", J + Var("kx") - pad)
    at = Let("at", Var("ky") * width + Var("kx"))
    inside = binary(
        "and", binary("and", row.var >= 0, row.var < size), binary("and", column.var >= 0, column.var < size)
    )
    copied = serial("k", 0, depth, store(patch, at.var, K, value=load(x, row.var, column.var, K)))
    filled = [store(patch, at.var, n, value=7) for n in range(depth)]
    loop = serial("ky", 0, height, row, serial("kx", 0, width, column, at, If(inside, (copied,), tuple(filled))))
    y = output(pixels, pixels, height * width * depth)
    taken = [
        store(y, I, J, n * depth + k, value=load(patch, n, k)) for n in range(height * width) for k in range(depth)
    ]
    p = program(y, parallel("i", pixels, parallel("j", pixels, Alloc(patch), loop, *taken)), consts=(x,))
    assert batch_of(loop) is not None
    with pytest.MonkeyPatch.context() as patched:
        got = both_ways(patched, p)
        patched.setattr(interpret, "LANES", 2 * pixels * depth)
        assert np.array_equal(both_ways(patched, p), got)
    assert x.data is not None
    padded = np.pad(x.data, ((pad, pad + height), (pad, pad + width), (0, 0)), constant_values=7)
    for i in range(pixels):
        for j in range(pixels):
            assert got[i, j].tolist() == padded[i : i + height, j : j + width].reshape(-1).tolist()


def steps_of(loop: For, monkeypatch: pytest.MonkeyPatch, program: Program) -> int:
    """How often the body of `loop` was entered."""
    entered: list[For] = []
    enter = Evaluator.enter

    def noting(machine: Evaluator, entering: For, *args: Any) -> None:
        entered.append(entering)
        enter(machine, entering, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Evaluator, "enter", noting)
        run(program, {})
    return sum(one is loop for one in entered)


def test_branches_that_write_one_place_in_turn_run_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lane 1 writes place 1 in iteration 0 by the second branch, and in iteration 1 by the first: the last counts."""
    y = output(3, 2)
    first, last = store(PATCH, K, value=K * 10), store(PATCH, binary("rem", K + 1, 2), value=K * 10 + 1)
    for branch, order in ((If(binary("eq", K, I), (first,), (last,)), True), (If(I < 1, (last,), (last,)), False)):
        loop = serial("k", 0, 2, branch)
        zeros = [store(PATCH, n, value=-5) for n in range(2)]
        taken = [store(y, I, n, value=load(PATCH, n)) for n in range(2)]
        p = program(y, parallel("i", 3, Alloc(PATCH), *zeros, loop, *taken))
        got = both_ways(monkeypatch, p)
        assert steps_of(loop, monkeypatch, p) == (3 if order else 1)  # once in vain, then one by one
        if order:
            assert got.tolist() == [[11, -5], [-5, 10], [11, 1]]


def test_registers_of_an_iteration_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an iteration holds while it adds to several sums, each in several steps."""
    x, y = const("x", range(5, 25)), output(4, 2)
    sums = Buffer("sums", DType.I32, (2,), "register")
    held, pair = Buffer("held", DType.I32, (), "register"), Buffer("pair", DType.I32, (2,), "register")
    clipped = If(I + K < 6, (store(held, value=load(x, I + K)),), (store(held, value=-1),))
    put = [store(pair, n, value=load(held) + n) for n in range(2)]
    add = [Store(sums, (Const(n),), load(sums, n) + load(pair, m) * (K + 1)) for n in range(2) for m in range(2)]
    loop = serial("k", 0, 5, Alloc(held), Alloc(pair), clipped, *put, *add)
    start = [store(sums, n, value=n * 100) for n in range(2)]
    taken = [store(y, I, n, value=load(sums, n)) for n in range(2)]
    p = program(y, parallel("i", 4, Alloc(sums), *start, loop, *taken), consts=(x,))
    got = both_ways(monkeypatch, p)
    assert steps_of(loop, monkeypatch, p) == 1
    for i in range(4):
        total = sum((2 * (5 + i + k if i + k < 6 else -1) + 1) * (k + 1) for k in range(5))
        assert got[i].tolist() == [total, 100 + total]


def test_a_lane_reads_only_what_it_wrote_itself() -> None:
    """Lane 0 writes, lane 1 does not: whether it may read depends on its branch."""
    y = output(2)
    for register, index in ((ACC, ()), (PATCH, (Const(2),))):
        fill = If(I < 1, (Store(register, index, Const(4)),))
        read = store(y, I, value=Load(register, index))
        fine = If(I < 1, (read,), (store(y, I, value=9),))
        assert run(program(y, parallel("i", 2, Alloc(register), fill, fine)), {})["output"].tolist() == [4, 9]
        with pytest.raises(CompilerBug, match="read before it is written"):
            run(program(y, parallel("i", 2, Alloc(register), fill, read)), {})
    filled = serial("k", 0, 6, If(K < 5 + I, (store(PATCH, K, value=K),)))
    summed = serial("k", 0, 6, accumulate(ACC, load(PATCH, K)))
    body = (Alloc(PATCH), filled, Alloc(ACC), store(ACC, value=0), summed, store(y, I, value=load(ACC)))
    with pytest.raises(CompilerBug, match="read before it is written"):
        run(program(y, parallel("i", 2, *body)), {})


@pytest.mark.parametrize("number", [127, 128])
def test_a_vector_is_not_narrowed_beyond_its_elements(number: int) -> None:
    held = Buffer("held", DType.I8, (16,), "register")
    x, y = const("x", [number] * 8, DType.I16), output(1)
    body = (Alloc(held), Store(held, (Const(0),), Load(x, (Const(0),), I16X8)))
    p = program(y, *body, store(y, 0, value=cast(load(held, 3), DType.I32)), consts=(x,))
    if number == 127:
        assert run(p, {})["output"].tolist() == [127]
    else:
        with pytest.raises(CompilerBug, match="overflow of int8"):
            run(p, {})


def test_which_loops_run_at_once() -> None:
    add = accumulate(ACC, K)
    assert batch_of(serial("k", 0, 3, add)) is not None
    assert batch_of(replace(serial("k", 0, 3, add), parallel=True)) is None
    assert batch_of(serial("k", 0, 3, store(output(3), K, value=K))) is None
    assert batch_of(serial("k", 0, 3, store(ACC, value=load(ACC) * 2))) is None
    assert batch_of(serial("k", 0, 3, store(PATCH, K, value=load(PATCH, K) + 1))) is None
    assert batch_of(serial("k", 0, 3, store(PATCH, K, value=load(PATCH, K) + 1 + load(PATCH, K)))) is None
    assert batch_of(serial("k", 0, 3, accumulate(ACC, load(ACC)))) is None
    wide = Buffer("wide", DType.I64, (), "register")
    assert batch_of(serial("k", 0, 3, Store(wide, (), K))) is None  # of another dtype: refused, one by one
    assert interpreter_sums.EXACT == 2**53


def test_a_sum_that_moves_with_the_loop_is_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """patch[k] += k is a sum for each iteration, not one for all."""
    y = output(2)
    each = serial("k", 0, 6, Store(PATCH, (K,), load(PATCH, K) + K))
    assert batch_of(each) is None
    body = (Alloc(PATCH), serial("k", 0, 6, store(PATCH, K, value=10)), each, store(y, I, value=load(PATCH, 4)))
    assert both_ways(monkeypatch, program(y, parallel("i", 2, *body))).tolist() == [14, 14]
