"""Simplification keeps the value of every expression, and decides what its ranges allow it to decide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.compiler.interpret import _Interpreter
from harness.compiler.interpreter_arithmetic import Bounded
from harness.compiler.loops import Binary, Buffer, Const, Expr, For, If, Let, Program, Var, maximum, minimum, store
from harness.compiler.simplify import assume, flat_index, interval, simplify, simplify_block
from harness.dtypes import DType

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


indices = st.one_of(
    arithmetic,
    st.builds(Binary, st.sampled_from(["shr", "and"]), arithmetic, st.integers(0, 3).map(Const)),
)


@given(st.lists(st.tuples(indices, st.integers(1, 9)), min_size=1, max_size=3), st.data())
def test_the_number_of_an_element_is_that_of_its_indices(parts: list[tuple[Expr, int]], data: st.DataObject) -> None:
    values = {name: data.draw(st.integers(*bounds)) for name, bounds in VARS.items()}
    flat = 0
    for node, size in parts:
        flat = flat * size + value(node, values)
    index, shape = zip(*parts, strict=True)
    assert value(flat_index(index, shape), values) == flat


def test_bounds_of_an_inner_window_become_constants() -> None:
    oy = Var("oy")
    assert simplify(maximum(0, 1 - oy), {"oy": (1, 23)}) == Const(0)
    assert simplify(minimum(3, 26 - oy), {"oy": (1, 23)}) == Const(3)
    assert simplify(minimum(3, 26 - oy), {"oy": (1, 24)}) != Const(3)


def test_equal_terms_cancel() -> None:
    a, b = Var("a"), Var("b")
    assert simplify((a * 4 + b) - (b + a * 4)) == Const(0)
    assert simplify((a + 3) + (b - 3)) == a + b


def test_a_scalar_that_is_known_in_one_branch_is_not_in_the_other() -> None:
    """Branches made of one body have scalars of the same names."""
    a, y = Var("a"), Buffer("output", DType.I32, (9,), "output")
    body = (Let("first", maximum(0, 3 - a)), store(y, a, value=Var("first")))
    loop = For("a", Const(0), Const(9), (If(a >= 3, body, body), For("b", a, a + 1, (store(y, Var("b"), value=a),))))
    (simple,) = simplify_block((loop,))
    assert isinstance(simple, For)
    branch, last = simple.body
    assert branch == If(a >= 3, (store(y, a, value=0),), body)
    assert last == store(y, a, value=a)


def test_conditions_narrow_ranges() -> None:
    a = Var("a")
    cond = Binary("and", a >= 1, a < 3)
    assert assume(cond, {"a": (0, 9)}) == {"a": (1, 2)}


def test_blocks_lose_what_never_runs() -> None:
    a = Var("a")
    empty = For("i", Const(3), Const(3), (If(a > 0, ()),))
    never = If(a > 100, (For("j", Const(0), Const(9), ()),))
    assert simplify_block((empty, never), {"a": (0, 4)}) == ()
