"""What the analysis of the loops' order says is safe, against every access of the program and against memory shared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from harness.board import Target
from harness.compiler import overlap
from harness.compiler.backwards import backwards
from harness.compiler.frontends import parse_model
from harness.compiler.interpret import run
from harness.compiler.loops import Buffer, Const, For, Let, Program, Var, load, maximum, minimum, store
from harness.compiler.overlap import Gap, disjoint, gaps, may_alias
from harness.compiler.pipeline import programs_of, random_inputs
from harness.dtypes import DType
from tests.compiler.tracing import FAR, Extremes, extremes, run_in_arena
from tests.models import Net

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

TARGETS = {
    "m0": Target("cortex-m0", frozenset()),
    "m3": Target("cortex-m3", frozenset()),
    "m4": Target("cortex-m4", frozenset({"dsp"})),
}
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)


@st.composite
def layers(draw: st.DrawFn) -> Program:
    """One layer of an odd shape as one of the cores gets it, perhaps backwards."""
    dtype = draw(st.sampled_from(["int8", "int8", "int8", "float32"]))
    net = Net(draw(st.integers(0, 99)), dtype)
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    channels = draw(st.sampled_from([1, 2, 3, 4, 5, 8]))  # of 4 and 8 some loads are words
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 7)), draw(st.integers(1, 7)), channels)
    kind = draw(st.sampled_from(["conv2d", "depthwise", "pool", "add", "add_channels", "softmax", "dense"]))
    x = net.input(shape)
    window = {"padding": "SAME", "stride": draw(pairs)}
    if kind == "conv2d":
        net.conv2d(x, draw(pairs), draw(st.integers(1, 9)), **window)
    elif kind == "depthwise":
        net.depthwise_conv2d(x, draw(st.tuples(st.integers(1, 4), st.integers(1, 3))), **window)
    elif kind == "pool":
        (net.max_pool if draw(st.booleans()) else net.average_pool)(x, draw(pairs), **window)
    elif kind == "add":
        net.add(x, net.input(shape))
    elif kind == "add_channels":
        net.add(x, net.input((1, 1, 1, shape[-1])))
    elif kind == "softmax":
        net.softmax(x)
    else:
        net.fully_connected(net.reshape(x, (shape[0], int(np.prod(shape[1:])))), draw(st.integers(1, 9)))
    target = TARGETS[draw(st.sampled_from(sorted(TARGETS)))]
    compiled = programs_of(parse_model(net.build(), "layer.tflite"), target)[-1]
    programs = [compiled.program, *backwards(compiled.program)]
    return draw(st.sampled_from(programs))


def size(buffer: Buffer) -> int:
    return buffer.elements * buffer.element.bytes


@settings(max_examples=150, deadline=None, phases=QUICK)
@given(layers())
def test_the_bound_is_never_too_generous_and_not_far_off(program: Program) -> None:
    seen, said = extremes(program), gaps(program)
    for y in program.of_space("output"):
        for x in program.of_space("input"):
            exact, gap = seen.get((y.name, x.name), Extremes()), said[y.name, x.name]
            low, high = max(exact.low, -size(y)), min(exact.high, size(x))
            assert gap.low <= max(low, -size(y))
            assert gap.high >= min(high, size(x))
            assert gap.low >= min(low, size(x))  # every loop that matters was run: nothing is given away
            assert gap.high <= max(high, -size(y))


@settings(max_examples=60, deadline=None, phases=QUICK)
@given(layers(), st.integers(1, 60))
def test_with_fewer_iterations_looked_at_the_bound_still_holds(program: Program, lanes: int) -> None:
    """What is taken together, or not run at all, gives away bytes, never safety."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "LANES", lanes)
        said = gaps(program)
    for names, exact in extremes(program).items():
        assert said[names].low <= exact.low
        assert said[names].high >= exact.high


@settings(max_examples=60, deadline=None, phases=QUICK)
@given(layers().filter(lambda program: len(program.of_space("input")) == 1), st.integers(0, 3))
def test_what_is_safe_loses_nothing_in_shared_memory(program: Program, beyond: int) -> None:
    (gap,) = gaps(program).values()
    (y,) = program.of_space("output")
    (want,) = run(program, random_inputs(program)).values()
    width = max(y.element.bytes, program.of_space("input")[0].element.bytes)
    for difference in (
        -(-(gap.low - width + 1) // width) * width - beyond * width,
        -(-gap.high // width) * width + beyond * width,
    ):
        assert gap.allows(difference)
        (got,) = run_in_arena(program, difference).values()
        assert got.tobytes() == want.tobytes(), difference


def copy_of(size_: int, block: int) -> Program:
    """output[i] = input[i], `block` at a time; the last block reaches back."""
    x, y = Buffer("input", DType.I8, (size_,), "input"), Buffer("output", DType.I8, (size_,), "output")
    at, j = Var("at"), Var("j")
    inner = For("j", Const(0), Const(block), (store(y, at + j, value=load(x, at + j)),), parallel=True)
    body = (Let("at", minimum(Var("i"), size_ - block)), inner)
    return Program("copy", (x, y), (For("i", Const(0), Const(size_), body, block, parallel=True),))


def test_a_block_that_reaches_back_reads_what_it_has_written() -> None:
    assert gaps(copy_of(12, 4))["output", "input"] == Gap(0, 12)
    assert gaps(copy_of(10, 4))["output", "input"] == Gap(-2, 10)  # inputs 6 and 7 are read again after output 7
    (turned, _) = backwards(copy_of(12, 4))
    assert gaps(turned)["output", "input"] == Gap(-12, 4)


def test_types_that_c_may_reorder_stay_apart() -> None:
    assert may_alias(DType.I8, DType.F32)
    assert may_alias(DType.I16, DType.I16)
    assert not may_alias(DType.I16, DType.F32)
    assert not may_alias(DType.BOOL, DType.I32)
    x, y = Buffer("input", DType.I16, (4,), "input"), Buffer("output", DType.I32, (4,), "output")
    body = (For("i", Const(0), Const(4), (store(y, Var("i"), value=0),), parallel=True),)
    assert gaps(Program("zeros", (x, y), body))["output", "input"] == disjoint(16, 8)


def test_an_input_nobody_reads_may_lie_anywhere() -> None:
    x, y = Buffer("input", DType.I8, (4,), "input"), Buffer("output", DType.I8, (4,), "output")
    body = (For("i", Const(0), Const(4), (store(y, Var("i"), value=0),), parallel=True),)
    gap = gaps(Program("zeros", (x, y), body))["output", "input"]
    assert all(gap.allows(difference) for difference in range(-5, 6))


def test_iterations_taken_together_are_not_taken_to_be_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second reads element 0, after the first has stored one; all others read further on."""
    x, y = Buffer("input", DType.I8, (9,), "input"), Buffer("output", DType.I8, (4,), "output")
    i = Var("i")
    there_and_back = maximum(1 - i, i - 1) * 4
    body = (For("i", Const(0), Const(4), (store(y, i, value=load(x, there_and_back)),), parallel=True),)
    program = Program("there_and_back", (x, y), body)
    assert gaps(program)["output", "input"].low == extremes(program)["output", "input"].low == -1
    monkeypatch.setattr(overlap, "LANES", 2)
    assert gaps(program)["output", "input"].low <= -1


@pytest.mark.parametrize("size_", [100, 100_000])
def test_a_long_loop_is_looked_at_in_runs(size_: int) -> None:
    """Of neighbouring iterations together: a few bytes are given away, not the sharing."""
    x, y = Buffer("input", DType.I8, (size_,), "input"), Buffer("output", DType.I8, (size_,), "output")
    body = (For("i", Const(0), Const(size_), (store(y, Var("i"), value=load(x, Var("i"))),), parallel=True),)
    gap = gaps(Program("copy", (x, y), body))["output", "input"]
    assert -size_ // 10_000 <= gap.low <= 0
    assert FAR > gap.high >= size_
