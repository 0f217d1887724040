"""Loop transformations on loops drawn at random: the same values, and the shape that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compiler.hoist import hoist_bounds
from harness.compiler.interpret import run
from harness.compiler.loops import (
    Alloc,
    Block,
    Buffer,
    Const,
    For,
    If,
    Let,
    Program,
    Var,
    accumulate,
    load,
    maximum,
    minimum,
    store,
    walk,
)
from harness.compiler.schedule import jam, register_block, specialise, tile, unroll
from harness.compiler.share import share_loads
from harness.compiler.simplify import simplify_block
from harness.compiler.verify import verify
from harness.dtypes import DType
from harness.errors import CompilerBug

U, V, K = Var("u"), Var("v"), Var("k")


def windowed_sum(size: int, taps: int, before: int, step: int = 1) -> Program:
    """output[v] = sum over the taps inside the input of input[v + k - before] * (k + 1)."""
    x = Buffer("input", DType.I32, (size,), "input")
    y = Buffer("output", DType.I32, (size,), "output")
    acc = Buffer("acc", DType.I32, (), "register")
    body: Block = (
        Alloc(acc),
        store(acc, value=V * 3),
        For(
            "k",
            maximum(0, before - V),
            minimum(taps, size + before - V),
            (accumulate(acc, load(x, V + K - before) * (K + 1)),),
            step,
        ),
        store(y, V, value=load(acc)),
    )
    return Program("layer_0", (x, y), (For("v", Const(0), Const(size), body, parallel=True),))


def same(program: Program, body: Block) -> Program:
    changed = Program(program.name, program.buffers, body)
    verify(changed, "test")
    x = np.random.default_rng(1).integers(-100, 100, program.buffers[0].shape).astype(np.int32)
    want, got = (run(p, {"input": x})["output"] for p in (program, changed))
    assert np.array_equal(want, got)
    return changed


shapes = st.tuples(st.integers(1, 11), st.integers(1, 5), st.integers(0, 3))
factors = st.integers(1, 7)


@given(shapes, factors)
def test_tile(shape: tuple[int, int, int], factor: int) -> None:
    program = windowed_sum(*shape)
    same(program, tile(program.body, "v", factor))


@given(shapes, factors)
def test_register_block(shape: tuple[int, int, int], factor: int) -> None:
    program = windowed_sum(*shape)
    body = register_block(program.body, "v", factor)
    same(program, body)
    stores = [s for s in walk(body) if type(s).__name__ == "Store" and s.buffer.name == "output"]
    assert len(stores) == (shape[0] if shape[0] < factor else factor + shape[0] % factor)


@given(shapes, factors, st.integers(1, 3))
def test_unroll_of_a_reduction(shape: tuple[int, int, int], factor: int, step: int) -> None:
    size, taps, _ = shape
    program = windowed_sum(size, taps, 0, step)
    inside = (0, max(0, size - taps + 1))
    split = simplify_block(specialise(program.body, "v", {"v": inside})) if inside[1] else program.body
    for at_once in (factor, None):
        same(program, unroll(split, "k", at_once))


@given(shapes, st.integers(0, 11), st.integers(0, 11))
def test_specialise(shape: tuple[int, int, int], first: int, end: int) -> None:
    program = windowed_sum(*shape)
    same(program, simplify_block(specialise(program.body, "v", {"v": (first, end)})))


@given(shapes, factors)
def test_everything_at_once(shape: tuple[int, int, int], factor: int) -> None:
    program = windowed_sum(*shape)
    size, taps, before = shape
    body = specialise(program.body, "v", {"v": (before, max(before, size + before - taps + 1))})
    body = unroll(register_block(simplify_block(body), "v", factor), "k", 2)
    same(program, share_loads(hoist_bounds(Program("layer_0", program.buffers, simplify_block(body)))).body)


def test_tiles_share_the_loop_inside() -> None:
    program = windowed_sum(8, 3, 0)
    (interior,) = at_full_windows = simplify_block(specialise(program.body, "v", {"v": (0, 6)}))
    assert isinstance(interior, For)
    blocked = register_block(at_full_windows, "v", 2)
    assert any(isinstance(s, If) for s in walk(blocked))
    reduction = Buffer("acc", DType.I32, (), "register")
    y = Buffer("output", DType.I32, (4,), "output")
    body: Block = (
        Alloc(reduction),
        store(reduction, value=0),
        For("k", Const(0), Const(9), (accumulate(reduction, K * V),)),
        store(y, V, value=load(reduction)),
    )
    plain = Program("layer_0", (y,), (For("v", Const(0), Const(4), body, parallel=True),))
    loops = [s for s in walk(register_block(plain.body, "v", 4)) if isinstance(s, For)]
    assert [loop.var for loop in loops] == ["k"]


def test_two_bounds_in_one_place_have_two_names() -> None:
    """Both are hoisted in front of the loop over v, where one name could not stand for both."""
    acc = Buffer("acc", DType.I32, (), "register")
    x, y = Buffer("input", DType.I32, (9,), "input"), Buffer("output", DType.I32, (3, 9), "output")
    loops = tuple(For("k", Const(0), bound, (accumulate(acc, load(x, K)),)) for bound in (U + 1, U * 2 + 1, U + 1))
    inner = For("v", Const(0), Const(9), (Alloc(acc), store(acc, value=0), *loops, store(y, U, V, value=load(acc))))
    program = Program("layer_0", (x, y), (For("u", Const(0), Const(3), (inner,), parallel=True),))
    hoisted = same(program, hoist_bounds(program).body)
    (outer,) = hoisted.body
    assert isinstance(outer, For)
    assert [s.name for s in outer.body if isinstance(s, Let)] == ["k_end", "k_end_1"]


def test_serial_loops_are_not_jammed() -> None:
    with pytest.raises(CompilerBug, match="not parallel"):
        jam((For("v", Const(0), Const(4), ()),), "v")


def test_a_loop_without_constant_bounds_is_not_tiled() -> None:
    with pytest.raises(CompilerBug, match="no constant bounds"):
        tile((For("v", Const(0), Var("n"), (), parallel=True),), "v", 2)


def test_shared_loads_are_loaded_once() -> None:
    x = Buffer("input", DType.I32, (4,), "input")
    y = Buffer("output", DType.I32, (2,), "output")
    body = tuple(store(y, n, value=load(x, 3) * n) for n in range(2))
    shared = share_loads(Program("layer_0", (x, y), body))
    assert [type(s).__name__ for s in shared.body] == ["Let", "Store", "Store"]
    assert isinstance(shared.body[0], Let)
    assert shared.body[0].name == "x_0"
