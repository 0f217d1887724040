"""Elementwise operators: every way of computing them equals the loops as lowered, and the cheapest is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board import Target
from harness.compiler.choose import Objective
from harness.compiler.loops import For, walk
from harness.compiler.pipeline import CompiledLayer, assert_equal, programs_of
from harness.compiler.render_c import render_function
from tests.compiler.ops.oracle import load
from tests.models import Net

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

M0 = Target("cortex-m0", frozenset())
M3 = Target("cortex-m3", frozenset())
M4 = Target("cortex-m4", frozenset({"dsp"}))
TARGETS = {"m0": M0, "m3": M3, "m4": M4}
UNARY = ["relu", "relu6", "relu_n1_to_1", "leaky_relu", "hard_swish", "quantize", "tanh", "logistic"]
BINARY = ["add", "sub", "mul", "minimum", "maximum"]


def layer(
    kind: str,
    target: Target,
    shapes: list[tuple[int, ...]],
    scales: list[float],
    seed: int = 0,
    objective: Objective = Objective.SPEED,
    **options: Any,
) -> CompiledLayer:
    net = Net(seed)
    operands = [
        net.input(shape, name=f"x{n}", quant=(scale, 3 - 5 * n))
        for n, (shape, scale) in enumerate(zip(shapes, scales, strict=True))
    ]
    getattr(net, kind)(*operands, **options)
    (compiled,) = programs_of(load(net.build()), target, objective=objective)
    return compiled


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(list(Objective)),
    st.sampled_from(UNARY + BINARY),
    st.sampled_from(sorted(TARGETS)),
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)
def test_every_schedule_equals_its_loops(
    objective: Objective, kind: str, core: str, shape: list[int], broadcast: bool, alike: bool, seed: int
) -> None:
    shapes = [tuple(shape)]
    if kind in BINARY:
        shapes.append(tuple(shape[-1:]) if broadcast else tuple(shape))
    scales = [0.05, 0.05 if alike else 0.0317][: len(shapes)]
    options = {"quant": (0.05, 3)} if alike and kind not in ("tanh", "logistic", "mul") else {}
    compiled = layer(kind, TARGETS[core], shapes, scales, seed, objective, **options)
    assert_equal(compiled.unscheduled, compiled.program)


def text(kind: str, target: Target, elements: int, **options: Any) -> str:
    operands = 2 if kind in BINARY else 1
    return render_function(
        layer(kind, target, [(1, elements)] * operands, [0.05, 0.0317][:operands], **options).program
    )


def test_a_sum_takes_one_multiplication_for_each_operand() -> None:
    for kind in ("add", "sub"):
        for core, target in TARGETS.items():
            found = text(kind, target, 64)
            assert "requantise" not in found, core
            assert "rescale" not in found, core
            assert found.count(" * ") == 8


def test_a_table_only_where_it_pays() -> None:
    """256 bytes save an instruction an element; a curve has no other way."""
    assert "table[" in text("quantize", M3, 4000)
    assert "table[" not in text("quantize", M3, 4000, objective=Objective.SIZE)
    assert "table[" in text("tanh", M3, 3, objective=Objective.SIZE)


def test_clamps_go_by_words_where_the_core_compares_bytes() -> None:
    same = {"quant": (0.05, 3)}
    assert "nn_max_i8x4" in text("relu", M4, 4000, **same)
    assert "nn_max_i8x4" in text("relu", M4, 10, **same)
    assert "table[" in text("relu", M3, 4000, **same)
    assert "table[" not in text("relu", M3, 4000, objective=Objective.SIZE, **same)
    assert "nn_min_i8x4" in text("minimum", M4, 10)
    assert "nn_min_i8x4" not in text("minimum", M3, 10)


def test_words_are_not_used_across_broadcast_elements() -> None:
    compiled = layer("maximum", M4, [(2, 3, 8), (8,)], [0.05, 0.05])
    assert "i8x4" not in render_function(compiled.program)


@pytest.mark.parametrize("elements", [1, 3, 4, 5, 31, 33])
def test_elements_left_over_from_words(elements: int) -> None:
    for kind in ("relu", "maximum", "tanh"):
        compiled = layer(kind, M4, [(elements,)] * (1 + (kind == "maximum")), [0.05, 0.05][: 1 + (kind == "maximum")])
        assert_equal(compiled.unscheduled, compiled.program)


def test_dimensions_that_run_together_are_one_loop() -> None:
    compiled = layer("mul", M3, [(2, 3, 4, 5), (5,)], [0.05, 0.04])
    loops = [s.var for s in walk(compiled.unscheduled.body) if isinstance(s, For)]
    assert len(loops) == 2
    (result,) = compiled.program.of_space("output")
    assert result.shape == (24, 5)
    assert np.prod(result.shape) == 120
