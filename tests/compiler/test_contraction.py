"""Convolutions and matrix products: the loops against numpy, the schedules against the loops, the C against both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board import Target, core_target
from harness.compiler import schedules
from harness.compiler.choose import candidates
from harness.compiler.interpret import run
from harness.compiler.loops import For, If, Program, walk
from harness.compiler.lowering.contraction import Arithmetic, convolution, depthwise, matmul
from harness.compiler.lowering.window import Window
from harness.compiler.pipeline import random_inputs
from harness.compiler.render_c import intrinsics_of
from harness.compiler.schedules.base import Family, apply
from harness.compiler.verify import verify
from harness.dtypes import DType
from tests.native import run_native

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

M0 = core_target("cortex-m0")
M3 = core_target("cortex-m3")
M4 = core_target("cortex-m4")
M55 = core_target("cortex-m55")
cores = st.sampled_from([M0, M3, M4, M55])


def arithmetic(channels: int, seed: int, dtype: DType = DType.I8) -> Arithmetic:
    rng = np.random.default_rng(seed)
    if dtype is DType.F32:
        return Arithmetic(dtype, rng.standard_normal(channels).astype(np.float32), 0.0, 6.0)
    each = channels if seed % 2 else 1
    return Arithmetic(
        dtype,
        rng.integers(-5000, 5000, channels, dtype=np.int32),
        *((-128, 127) if seed % 3 else (-5, 90)),
        input_zero_point=int(rng.integers(-128, 128)),
        output_zero_point=int(rng.integers(-128, 128)),
        multipliers=rng.integers(1 << 30, 1 << 31, each, dtype=np.int64).astype(np.int32),
        shifts=rng.integers(-10, -6 if seed % 5 else 3, each).astype(np.int32),
    )


def weights(shape: tuple[int, ...], seed: int, dtype: DType = DType.I8) -> np.ndarray:
    rng = np.random.default_rng(seed + 1000)
    if dtype is DType.F32:
        return rng.standard_normal(shape).astype(np.float32)
    return rng.integers(-127, 128, shape).astype(np.int8)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    kernel = draw(st.integers(1, 4))
    stride, dilation = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2]))
    size = draw(st.integers((kernel - 1) * dilation + 1, 9))
    return Window.of(draw(st.sampled_from(["SAME", "VALID"])), size, kernel, stride, dilation)


def accumulators(
    p: Program, x: np.ndarray, w: np.ndarray, rows: Window, columns: Window, each: int | None
) -> np.ndarray:
    """Sum of x * w over the taps inside the input, by four nested loops; x without its zero point."""
    batch, height, width, _depth = x.shape
    channels = w.shape[0] if each is None else w.shape[2]
    acc = np.zeros((batch, rows.out, columns.out, channels), np.int64)
    for oy in range(rows.out):
        for ox in range(columns.out):
            for ky in range(rows.kernel):
                for kx in range(columns.kernel):
                    iy = oy * rows.stride + ky * rows.dilation - rows.pad_before
                    ix = ox * columns.stride + kx * columns.dilation - columns.pad_before
                    if not (0 <= iy < height and 0 <= ix < width):
                        continue
                    if each is None:
                        acc[:, oy, ox] += x[:, iy, ix].astype(np.int64) @ w[:, ky, kx].astype(np.int64).T
                    else:
                        acc[:, oy, ox] += np.repeat(x[:, iy, ix], each, -1) * w[ky, kx].astype(np.int64)
    return acc


def finished(acc: np.ndarray, a: Arithmetic) -> np.ndarray:
    """The reference's requantisation in exact integers, one element at a time."""
    multipliers = np.broadcast_to(a.multipliers, acc.shape[-1:])
    shifts = np.broadcast_to(a.shifts, acc.shape[-1:])
    out = np.empty(acc.shape, np.int8)
    for index in np.ndindex(*acc.shape):
        total = int(acc[index]) + int(a.bias[index[-1]])
        multiplier, shift = int(multipliers[index[-1]]), int(shifts[index[-1]])
        product = (total << max(shift, 0)) * multiplier
        high = (product + (1 << 30)) >> 31
        half = 1 << (max(-shift, 0)) >> 1
        scaled = (abs(high) + half) >> max(-shift, 0)
        value = (scaled if high >= 0 else -scaled) + a.output_zero_point
        out[index] = min(max(value, int(a.low)), int(a.high))
    return out


def check(plain: Program, scheduled: Program, core: Target) -> np.ndarray:
    """Verifies both, runs both, holds them equal; gives the output."""
    verify(plain, "lowering")
    verify(scheduled, "scheduling", core.instructions)
    inputs = random_inputs(plain, 7)
    want, got = run(schedules.tidy(plain), inputs)["output"], run(scheduled, inputs)["output"]
    assert np.array_equal(want.reshape(-1), got.reshape(-1))
    return want


def scheduled(plain: Program, core: Target, family: Family, number: int = 0) -> Program:
    """`plain` by one of the schedules it can have: number 0 is the first."""
    found = candidates(plain, core, family)
    program = apply(found[number % len(found)].schedule, plain, core)
    assert program is not None
    return program


@settings(max_examples=60, deadline=None)
@given(windows(), windows(), st.integers(1, 5), st.integers(1, 6), st.integers(1, 2), st.integers(0, 999), cores)
def test_convolution(
    rows: Window, columns: Window, depth: int, channels: int, batch: int, seed: int, core: Target
) -> None:
    a = arithmetic(channels, seed)
    w = weights((channels, rows.kernel, columns.kernel, depth), seed)
    plain = convolution("conv2d_0", a, batch, rows, columns, w)
    got = check(plain, scheduled(plain, core, schedules.CONTRACTION, seed), core)
    x = random_inputs(plain, 7)["input"].reshape(batch, rows.size, columns.size, depth)
    want = finished(accumulators(plain, x.astype(np.int64) - a.input_zero_point, w, rows, columns, None), a)
    assert np.array_equal(got.reshape(want.shape), want)


@settings(max_examples=60, deadline=None)
@given(windows(), windows(), st.integers(1, 6), st.integers(1, 3), st.integers(1, 2), st.integers(0, 999), cores)
def test_depthwise(rows: Window, columns: Window, depth: int, each: int, batch: int, seed: int, core: Target) -> None:
    a = arithmetic(depth * each, seed)
    w = weights((rows.kernel, columns.kernel, depth * each), seed)
    plain = depthwise("depthwise_conv2d_0", a, batch, rows, columns, w, depth)
    got = check(plain, scheduled(plain, core, schedules.DEPTHWISE, seed), core)
    x = random_inputs(plain, 7)["input"].reshape(batch, rows.size, columns.size, depth)
    want = finished(accumulators(plain, x.astype(np.int64) - a.input_zero_point, w, rows, columns, each), a)
    assert np.array_equal(got.reshape(want.shape), want)


@settings(max_examples=40, deadline=None)
@given(windows(), windows(), st.integers(2, 5), st.integers(0, 999))
def test_every_strip_of_a_depthwise_convolution_is_exact(rows: Window, columns: Window, depth: int, seed: int) -> None:
    """All ways to cut a layer: along rows and columns, one and two rows of outputs, the last strip reaching back."""
    plain = depthwise(
        "l_0",
        arithmetic(depth, 5 * seed + 1),
        1,
        rows,
        columns,
        weights((rows.kernel, columns.kernel, depth), seed),
        depth,
    )
    for number in range(len(candidates(plain, M55, schedules.DEPTHWISE))):
        check(plain, scheduled(plain, M55, schedules.DEPTHWISE, number), M55)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 70),
    st.integers(1, 18),
    st.integers(0, 999),
    st.sampled_from([DType.I8, DType.F32]),
    cores,
)
def test_matmul(rows: int, depth: int, channels: int, seed: int, dtype: DType, core: Target) -> None:
    a = arithmetic(channels, seed, dtype)
    plain = matmul("fully_connected_0", a, rows, weights((channels, depth), seed, dtype))
    check(plain, scheduled(plain, core, schedules.CONTRACTION, seed), core)


SHAPES = {
    "pointwise": lambda: convolution("l_0", arithmetic(7, 1), 1, WIDE(5, 1), WIDE(3, 1), weights((7, 1, 1, 9), 1)),
    "padded": lambda: convolution("l_0", arithmetic(6, 3), 1, WIDE(7, 3), WIDE(6, 3), weights((6, 3, 3, 5), 2)),
    "dilated": lambda: convolution(
        "l_0", arithmetic(3, 5), 2, WIDE(7, 3, 1, 2), WIDE(9, 3, 1, 2), weights((3, 3, 3, 2), 3)
    ),
    "strided, one row": lambda: convolution(
        "l_0", arithmetic(4, 2), 1, WIDE(9, 4, 2), WIDE(1, 1), weights((4, 4, 1, 3), 4)
    ),
    "float": lambda: convolution(
        "l_0", arithmetic(5, 1, DType.F32), 1, WIDE(5, 3), WIDE(5, 3), weights((5, 3, 3, 2), 5, DType.F32)
    ),
    "depthwise": lambda: depthwise("l_0", arithmetic(6, 1), 1, WIDE(6, 3), WIDE(7, 3), weights((3, 3, 6), 6), 6),
    "depthwise times two": lambda: depthwise(
        "l_0", arithmetic(6, 7), 1, WIDE(6, 3), WIDE(7, 3, 2), weights((3, 3, 6), 7), 3
    ),
    "depthwise from one": lambda: depthwise(
        "l_0", arithmetic(8, 1), 1, WIDE(9, 4, 2), WIDE(8, 3, 2), weights((4, 3, 8), 8), 1
    ),
    "matmul": lambda: matmul("l_0", arithmetic(10, 1), 1, weights((10, 33), 9)),
}


def WIDE(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> Window:
    return Window.of("SAME", size, kernel, stride, dilation)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_printed_c_computes_what_the_interpreter_does(shape: str, tmp_path: Path) -> None:
    plain = SHAPES[shape]()
    family = schedules.DEPTHWISE if "depthwise" in shape else schedules.CONTRACTION
    ways = {"plain": scheduled(plain, M3, schedules.PLAIN), "scheduled": scheduled(plain, M3, family)}
    for name, program in ways.items():
        folder = tmp_path / name
        folder.mkdir()
        inputs = random_inputs(program, 3)
        assert np.array_equal(run_native(program, inputs, folder)["output"], run(program, inputs)["output"])


def test_inside_the_border_nothing_is_clipped_and_no_zero_point_is_left() -> None:
    """What the schedule is for: constant loops and a folded bias for the pixels that are not at the border."""
    plain = SHAPES["padded"]()
    program = scheduled(plain, M0, schedules.CONTRACTION)
    (split,) = [s for s in walk(program.body) if isinstance(s, If)]
    loops = [s for s in walk(split.then) if isinstance(s, For)]
    assert loops
    assert all(type(s.start).__name__ == type(s.stop).__name__ == "Const" for s in loops)
    assert any(b.name == "bias_folded" for b in program.buffers)


@pytest.mark.parametrize(("beyond", "name"), [(0, "nn_rescale"), (1, "nn_requantise_any")])
def test_the_short_shift_is_taken_only_where_its_rounding_fits(beyond: int, name: str) -> None:
    """It adds 2^(shift - 1) to the scaled sum: with shift 31 the largest sum may be 2^30 - 1, and no more."""
    w = np.full((2, 4), 127, np.int8)
    bias = (1 << 30) - 1 - 4 * 255 * 127 + beyond
    for sign in (1, -1):
        a = Arithmetic(
            DType.I8,
            np.array([0, sign * bias], np.int32),
            -128,
            127,
            multipliers=np.array([1 << 30], np.int32),
            shifts=np.array([-31], np.int32),
        )
        assert name in [i.name for i in intrinsics_of(matmul("l_0", a, 1, w))]


def test_one_channel_alone_has_no_pair() -> None:
    """A clamp at the zero point is scaled by one multiplication, and half of the sums of pairs belong to nobody."""
    clamped = replace(arithmetic(1, 1), low=-20, output_zero_point=-20)
    plain = convolution("l_0", clamped, 1, WIDE(5, 1), WIDE(3, 1), weights((1, 1, 1, 8), 1))
    check(plain, scheduled(plain, M4, schedules.CONTRACTION), M4)


def test_channels_of_one_multiplier_keep_their_own_shifts() -> None:
    """Weight scales that are powers of two apart differ in nothing else."""
    w = weights((3, 6), 1)
    shifts = np.array([-8, -9, -7], np.int32)
    a = Arithmetic(DType.I8, np.zeros(3, np.int32), -128, 127, multipliers=np.full(3, 3 << 29, np.int32), shifts=shifts)
    plain = matmul("l_0", a, 2, w)
    got = check(plain, scheduled(plain, M3, schedules.CONTRACTION), M3)
    x = random_inputs(plain, 7)["input"].astype(np.int64)
    assert np.array_equal(got, finished((x @ w.T.astype(np.int64)).reshape(1, 1, 2, 3), a).reshape(2, 3))
