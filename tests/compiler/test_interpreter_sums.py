"""Sums that the interpreter adds up at once come out, and are refused, as term by term."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compiler import interpreter_sums
from harness.compiler.interpret import run
from harness.compiler.intrinsics import dsp, mve
from harness.compiler.intrinsics.base import Intrinsic
from harness.compiler.loops import (
    Alloc,
    Buffer,
    Call,
    Const,
    Load,
    Store,
    accumulate,
    load,
    store,
)
from harness.dtypes import DType, Vec
from harness.errors import CompilerBug
from tests.compiler.small_programs import ACC, I, J, K, both_ways, const, output, parallel, program, serial


def test_a_sum_by_channel_reads_both_factors_in_every_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, w = const("x", rng.integers(-9, 9, (5, 4, 7))), const("w", rng.integers(-9, 9, (7, 4)))
    y = output(5, 4)
    body = (Alloc(ACC), store(ACC, value=0), serial("k", 0, 7, accumulate(ACC, load(x, I, J, K) * load(w, K, J))))
    p = program(y, parallel("i", 5, parallel("j", 4, *body, store(y, I, J, value=load(ACC)))), consts=(x, w))
    assert np.array_equal(both_ways(monkeypatch, p), np.einsum("ijk,kj->ij", x.data, w.data))


@pytest.mark.parametrize("intrinsic", [dsp.SMLAD, mve.MLADAVA], ids=lambda i: i.name)
def test_products_of_lanes_wrap(monkeypatch: pytest.MonkeyPatch, intrinsic: Intrinsic) -> None:
    """Sums that pass 2^31 on the way: a register wraps, at once as step by step."""
    vec = intrinsic.params[0][1]
    assert isinstance(vec, Vec)
    data = np.full((6, 4 * vec.lanes), vec.element.min)
    x = Buffer("x", vec.element, data.shape, "const", data.astype(vec.element.np))
    sums = Buffer("sums", DType.I32, (2,), "register")
    y = output(6, 2)
    value = Load(x, (I, K * vec.lanes), vec)
    steps = [Store(sums, (Const(n),), Call(intrinsic, (value, value, load(sums, n)))) for n in range(2)]
    first = [store(sums, n, value=2**31 - 1 - n * 5) for n in range(2)]
    last = [store(y, I, n, value=load(sums, n) >> 1) for n in range(2)]
    p = program(y, parallel("i", 6, Alloc(sums), *first, serial("k", 0, 4, *steps), *last), consts=(x,))
    got = both_ways(monkeypatch, p)
    total = 2**31 - 1 + 4 * vec.lanes * vec.element.min**2
    assert got[0, 0] == ((total + 2**31) % 2**32 - 2**31) >> 1


four = st.lists(st.integers(-128, 127), min_size=4, max_size=4)


@given(four, four, st.integers(-(2**31), 2**31 - 1))
def test_what_adds_products_adds_products(xs: list[int], ys: list[int], acc: int) -> None:
    found = [i for module in (dsp, mve) for i in vars(module).values() if isinstance(i, Intrinsic) and i.adds_products]
    assert {i.name for i in found} >= {"nn_smlad", "nn_mladava"}
    for intrinsic in found:
        total = acc + sum(a * b for a, b in zip(xs, ys, strict=True))
        want = (total + 2**31) % 2**32 - 2**31
        assert int(intrinsic.meaning(np.array(xs), np.array(ys), np.int64(acc))) == want
        assert intrinsic.params[-1][1] is intrinsic.result is DType.I32


@pytest.mark.parametrize(
    ("first", "terms"),
    [
        (0, [2**30, 2**30, -(2**31 - 1), 5]),
        (0, [-(2**31), -1, 2**31 - 1, 0]),
        (0, [2**31 - 1, 1, -9, -9]),
        (0, [2**30, 2**30]),
        (2**31 - 4, [1, 1, 1, 1]),
    ],
    ids=["past the top and back", "past the bottom and back", "on the way", "by one", "from its start"],
)
def test_no_partial_sum_may_leave_its_dtype(first: int, terms: list[int]) -> None:
    x, y = const("x", terms), output(3)
    body = (Alloc(ACC), store(ACC, value=first), serial("k", 0, len(terms), accumulate(ACC, load(x, K))))
    with pytest.raises(CompilerBug, match="overflow of int32"):
        run(program(y, parallel("i", 3, *body, store(y, I, value=load(ACC))), consts=(x,)), {})


def test_no_product_may_leave_its_dtype() -> None:
    x, w, y = const("x", [2**16, 2**16]), const("w", [2**16, -(2**16)]), output(1)
    body = (Alloc(ACC), store(ACC, value=0), serial("k", 0, 2, accumulate(ACC, load(x, K) * load(w, K))))
    with pytest.raises(CompilerBug, match="overflow of int32"):
        run(program(y, *body, store(y, 0, value=load(ACC)), consts=(x, w)), {})


def test_sums_too_long_for_a_float_stay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products near 2^53, where float64 has no odd numbers any more."""
    monkeypatch.setattr(interpreter_sums, "FEW", 0)
    big = DType.I64
    x, w = const("x", [2**29 + 1] * 3, big), const("w", [2**28 + 1] * 3, big)
    acc, y = Buffer("acc", big, (), "register"), output(1, dtype=big)
    loop = serial("k", 0, 3, accumulate(acc, load(x, K) * load(w, K)))
    p = program(y, Alloc(acc), store(acc, value=1), loop, store(y, 0, value=load(acc)), consts=(x, w))
    assert run(p, {})["output"].tolist() == [1 + 3 * (2**29 + 1) * (2**28 + 1)]
