"""Where a wrong rule of rounding would show: every boundary between two outputs, every pair of int8 operands."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.quantise import ConvParams, accumulate_and_requantise, conv_params, effective_scales
from harness.compiler.ops import OPERATORS, binary, conv2d, depthwise_conv2d, fully_connected, run_reference, softmax
from tests.compiler.ops.oracle import draw, load, tflite_outputs
from tests.models import Net
from tests.tflite_writer import BufferSpec, QuantSpec

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

ALL_I8 = np.arange(-128, 128).astype(np.int8)
PAIRS = np.stack(np.meshgrid(ALL_I8, ALL_I8), axis=-1).reshape(-1, 2)  # (65536, 2)
BOUNDARIES = np.arange(-127, 128) - 0.5
X_SCALE, Y_SCALE = float(np.float32(0.0317)), float(np.float32(0.6237))
NEAR = np.arange(-8, 9)  # sums on either side of a boundary


def boundary_model(kind: str, *, per_channel: bool) -> tuple[bytes, Graph, np.ndarray]:
    """A layer whose weights are 0 and whose biases stand close around every boundary of its output.

    The scale of a sum is about 2^-20 of an output step, so that one unit in the last place of a float32 product of
    scales moves a boundary by several sums. Gives the model, its graph and the biases.
    """
    net = Net(3)
    x = net.input((1, 1) if kind == "FULLY_CONNECTED" else (1, 1, 1, 1), quant=(X_SCALE, 5))
    channels = len(BOUNDARIES) * len(NEAR)
    options = {"per_channel": per_channel, "quant": (Y_SCALE, 0)}
    if kind == "CONV_2D":
        net.conv2d(x, (1, 1), channels, **options)
    elif kind == "DEPTHWISE_CONV_2D":
        net.depthwise_conv2d(x, (1, 1), channels, **options)
    else:
        net.fully_connected(x, channels, **options)
    _, weights, bias = net.operators[0].inputs or ()
    quant = net.tensors[weights].quant
    assert quant is not None
    fine = tuple(float(np.float32(scale * 2e-6 / quant.scales[0])) for scale in quant.scales)
    net.tensors[weights] = replace(net.tensors[weights], quant=replace(quant, scales=fine))
    steps = X_SCALE * np.broadcast_to(np.array(fine), (channels,)) / Y_SCALE
    biases = (np.round(np.repeat(BOUNDARIES, len(NEAR)) / steps) + np.tile(NEAR, len(BOUNDARIES))).astype(np.int32)
    scales = tuple(float(np.float32(np.float32(X_SCALE) * np.float32(scale))) for scale in fine)
    old = net.tensors[bias].quant
    assert old is not None
    net.tensors[bias] = replace(net.tensors[bias], quant=replace(old, scales=scales))
    net.buffers[net.tensors[weights].buffer] = BufferSpec(bytes(channels))
    net.buffers[net.tensors[bias].buffer] = BufferSpec(biases.tobytes())
    model = net.build()
    return model, load(model), biases


def double_product(graph: Graph, op: Op) -> ConvParams:
    """The rule of convolutions, for a fully connected layer of per-tensor weights, where it is wrong."""
    x, weights, y = (graph.tensor(tensor).quant for tensor in (*op.inputs[:2], op.outputs[0]))
    assert x is not None
    assert weights is not None
    assert y is not None
    return conv_params(x, y, effective_scales(x, weights, y, graph.tensor(op.inputs[1]).shape[0]), "NONE")


@pytest.mark.parametrize("per_channel", [False, True], ids=["per_tensor", "per_channel"])
@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_every_boundary(kind: str, per_channel: bool) -> None:
    model, graph, _ = boundary_model(kind, per_channel=per_channel)
    x = np.zeros(graph.tensor(graph.inputs[0]).shape, np.int8)
    found = run_reference(graph, [x])[graph.outputs[0]]
    (expected,) = tflite_outputs(model, [x])
    np.testing.assert_array_equal(found, expected)
    assert set(found.ravel().tolist()) >= set(range(-127, 128))


def test_boundaries_tell_the_float32_product_of_scales_from_the_double_one() -> None:
    _, graph, biases = boundary_model("FULLY_CONNECTED", per_channel=False)
    (op,) = graph.ops
    right, wrong = fully_connected.quantisation(graph, op), double_product(graph, op)
    assert right.multipliers[0] != wrong.multipliers[0]
    outputs = [accumulate_and_requantise(np.zeros_like(biases), biases, params) for params in (right, wrong)]
    assert (outputs[0] != outputs[1]).any()


def test_parameters_of_convolutions_have_one_entry_a_channel() -> None:
    for kind, quantisation in (("CONV_2D", conv2d.quantisation), ("DEPTHWISE_CONV_2D", depthwise_conv2d.quantisation)):
        for per_channel in (False, True):
            _, graph, biases = boundary_model(kind, per_channel=per_channel)
            params = quantisation(graph, graph.ops[0])
            assert params.multipliers.shape == params.shifts.shape == biases.shape
            assert params.multipliers.dtype == params.shifts.dtype == np.int32


@pytest.mark.parametrize(
    ("a", "b", "y"),
    [
        ((0.05, 3), (0.05, -7), (0.07, 1)),
        ((0.9, -128), (0.0007, 127), (0.5, 0)),
        ((0.0021, 0), (0.0033, 12), (0.0041, -128)),
        ((1.0, 0), (0.5, 0), (1.0, 0)),  # ties at every other sum
        ((0.25, -1), (0.75, 1), (0.5, 127)),
        ((3e-5, 0), (2e-5, 0), (60.0, 0)),  # everything rounds to the zero point
    ],
)
def test_addition_of_every_pair(a: tuple[float, int], b: tuple[float, int], y: tuple[float, int]) -> None:
    net = Net()
    operands = [net.input((1, len(PAIRS)), name=name, quant=quant) for name, quant in (("a", a), ("b", b))]
    net.add(*operands, quant=y)
    model = net.build()
    graph = load(model)
    inputs = [PAIRS[None, :, side].copy() for side in (0, 1)]
    np.testing.assert_array_equal(run_reference(graph, inputs)[graph.outputs[0]], tflite_outputs(model, inputs)[0])
    assert binary.sum_params(graph, graph.ops[0], 1).zero_points == (a[1], b[1])


@pytest.mark.parametrize("scale", [1.7e-8, 3e-5, 0.003, 0.0123, 0.05, 0.1, 0.31, 1.0, 2.9, 40.0, 1e6])
@pytest.mark.parametrize("others", [0, 9])
def test_softmax_of_every_pair(scale: float, others: int) -> None:
    """Rows of two elements and, beside them, `others` that are the same in all rows."""
    rest = np.random.default_rng(others).integers(-128, 0, (1, others)).astype(np.int8)
    rows = np.concatenate([PAIRS, np.repeat(rest, len(PAIRS), axis=0)], axis=1)
    net = Net()
    net.softmax(net.input(rows.shape, quant=(scale, 0)))
    model = net.build()
    graph = load(model)
    np.testing.assert_array_equal(run_reference(graph, [rows])[graph.outputs[0]], tflite_outputs(model, [rows])[0])


def test_softmax_exponentials_are_exponentials() -> None:
    """Near the real function (the series leaves out x^5 / 120), one at 0, and falling."""
    for scale in (0.0005, 0.01, 0.05, 0.1):
        table = softmax.softmax_exp_table(1.0, float(np.float32(scale)))
        assert table.dtype == np.int32
        assert table[0] == 2**31 - 1
        assert (np.diff(table.astype(np.int64)) <= 0).all()
        np.testing.assert_allclose(
            table / 2**31, np.exp(-np.arange(256) * np.float32(scale)), atol=0.125**5 / 120 + 2.0**-28, rtol=0
        )


def test_softmax_constants_are_the_nearest_of_their_format() -> None:
    """Their last bits are too fine for any int8 output to show."""
    q31 = [math.exp(-(2.0**power)) for power in range(-2, 5)]
    assert [round(real * 2**31) for real in q31] == list(softmax._EXP_MINUS_POWER)
    assert round(math.exp(-1 / 8) * 2**31) == softmax._EXP_MINUS_EIGHTH
    assert round(2**31 / 3) == softmax._ONE_THIRD
    assert (round(48 / 17 * 2**29), round(-32 / 17 * 2**29)) == (softmax.FORTY_EIGHT_OVER_17, softmax.MINUS_32_OVER_17)


def test_softmax_reciprocal() -> None:
    f = np.concatenate([np.arange(1000), np.linspace(0, 2**31 - 1, 100_001).astype(np.int64), [2**31 - 1]])
    np.testing.assert_allclose(softmax.reciprocal(f) / 2**31, 1 / (1 + f / 2**31), atol=2.0**-28, rtol=0)


def test_softmax_of_a_long_flat_row_rounds_to_nothing() -> None:
    """Each element's share is below half an output step; TFLite shifts by 32 or more bits here, which is undefined."""
    net = Net()
    net.softmax(net.input((1, softmax.MAX_DEPTH), quant=(0.1, 0)))
    graph = load(net.build())
    flat = np.full((1, softmax.MAX_DEPTH), 17, np.int8)
    assert (run_reference(graph, [flat])[graph.outputs[0]] == -128).all()


def test_convolution_without_bias_is_one_with_a_bias_of_zero() -> None:
    """tflite-runtime refuses to run it, TFLite Micro does not."""
    for kind, options in (("CONV_2D", {}), ("CONV_2D", {"activation": "RELU"})):
        net = Net(1)
        net.conv2d(net.input((1, 5, 5, 3)), **options)
        bias = (net.operators[0].inputs or ())[2]
        net.buffers[net.tensors[bias].buffer] = BufferSpec(bytes(16))
        zero = load(net.build())
        net.operators[0] = replace(net.operators[0], inputs=(net.operators[0].inputs or ())[:2])
        absent = load(net.build())
        assert absent.operand(absent.ops[0], 2) is None
        x = np.random.default_rng(0).integers(-128, 128, (1, 5, 5, 3)).astype(np.int8)
        results = [run_reference(graph, [x])[graph.outputs[0]] for graph in (zero, absent)]
        np.testing.assert_array_equal(*results)
        assert OPERATORS[kind].macs(zero, zero.ops[0]) == 5 * 5 * 4 * 27


@pytest.mark.parametrize("position", [0, 1])
def test_addition_of_a_constant(position: int) -> None:
    net = Net()
    x = net.input((1, 4, 4, 256), quant=(0.03, -3))
    operands = [x, net.constant(ALL_I8, name="constant", quant=QuantSpec((0.05,), (7,)))]
    net.add(*(operands if position else operands[::-1]), quant=(0.06, 2))
    model = net.build()
    graph = load(model)
    (array,) = draw(graph, 0)
    np.testing.assert_array_equal(run_reference(graph, [array])[graph.outputs[0]], tflite_outputs(model, [array])[0])


def test_addition_of_a_tensor_to_itself() -> None:
    net = Net()
    x = net.input((1, 256), quant=(0.03, -3))
    net.add(x, x, activation="RELU", quant=(0.05, -100))
    model = net.build()
    graph = load(model)
    np.testing.assert_array_equal(
        run_reference(graph, [ALL_I8[None]])[graph.outputs[0]], tflite_outputs(model, [ALL_I8[None]])[0]
    )
