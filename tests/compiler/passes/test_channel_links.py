"""What each operator says of its channels, seen in what becomes of a small net with known constant channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from harness.board import core_target
from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph, Quant, View
from harness.compiler.interpret import run
from harness.compiler.ops import run_reference
from harness.compiler.ops.fully_connected import quantisation
from harness.compiler.passes.drop_channels import DropChannels
from harness.compiler.pipeline import programs_of
from tests.compiler.passes.test_drop_channels import assert_same
from tests.constant_channels import FAR, inputs_of, saturate, with_constants
from tests.models import Net
from tests.tflite_writer import QuantSpec

TABLE = QuantSpec((0.04,), (2,))


def net_of(build: Callable[[Net, int], object], constants: tuple[int, ...] = (1, 4)) -> tuple[Graph, int]:
    """A convolution of six channels, of which `constants` have one value, and what `build` puts behind it."""
    net = Net(seed=8)
    x = net.conv2d(net.input((1, 4, 4, 3)), (1, 1), 6, activation="RELU")
    saturate(net, x, {c: FAR if c % 2 else -FAR for c in constants})
    build(net, x)
    return parse_model(net.build(), "links.tflite"), x


def left(graph: Graph, tensor: int) -> tuple[int, ...]:
    """The channels of `tensor` that stay, with the smaller model found right."""
    kept = assert_same(graph, 3).kept.get(tensor)
    return tuple(range(graph.tensor(tensor).shape[-1])) if kept is None else kept.channels


@pytest.mark.parametrize("pool", ["average_pool", "max_pool"])
def test_a_pool_carries_channels_over(pool: str) -> None:
    """Also one that is no zero point: padding takes no part in a pool."""
    graph, x = net_of(lambda net, x: net.conv2d(getattr(net, pool)(x, (2, 2), padding="SAME"), (1, 1), 3))
    assert left(graph, x) == (0, 2, 3, 5)
    assert left(graph, graph.ops[1].outputs[0]) == (0, 2, 3, 5)


def test_what_a_pool_clamps_is_one_value_too() -> None:
    def clamped(net: Net, x: int) -> None:
        y = net.conv2d(x, (1, 1), 6)
        saturate(net, y, {2: -FAR})
        net.conv2d(net.max_pool(y, activation="RELU"), (1, 1), 3)

    graph, _ = net_of(clamped, ())
    pooled = graph.ops[2].outputs[0]
    small = assert_same(graph, 3)
    quant = graph.tensor(pooled).quant
    assert quant is not None
    assert small.kept[pooled].assumed == (2,)
    assert small.kept[pooled].values[2] == quant.zero_point > -128


def test_features_of_a_flattened_tensor_are_its_channels_in_every_pixel() -> None:
    graph, x = net_of(lambda net, x: net.fully_connected(net.reshape(x), 3))
    flat = graph.ops[1].outputs[0]
    assert left(graph, x) == (0, 2, 3, 5)
    assert left(graph, flat) == tuple(6 * pixel + c for pixel in range(16) for c in (0, 2, 3, 5))


def test_a_product_flattens_by_itself_too() -> None:
    graph, x = net_of(lambda net, x: net.fully_connected(net.reshape(x), 3))
    _, _, product = graph.ops
    alone = replace(graph, ops=(graph.ops[0], replace(product, inputs=(x, *product.inputs[1:]))))
    assert left(alone, x) == (0, 2, 3, 5)


@pytest.mark.parametrize("reshaped", [True, False], ids=["reshaped", "flattened by the product"])
def test_a_channel_read_in_one_pixel_is_needed(reshaped: bool) -> None:
    graph, x = net_of(lambda net, x: net.fully_connected(net.reshape(x), 3), ())
    first, _, product = graph.ops
    if not reshaped:
        graph = replace(graph, ops=(first, replace(product, inputs=(x, *product.inputs[1:]))))
    position = product.inputs[1]
    weights = graph.tensor(position).data
    assert weights is not None
    zero = np.arange(96) % 6 == 2
    assert left(with_constants(graph, {position: np.where(zero, 0, weights).astype(np.int8)}), x) == (0, 1, 3, 4, 5)
    zero[6 * 7 + 2] = False
    assert left(with_constants(graph, {position: np.where(zero, 0, weights).astype(np.int8)}), x) == tuple(range(6))


def test_a_reshape_that_cuts_channels_needs_them_all() -> None:
    graph, x = net_of(lambda net, x: net.fully_connected(net.reshape(x, (32, 3)), 3))
    assert left(graph, x) == tuple(range(6))


def test_a_residual_sum_keeps_what_any_of_its_parts_is_needed_for() -> None:
    def residual(net: Net, x: int) -> None:
        other = net.conv2d(x, (1, 1), 6)
        saturate(net, other, {1: FAR, 2: FAR})
        net.conv2d(net.add(x, other), (1, 1), 3)

    graph, x = net_of(residual)
    _, other, total, _ = (op.outputs[0] for op in graph.ops)
    # Channel 1 is one value in both operands, 2 and 4 in one of them each.
    assert left(graph, x) == left(graph, other) == left(graph, total) == (0, 2, 3, 4, 5)


def test_a_sum_that_saturates_is_constant_though_its_operands_are_not() -> None:
    def sums(net: Net, x: int) -> None:
        table = np.where(np.arange(6) == 3, 127, 0).astype(np.int8)[np.newaxis, np.newaxis, np.newaxis]
        huge = net.constant(table, name="table", quant=QuantSpec((50.0,), (0,)))
        net.conv2d(net.add(x, huge, quant=(60.0, -120)), (1, 1), 3)

    graph, x = net_of(sums, ())
    assert 3 not in left(graph, x)


def test_the_table_that_is_added_loses_the_same_channels() -> None:
    def tabled(net: Net, x: int) -> None:
        table = net.constant(np.arange(-3, 3, dtype=np.int8), name="table", quant=TABLE)
        net.conv2d(net.add(net.add(x, table), table), (1, 1), 3)

    graph, x = net_of(tabled)
    small = assert_same(graph, 3)
    assert small.kept[x].channels == (0, 2, 3, 5)
    for op in small.ops[1:3]:
        data = small.tensor(op.inputs[1]).data
        assert data is not None
        assert data.tolist() == [-3, -1, 0, 2]


def test_two_sums_may_keep_different_channels_of_one_table() -> None:
    def branches(net: Net, x: int) -> None:
        table = net.constant(np.arange(-3, 3, dtype=np.int8), name="table", quant=TABLE)
        net.conv2d(net.add(x, table), (1, 1), 3)
        other = net.conv2d(x, (1, 1), 6)
        saturate(net, other, {0: FAR})
        net.conv2d(net.add(other, table), (1, 1), 3)

    graph, x = net_of(branches)
    assert left(graph, x) == (0, 2, 3, 5)
    assert left(graph, graph.ops[3].outputs[0]) == (1, 2, 3, 4, 5)


def test_a_single_added_channel_is_no_strand() -> None:
    def scalar(net: Net, x: int) -> None:
        one = net.constant(np.array([[[[5]]]], np.int8), name="one", quant=TABLE)
        net.conv2d(net.add(x, one), (1, 1), 3)

    graph, x = net_of(scalar)
    assert left(graph, x) == (0, 2, 3, 5)


def test_channels_of_a_multiplied_depthwise_convolution_go_by_twos() -> None:
    def multiplied(net: Net, x: int) -> None:
        y = net.depthwise_conv2d(x, (1, 1), 2)
        saturate(net, y, {6: FAR, 2: FAR, 3: -FAR})
        net.conv2d(y, (1, 1), 3)

    graph, x = net_of(multiplied)
    assert left(graph, graph.ops[1].outputs[0]) == (0, 1, 4, 5, 6, 7, 10, 11)  # 6 for the sake of 7
    assert left(graph, x) == (0, 2, 3, 5)


def test_a_depthwise_convolution_of_one_channel_is_an_ordinary_one() -> None:
    net = Net(seed=9)
    y = net.depthwise_conv2d(net.input((1, 4, 4, 1)), (3, 3), 5)
    saturate(net, y, {0: -FAR, 3: FAR})
    net.conv2d(y, (1, 1), 3)
    graph = parse_model(net.build(), "links.tflite")
    small = assert_same(graph, 3)
    assert small.kept[y].channels == (1, 2, 4)
    assert small.ops[0].attrs.depth_multiplier == 3


def test_one_unit_of_many_keeps_the_arithmetic_of_many() -> None:
    """TFLite multiplies the scales of FULLY_CONNECTED in double where there are several, in float32 where one is."""
    net = Net(seed=10)
    x = net.fully_connected(net.input((1, 40)), 6, per_channel=True)
    saturate(net, x, dict.fromkeys((0, 1, 2, 4, 5), -FAR))
    net.fully_connected(x, 3)
    graph = parse_model(net.build(), "links.tflite")
    small = assert_same(graph, 3)
    assert small.kept[x].channels == (3,)
    weights = small.tensor(small.ops[0].inputs[1]).quant
    assert weights is not None
    assert (len(weights.scales), weights.axis) == (1, 0)
    before, after = quantisation(graph, graph.ops[0]), quantisation(small, small.ops[0])
    assert after.multipliers.tolist() == [before.multipliers[3]]
    alone = Quant(weights.scales, weights.zero_points)
    other = replace(small, tensors=tuple(replace(t, quant=alone) if t.quant is weights else t for t in small.tensors))
    assert quantisation(other, small.ops[0]).multipliers.tolist() != [before.multipliers[3]]


def test_operators_that_say_nothing_read_and_make_every_channel() -> None:
    graph, x = net_of(lambda net, x: net.conv2d(net.softmax(x), (1, 1), 3))
    assert left(graph, x) == left(graph, graph.ops[1].outputs[0]) == tuple(range(6))


def test_outputs_stay_whole() -> None:
    graph, x = net_of(lambda net, x: net.conv2d(x, (1, 1), 3))
    assert left(replace(graph, outputs=(*graph.outputs, x)), x) == tuple(range(6))


def test_a_tensor_with_two_readers_keeps_what_one_of_them_cannot_fold() -> None:
    """Channel 1 is not the zero point: the reader that pads cannot take it into its bias."""

    def readers(net: Net, x: int) -> None:
        net.conv2d(x, (1, 1), 3)
        net.conv2d(x, (3, 3), 3, padding="SAME")

    graph, x = net_of(readers)
    assert left(graph, x) == (0, 1, 2, 3, 5)


@pytest.mark.parametrize("shape", [(1, 4, 4, 6), (1, 96)])
def test_views_are_as_small_as_what_they_show(shape: tuple[int, ...]) -> None:
    graph, x = net_of(lambda net, x: net.fully_connected(net.reshape(x, shape), 3))
    first, view, product = graph.ops
    shown = replace(graph, ops=(first, product), views=(View(view.outputs[0], x, view.sources),))
    assert left(shown, x) == (0, 2, 3, 5)
    assert len(left(shown, view.outputs[0])) == shape[-1] * 4 // 6


def test_a_view_that_cuts_channels_needs_them_all() -> None:
    graph, x = net_of(lambda net, x: net.fully_connected(net.reshape(x, (32, 3)), 3))
    first, view, product = graph.ops
    shown = replace(graph, ops=(first, product), views=(View(view.outputs[0], x, view.sources),))
    assert left(shown, x) == tuple(range(6))


def test_a_circle_of_residual_sums_that_nobody_reads_is_dropped() -> None:
    """Each channel of the trunk is read by the branch that is added to it, and by nobody else."""

    def trunk(net: Net, x: int) -> None:
        for _ in range(3):
            x = net.add(x, net.depthwise_conv2d(x, (1, 1)))
        net.conv2d(x, (1, 1), 3)

    graph, x = net_of(trunk, ())
    position = graph.ops[-1].inputs[1]
    weights = graph.tensor(position).data
    assert weights is not None
    unread = np.isin(np.arange(6), (0, 5))
    assert left(with_constants(graph, {position: np.where(unread, 0, weights).astype(np.int8)}), x) == (1, 2, 3, 4)


def test_the_loops_compute_the_smaller_model_of_every_link() -> None:
    def everything(net: Net, x: int) -> None:
        y = net.conv2d(net.depthwise_conv2d(x, (3, 3)), (1, 1), 6, activation="RELU")
        saturate(net, y, {1: FAR, 4: -FAR, 2: -FAR})
        z = net.average_pool(net.add(net.conv2d(x, (3, 3), 6), y))
        net.softmax(net.fully_connected(net.reshape(z), 4))

    graph, _ = net_of(everything)
    for x in inputs_of(graph, 2):
        values = {graph.inputs[0]: x}
        for layer in programs_of(graph, core_target("cortex-m4")):
            inputs = dict(zip(layer.program.of_space("input"), layer.layer.inputs, strict=True))
            made = run(layer.program, {b.name: values[t].reshape(b.shape) for b, t in inputs.items()})
            values.update(zip(layer.layer.outputs, made.values(), strict=True))
        (y,) = graph.outputs
        assert np.array_equal(values[y].reshape(-1), run_reference(graph, [x])[y].reshape(-1))


def test_a_model_with_nothing_to_drop_stays_the_same_object() -> None:
    graph, _ = net_of(lambda net, x: net.conv2d(x, (1, 1), 3), ())
    assert DropChannels().run(graph) is graph
