"""Copies by registers: any box, on cores with and without words at any address and vectors, against plain loops."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board import Target, core_target
from harness.compiler.loops import Program
from harness.compiler.lowering.building import Builder
from harness.compiler.lowering.moves import Move, copies, strides_of
from harness.compiler.pipeline import assert_equal
from harness.compiler.render_c import render_function
from harness.compiler.schedules.base import apply
from harness.compiler.schedules.copies import Copied
from harness.compiler.verify import verify
from harness.dtypes import DType

CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m55", "host")


def schedule(program: Program, target: Target, at_once: int = 8) -> Program:
    made = apply(Copied(at_once), program, target)
    assert made is not None
    return made


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A few boxes of one tensor, each in an output of its own: slices, permutations, steps, repeats, constants."""
    dtype = draw(st.sampled_from([DType.I8, DType.I8, DType.F32, DType.I32]))
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    shape[-1] = draw(st.integers(1, 150))
    build = Builder("copies_0")
    source = build.input("input", dtype, prod(shape))
    moves, results = [], []
    for number in range(draw(st.integers(1, 3))):
        begin = [draw(st.integers(0, n - 1)) for n in shape]
        extents = [draw(st.integers(1, n - b)) for n, b in zip(shape, begin, strict=True)]
        strides = strides_of(shape)
        start = sum(b * s for b, s in zip(begin, strides, strict=True))
        order = draw(st.permutations(range(len(shape))))
        kind = draw(st.sampled_from(["box", "box", "transposed", "repeated", "value"]))
        axes = order if kind == "transposed" else range(len(shape))
        extents, strides = tuple(extents[a] for a in axes), tuple(strides[a] for a in axes)
        if kind == "repeated":
            extents, strides = (*extents[:-1], draw(st.integers(1, 9)), extents[-1]), (*strides[:-1], 0, strides[-1])
        operand = None if kind == "value" else 0
        gap = draw(st.integers(0, 3))
        results.append(build.output(dtype, prod(extents) + gap))
        if gap:
            moves.append(Move(None, number, (gap,), 0, (0,), 0, (1,), 5))
        moves.append(Move(operand, number, extents, start, strides, gap, strides_of(extents), draw(st.integers(-9, 9))))
    return copies(build, moves, {0: source}, results)


@settings(max_examples=60, deadline=None)
@given(program=programs(), core=st.sampled_from(CORES))
def test_registers_move_what_loops_move(program: Program, core: str) -> None:
    target = core_target(core)
    scheduled = verify(schedule(program, target), "scheduling", target.instructions)
    assert_equal(verify(program, "lowering"), scheduled)


def run_of(elements: int) -> Program:
    build = Builder("copies_0")
    source, result = build.input("input", DType.I8, elements), build.output(DType.I8, elements)
    return copies(build, [Move(0, 0, (elements,), 0, (1,), 0, (1,))], {0: source}, [result])


@pytest.mark.parametrize(("core", "access"), [("cortex-m3", "nn_store_i8x4"), ("cortex-m55", "nn_store_i8_as_i8x16")])
def test_long_runs_go_by_registers(core: str, access: str) -> None:
    assert access in render_function(schedule(run_of(1000), core_target(core)))
    assert "nn_" not in render_function(schedule(run_of(1000), core_target("cortex-m0")))


@pytest.mark.parametrize("elements", [1, 3, 4, 5, 31, 32, 47, 48, 49, 50, 63, 64, 65, 191, 192, 193, 1001])
@pytest.mark.parametrize("core", CORES)
def test_every_length(core: str, elements: int) -> None:
    target = core_target(core)
    program = run_of(elements)
    assert_equal(program, verify(schedule(program, target), "scheduling", target.instructions))
