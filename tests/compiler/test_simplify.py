"""Simplification keeps the value of every expression, and decides what its ranges allow it to decide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.compiler.interpret import _Interpreter
from harness.compiler.interpreter_arithmetic import Bounded
from harness.compiler.loops import Binary, Const, Expr, For, If, Program, Var, maximum, minimum
from harness.compiler.simplify import assume, interval, simplify, simplify_block

VARS = {"a": (-3, 4), "b": (0, 7), "c": (5, 5)}

leaves = st.one_of(st.integers(-9, 9).map(Const), st.sampled_from(sorted(VARS)).map(Var))
arithmetic = st.recursive(
    leaves,
    lambda inner: st.builds(Binary, st.sampled_from(["add", "sub", "mul", "min", "max"]), inner, inner),
    max_leaves=7,
)
conditions = st.builds(Binary, st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]), arithmetic, arithmetic)


def value(node: Expr, values: dict[str, int]) -> int:
    machine = _Interpreter(Program("p", (), ()))
    machine.vars.update({name: Bounded(one, one, one) for name, one in values.items()})
    return int(machine.eval(node))


@given(st.one_of(arithmetic, conditions), st.data())
def test_the_value_stays(node: Expr, data: st.DataObject) -> None:
    values = {name: data.draw(st.integers(*bounds)) for name, bounds in VARS.items()}
    assert value(simplify(node, VARS), values) == value(node, values)


@given(arithmetic, st.data())
def test_the_value_is_inside_the_interval(node: Expr, data: st.DataObject) -> None:
    values = {name: data.draw(st.integers(*bounds)) for name, bounds in VARS.items()}
    low, high = interval(node, VARS)
    assert low <= value(node, values) <= high


def test_bounds_of_an_inner_window_become_constants() -> None:
    oy = Var("oy")
    assert simplify(maximum(0, 1 - oy), {"oy": (1, 23)}) == Const(0)
    assert simplify(minimum(3, 26 - oy), {"oy": (1, 23)}) == Const(3)
    assert simplify(minimum(3, 26 - oy), {"oy": (1, 24)}) != Const(3)


def test_equal_terms_cancel() -> None:
    a, b = Var("a"), Var("b")
    assert simplify((a * 4 + b) - (b + a * 4)) == Const(0)
    assert simplify((a + 3) + (b - 3)) == a + b


def test_conditions_narrow_ranges() -> None:
    a = Var("a")
    cond = Binary("and", a >= 1, a < 3)
    assert assume(cond, {"a": (0, 9)}) == {"a": (1, 2)}


def test_blocks_lose_what_never_runs() -> None:
    a = Var("a")
    empty = For("i", Const(3), Const(3), (If(a > 0, ()),))
    never = If(a > 100, (For("j", Const(0), Const(9), ()),))
    assert simplify_block((empty, never), {"a": (0, 4)}) == ()
