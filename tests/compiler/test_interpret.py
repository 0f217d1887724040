"""The interpreter refuses what the IR forbids, and runs the rest exactly."""

from __future__ import annotations

import numpy as np
import pytest

from harness.compiler.interpret import run
from harness.compiler.loops import (
    Alloc,
    Buffer,
    Cast,
    Const,
    For,
    If,
    Let,
    Program,
    Select,
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

I, J = Var("i"), Var("j")


def out(n: int, dtype: DType = DType.I32) -> Buffer:
    return Buffer("output", dtype, (n,), "output")


def inp(n: int, dtype: DType = DType.I32) -> Buffer:
    return Buffer("input", dtype, (n,), "input")


def loop(var: str, count: int, *body, parallel: bool = False, step: int = 1) -> For:
    return For(var, Const(0), Const(count), tuple(body), step, parallel)


def run1(y: Buffer, *body, x: Buffer | None = None, data: np.ndarray | None = None) -> np.ndarray:
    buffers = (y,) if x is None else (x, y)
    return run(Program("p", buffers, tuple(body)), {} if data is None else {"input": data})["output"]


@pytest.mark.parametrize("parallel", [False, True])
def test_a_sum_of_rows(parallel: bool) -> None:
    x, y = Buffer("input", DType.I32, (5, 7), "input"), out(5)
    acc = Buffer("acc", DType.I32, (), "register")
    body = (
        Alloc(acc),
        store(acc, value=0),
        loop("j", 7, accumulate(acc, load(x, I, J))),
        store(y, I, value=load(acc)),
    )
    data = np.random.default_rng(0).integers(-1000, 1000, (5, 7)).astype(np.int32)
    assert np.array_equal(run1(y, loop("i", 5, *body, parallel=parallel), x=x, data=data), data.sum(1))


@pytest.mark.parametrize("parallel", [False, True])
def test_a_loop_clipped_by_its_lane_runs_only_where_it_should(parallel: bool) -> None:
    y = out(6)
    acc = Buffer("acc", DType.I32, (), "register")
    clipped = For("j", maximum(0, 2 - I), minimum(4, 7 - I), (accumulate(acc, J + 1),))
    body = (Alloc(acc), store(acc, value=0), clipped, store(y, I, value=load(acc)))
    want = [sum(j + 1 for j in range(max(0, 2 - i), min(4, 7 - i))) for i in range(6)]
    assert run1(y, loop("i", 6, *body, parallel=parallel)).tolist() == want


@pytest.mark.parametrize("parallel", [False, True])
def test_branches_take_each_lane_its_own_way(parallel: bool) -> None:
    y = out(8)
    body = (If(binary("lt", I, 3), (store(y, I, value=I * 10),), (store(y, I, value=0 - I),)),)
    want = [i * 10 if i < 3 else -i for i in range(8)]
    assert run1(y, loop("i", 8, *body, parallel=parallel)).tolist() == want


def test_division_truncates_and_shift_floors() -> None:
    y = out(2)
    got = run1(y, store(y, 0, value=binary("div", Const(-7), Const(2))), store(y, 1, value=Const(-7) >> 1))
    assert got.tolist() == [-3, -4]


def test_a_long_parallel_loop_runs_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.compiler.interpret.LANES", 7)
    y = out(100)
    assert run1(y, loop("i", 100, store(y, I, value=I * I), parallel=True)).tolist() == [i * i for i in range(100)]


def test_select_and_let() -> None:
    y = out(4)
    double = Let("double", I * 2)
    body = (double, store(y, I, value=Select(double.var > 3, Const(1), double.var)))
    assert run1(y, loop("i", 4, *body, parallel=True)).tolist() == [0, 2, 1, 1]


BROKEN = {
    "index past the end": lambda y: loop("i", 5, store(y, I, value=I), parallel=True),
    "negative index": lambda y: loop("i", 4, store(y, I - 1, value=I)),
    "int32 overflow": lambda y: store(y, 0, value=Const(2**31 - 1) + Var("one")),
    "int8 overflow": lambda y: store(y, 0, value=cast(Cast(Const(128), DType.I8), DType.I32)),
    "division by zero": lambda y: store(y, 0, value=binary("div", Const(1), Const(0))),
    "shift by width": lambda y: store(y, 0, value=Const(1) << 32),
    "two iterations write one element": lambda y: loop("i", 4, store(y, Const(0), value=I), parallel=True),
    "neighbours write one element": lambda y: loop(
        "i", 3, store(y, I, value=I), store(y, I + 1, value=I), parallel=True
    ),
    "an element is never written": lambda y: loop("i", 3, store(y, I, value=I)),
    "unknown name": lambda y: store(y, 0, value=Var("ghost")),
    "output read before it is written": lambda y: store(y, 0, value=load(y, 1)),
    "wrong dtype": lambda y: store(y, 0, value=Const(1, DType.I8)),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_what_the_ir_forbids_is_refused(rule: str) -> None:
    y = out(4)
    with pytest.raises(CompilerBug, match="p:"):
        run1(y, Let("one", Const(1)), BROKEN[rule](y))


def test_a_register_is_private_to_its_iteration() -> None:
    y = out(4)
    acc = Buffer("acc", DType.I32, (), "register")
    with pytest.raises(CompilerBug, match="several iterations"):
        run1(y, Alloc(acc), store(acc, value=0), loop("i", 4, accumulate(acc, I), parallel=True))
    with pytest.raises(CompilerBug, match="before it is written"):
        run1(y, Alloc(acc), store(y, 0, value=load(acc)))


def test_iterations_may_not_read_what_others_wrote() -> None:
    y = out(4)
    reads = For("i", Const(1), Const(4), (store(y, I, value=load(y, I - 1)),), parallel=True)
    with pytest.raises(CompilerBug, match="before it is written"):
        run1(y, store(y, 0, value=1), reads)
    shifted = loop("i", 3, store(y, I + 1, value=I), store(y, 0, value=load(y, 3 - I)), parallel=True)
    with pytest.raises(CompilerBug, match=r"read|write"):
        run1(y, shifted)


def test_an_inactive_lane_may_hold_what_an_active_one_may_not() -> None:
    y = out(4)
    guarded = If(I > 0, (store(y, I, value=binary("div", Const(12), I)),), (store(y, I, value=0),))
    assert run1(y, loop("i", 4, guarded, parallel=True)).tolist() == [0, 12, 6, 4]
