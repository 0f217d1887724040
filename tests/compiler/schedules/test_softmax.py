"""Softmax of int8 rows: every way of computing it equals the loops as lowered, to the last bit of what it rounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.board import Target
from harness.compiler.choose import Objective, choose
from harness.compiler.groups import Groups
from harness.compiler.interpret import run
from harness.compiler.intrinsics.softmax import HIGH_ADD_QUARTER
from harness.compiler.loops import (
    Alloc,
    Buffer,
    Const,
    Load,
    Program,
    Var,
    call,
    expressions,
    load,
    store,
    walk,
    walk_expr,
)
from harness.compiler.lowering.building import Builder, parallel
from harness.compiler.lowering.quantise import divide_by_pot, high_mul
from harness.compiler.lowering.softmax import significand
from harness.compiler.ops import softmax
from harness.compiler.pipeline import CompiledLayer, LoweredLayer, assert_equal, lower_layer, run_passes, schedule_layer
from harness.compiler.schedules.scalar import Plain
from harness.compiler.schedules.softmax import SoftmaxRows, quotient_of, reciprocal_of
from harness.dtypes import DType
from harness.errors import CompilerBug
from tests.compiler.ops.oracle import load as load_graph
from tests.models import Net
from tests.native import run_native

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

I32 = DType.I32
TARGETS = {
    "m0": Target("cortex-m0", frozenset()),
    "m3": Target("cortex-m3", frozenset()),
    "m4": Target("cortex-m4", frozenset({"dsp"})),
    "m55": Target("cortex-m55", frozenset({"dsp", "mve"})),
}
M3 = TARGETS["m3"]
TOP = 2**31 - 1


def lowered(shape: tuple[int, ...], scale: float, beta: float, target: Target) -> LoweredLayer:
    net = Net()
    net.softmax(net.input(shape, quant=(scale, 3)), beta=beta)
    graph = load_graph(net.build())
    groups = Groups(graph, run_passes(graph))
    return lower_layer(groups, groups.graph.ops[0], 0, target)


def ways(one: LoweredLayer, target: Target) -> Iterator[CompiledLayer]:
    for candidate in one.candidates:
        yield schedule_layer(one, candidate.schedule, target)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(TARGETS)),
    st.tuples(st.integers(1, 4), st.integers(1, 90)) | st.tuples(st.integers(1, 3), st.integers(1, 3), st.just(7)),
    st.floats(-16, 4).map(lambda power: 2.0**power),
    st.sampled_from([0.25, 1.0, 3.5]),
)
@example("m3", (1, 1), 0.1, 1.0)  # nothing but the largest element, whose share is 256 / 256
@example("m3", (5, 100), 0.1, 1.0)
@example("m0", (5, 101), 0.03, 1.0)
@example("m4", (5, 100), 40.0, 1.0)  # all but the largest elements are nothing: no other table entry will do
@example("m55", (1, 511), 1e-5, 1.0)  # the largest sum that asks for no shift past 31
@example("m3", (1, 513), 1e-5, 1.0)
@example("m0", (1, 1100), 1e-5, 1.0)
@example("m3", (1, softmax.MAX_DEPTH), 1e-5, 1.0)
def test_every_candidate_equals_the_loops(core: str, shape: tuple[int, ...], scale: float, beta: float) -> None:
    one = lowered(shape, scale, beta, TARGETS[core])
    assert {type(candidate.schedule) for candidate in one.candidates} == {SoftmaxRows, Plain}
    for compiled in ways(one, TARGETS[core]):
        assert_equal(compiled.unscheduled, compiled.program)


@pytest.mark.parametrize("schedule", [SoftmaxRows("shifted", 2), SoftmaxRows("table", 4)])
def test_rows_enough_to_show_one_bit_of_a_sum(schedule: SoftmaxRows) -> None:
    one = lowered((30_000, 4), 0.02, 1.0, M3)
    compiled = schedule_layer(one, schedule, M3)
    assert_equal(compiled.unscheduled, compiled.program)


@pytest.mark.parametrize("depth", [1, 2, 12, 300, 600])
def test_rows_that_are_flat_or_have_one_peak(depth: int, tmp_path: Path) -> None:
    """What random rows do not show: equal elements, one that is everything, and shares on either side of that."""
    rows = np.full((9, depth), -128, np.int8)
    rows[0], rows[1] = 127, 5
    rows[2:, -1] = [127, 0, -127, -118, -70, -68, -66]
    one = lowered(rows.shape, 0.1, 1.0, M3)
    for number, compiled in enumerate(ways(one, M3)):
        expected = run(compiled.unscheduled, {"input": rows})["output"]
        np.testing.assert_array_equal(run(compiled.program, {"input": rows})["output"], expected)
        folder = tmp_path / str(number)
        folder.mkdir()
        np.testing.assert_array_equal(run_native(compiled.program, {"input": rows}, folder)["output"], expected)


def quotients(recip: np.ndarray, exps: np.ndarray, zeros: int) -> np.ndarray:
    """The last step of a row as the schedule writes it, before it saturates."""
    build, i = Builder("quotients"), Var("i")
    operands = [load(build.input(name, I32, recip.size), i) for name in ("input", "input_1")]
    *before, q = quotient_of(operands[0], operands[1], Const(zeros))
    body = store(build.output(I32, recip.size), i, value=q)
    program = build.program(parallel("i", recip.size, *before, body))
    inputs = {"input": recip.reshape(-1).astype(np.int32), "input_1": exps.reshape(-1).astype(np.int32)}
    return run(program, inputs)["output"].reshape(recip.shape)


@pytest.mark.parametrize("zeros", range(1, 13))
def test_one_division_rounds_as_two(zeros: int) -> None:
    """Products on either side of every boundary between two outputs, where a unit in the last place shows."""
    rng = np.random.default_rng(zeros)
    shift = 35 - zeros
    recip = np.concatenate([rng.integers(2**30, 2**31, 200), [2**30, 2**30 + 1, TOP - 1, TOP]])[:, None, None]
    boundaries = (2 * np.arange(256)[None, :, None] + 1) << (shift + 30) if shift < 32 else np.zeros((1, 1, 1), int)
    exps = np.clip(boundaries // recip + np.arange(-2, 3), 0, TOP)
    recip, exps = np.broadcast_arrays(recip, exps)
    want = divide_by_pot(high_mul(recip, exps), shift)
    np.testing.assert_array_equal(quotients(recip, exps, zeros), want)
    saturated = want - (want >> 8)
    np.testing.assert_array_equal(saturated, np.minimum(want, 255))


@pytest.mark.parametrize("native", [False, True])
def test_the_product_in_python_and_in_c(native: bool, tmp_path: Path) -> None:
    """The host's C is that of cores without a 64-bit product; carries between its halves are among the products."""
    rng = np.random.default_rng(1)
    edges = np.array([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x1FFFF, 0x7FFE_FFFF, TOP - 1, TOP])
    few = [x.reshape(-1) for x in np.meshgrid(edges, edges)]
    odd = rng.integers(0, 2**30, 400) * 2 + 1
    low = rng.integers(-4, 4, 400) - 2**30  # of the product: on either side of a carry
    few[0] = np.concatenate([few[0], [pow(int(x), -1, 2**32) * int(y) % 2**32 for x, y in zip(odd, low, strict=True)]])
    few[1] = np.concatenate([few[1], odd])
    few = [one[few[0] <= TOP] for one in few]
    a, b = (np.concatenate([one, rng.integers(0, 2**31, 4000)]).astype(np.int32) for one in few)
    addend = rng.integers(0, 2**30, a.shape).astype(np.int32)
    inputs = {"input": a, "input_1": b, "input_2": addend}
    build, i = Builder("product"), Var("i")
    operands = [load(build.input(name, I32, a.size), i) for name in inputs]
    body = store(build.output(I32, a.size), i, value=call(HIGH_ADD_QUARTER, *operands))
    program = build.program(parallel("i", a.size, body))
    got = (run_native(program, inputs, tmp_path) if native else run(program, inputs))["output"]
    exact = [int(z) + (int(x) * int(y) + 2**30 >> 32) for x, y, z in zip(a, b, addend, strict=True)]
    assert got.tolist() == exact


def test_a_product_of_negative_numbers_is_refused() -> None:
    build, i = Builder("product"), Var("i")
    x = load(build.input("input", I32, 1), i)
    body = store(build.output(I32, 1), i, value=call(HIGH_ADD_QUARTER, x, 3, 0))
    with pytest.raises(CompilerBug, match="overflow"):
        run(build.program(parallel("i", 1, body)), {"input": np.array([-1], np.int32)})


def test_the_reciprocal_is_the_reference_s() -> None:
    """Of sums next to powers of two, where it is 1, and of others of every size."""
    rng = np.random.default_rng(2)
    powers = 2 ** np.arange(19, 31)
    near = (powers[:, None] + np.arange(4)).reshape(-1), (2 * powers[:, None] - 1 - np.arange(4)).reshape(-1)
    drawn = (powers[:, None] + rng.integers(0, powers[:, None], (len(powers), 2000))).reshape(-1)
    sums = np.concatenate([*near, drawn]).astype(np.int32)
    build, i = Builder("reciprocals"), Var("i")
    total, root = (Buffer(name, I32, (), "register") for name in ("total", "root"))
    source, result = build.input("input", I32, sums.size), build.output(I32, sums.size)
    zeros, half = significand(total)
    row = (Alloc(total), store(total, value=load(source, i)), zeros, half, *reciprocal_of(half.var, root))
    program = build.program(parallel("i", sums.size, *row, store(result, i, value=Var("reciprocal"))))
    leading = 32 - np.frexp(sums.astype(np.float64))[1].astype(np.int64)
    want = softmax.reciprocal((sums.astype(np.int64) << leading) - (1 << 31))
    assert want.max() == TOP
    np.testing.assert_array_equal(run(program, {"input": sums})["output"], want)


def tables(program: Program) -> dict[str, np.ndarray]:
    """The constants that the program reads, by name."""
    nodes = (n for s in walk(program.body) for e in expressions(s) for n in walk_expr(e))
    read = {n.buffer for n in nodes if isinstance(n, Load)}
    return {b.name: b.data for b in program.of_space("const") if b in read and b.data is not None}


@pytest.mark.parametrize("scale", [1e-5, 0.0317, 0.1, 1.3])
def test_what_an_element_adds_is_rounded_to_the_last_bit(scale: float) -> None:
    """A unit in the last place of the sum is too fine for outputs to show it."""
    one = lowered((4, 128), scale, 1.0, M3)
    by_table = schedule_layer(one, SoftmaxRows("table", 2), M3)
    exps = softmax.softmax_exp_table(1.0, float(np.float32(scale)))
    found = tables(by_table.program)
    np.testing.assert_array_equal(found["exps"], exps)
    exact = [(int(e) + 2048) // 4096 for e in exps]
    assert found["terms"].tolist() == exact
    assert found["terms"].dtype == np.int32
    shifted = schedule_layer(one, SoftmaxRows("shifted", 2), M3)
    assert set(tables(shifted.program)) == {"exps"}


def test_a_second_table_only_for_speed_and_only_for_more_elements_than_it_has() -> None:
    def chosen(shape: tuple[int, ...], objective: Objective) -> SoftmaxRows:
        (best,) = choose([lowered(shape, 0.1, 1.0, M3).candidates], objective)
        assert isinstance(best.schedule, SoftmaxRows)
        return best.schedule

    assert chosen((10, 128), Objective.SPEED) == SoftmaxRows("table", 4)
    assert chosen((2, 128), Objective.SPEED) == SoftmaxRows("table", 4)
    assert chosen((2, 127), Objective.SPEED) == SoftmaxRows("shifted", 4)
    assert chosen((10, 128), Objective.SIZE) == SoftmaxRows("shifted", 1)


def test_float_rows_stay_as_they_are() -> None:
    net = Net(dtype="float32")
    net.softmax(net.input((2, 12)))
    graph = load_graph(net.build())
    groups = Groups(graph, run_passes(graph))
    found = lower_layer(groups, groups.graph.ops[0], 0, M3).candidates
    assert [candidate.schedule for candidate in found] == [Plain()]
