"""Activations that become part of an operator, and operators that become one table: what is joined, and that it is
the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.compiler.graph import Graph
from harness.compiler.ops import run_reference
from harness.compiler.passes.compose_tables import ComposeTables
from harness.compiler.passes.merge_activations import MergeActivations
from harness.compiler.pipeline import run_passes
from tests.compiler.ops.oracle import draw, load
from tests.models import Net
from tests.tflite_writer import QuantSpec

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

Q = (0.05, -3)
BOTH = frozenset({"merge-activations", "compose-tables"})


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def same_outputs(before: Graph, after: Graph, seed: int = 3) -> None:
    inputs = draw(before, seed)
    want, got = run_reference(before, inputs), run_reference(after, inputs)
    for tensor in before.outputs:
        np.testing.assert_array_equal(got[tensor], want[tensor])


HOSTS: dict[str, Callable[[Net, int, str], int]] = {
    "conv": lambda net, x, a: net.conv2d(x, (3, 3), 5, activation=a, quant=Q),
    "depthwise": lambda net, x, a: net.depthwise_conv2d(x, activation=a, quant=Q),
    "connected": lambda net, x, a: net.fully_connected(x, 7, activation=a, quant=Q),
    "add": lambda net, x, a: net.add(x, net.input((1, 6, 6, 3), name="b"), activation=a, quant=Q),
    "sub": lambda net, x, a: net.sub(x, net.input((1, 6, 6, 3), name="b"), activation=a, quant=Q),
    "mul": lambda net, x, a: net.mul(x, net.input((1, 6, 6, 3), name="b"), activation=a, quant=Q),
    "max": lambda net, x, a: net.max_pool(x, activation=a),
    "average": lambda net, x, a: net.average_pool(x, activation=a),
}


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("own", "activation", "joint"),
    [
        ("NONE", "relu", "RELU"),
        ("NONE", "relu6", "RELU6"),
        ("NONE", "relu_n1_to_1", "RELU_N1_TO_1"),
        ("RELU", "relu6", "RELU6"),
        ("RELU6", "relu", "RELU6"),
        ("RELU6", "relu6", "RELU6"),
    ],
)
def test_a_clamp_becomes_the_operators_own(host: str, own: str, activation: str, joint: str, dtype: str) -> None:
    net = Net(5, dtype)
    x = HOSTS[host](net, net.input((1, 6, 6, 3), quant=Q), own)
    getattr(net, activation)(x, quant=Q)
    graph = load(net.build())
    merged = MergeActivations().run(graph)
    (op,) = merged.ops
    assert op.attrs.activation == joint
    assert op.sources == (0, 1)
    same_outputs(graph, merged)


def other_scale(net: Net, x: int) -> None:
    net.relu(net.conv2d(x, quant=Q), quant=(0.04, -3))


def a_scale_next_to_it(net: Net, x: int) -> None:
    """The table is that of a clamp; but the convolution would scale its sums by another number."""
    net.relu(net.conv2d(x, quant=Q), quant=(float(np.nextafter(np.float32(0.05), np.float32(1))), -3))


def other_zero_point(net: Net, x: int) -> None:
    net.relu(net.conv2d(x, quant=Q), quant=(0.05, -2))


def not_a_clamp(net: Net, x: int) -> None:
    net.leaky_relu(net.conv2d(x, quant=Q), quant=Q)


def neither_contains_the_other(net: Net, x: int) -> None:
    net.relu_n1_to_1(net.conv2d(x, activation="RELU6", quant=Q), quant=Q)  # 0 … 1: no fused activation is


def read_twice(net: Net, x: int) -> None:
    y = net.conv2d(x, quant=Q)
    net.relu(y, quant=Q)
    net.max_pool(y)


@pytest.mark.parametrize(
    "build", [other_scale, a_scale_next_to_it, other_zero_point, not_a_clamp, neither_contains_the_other, read_twice]
)
def test_what_is_no_clamp_of_the_same_scale_stays(build: Callable[[Net, int], None]) -> None:
    net = Net(6)
    build(net, net.input((1, 6, 6, 3), quant=Q))
    graph = load(net.build())
    assert kinds(MergeActivations().run(graph)) == kinds(graph)


def test_an_output_of_the_model_stays() -> None:
    net = Net(7)
    x = net.conv2d(net.input((1, 6, 6, 3)), quant=Q)
    net.relu(x, quant=Q)
    graph = load(net.build())
    shown = Graph(
        graph.name,
        graph.tensors,
        graph.ops,
        graph.inputs,
        (graph.ops[0].outputs[0], *graph.outputs),
        len(graph.tensors),
    )
    assert kinds(MergeActivations().run(shown)) == ["CONV_2D", "RELU"]
    net = Net(7)
    net.tanh(net.relu(net.input((1, 6))))
    graph = load(net.build())
    shown = Graph(
        graph.name,
        graph.tensors,
        graph.ops,
        graph.inputs,
        (graph.ops[0].outputs[0], *graph.outputs),
        len(graph.tensors),
    )
    assert kinds(ComposeTables().run(shown)) == ["RELU", "TANH"]


def test_a_requantisation_that_changes_nothing_goes() -> None:
    net = Net(8)
    net.quantize(net.conv2d(net.input((1, 6, 6, 3)), activation="RELU6", quant=Q), quant=Q)
    merged = MergeActivations().run(load(net.build()))
    (op,) = merged.ops
    assert (op.kind, op.attrs.activation) == ("CONV_2D", "RELU6")


# ---- tables


def chain(net: Net, x: int) -> None:
    net.quantize(net.tanh(net.leaky_relu(net.hard_swish(x))), to="uint8", quant=(1 / 128, 131))


def swish(net: Net, x: int) -> None:
    net.mul(x, net.logistic(x))


def two_curves(net: Net, x: int) -> None:
    net.add(net.tanh(x), net.logistic(x))


def written_out_hard_swish(net: Net, x: int) -> None:
    """x * relu6(x + 3) / 6, as converters leave it where there is no operator for it."""
    three = net.constant(np.array([60], np.int8), name="three", quant=QuantSpec((0.05,), (0,)))
    sixth = net.constant(np.array([[127]], np.int8), name="sixth", quant=QuantSpec((1 / 6 / 127,), (0,)))
    net.mul(net.mul(x, net.relu6(net.add(x, three))), sixth)


@pytest.mark.parametrize("build", [chain, swish, two_curves, written_out_hard_swish])
def test_bytes_of_bytes_are_one_table(build: Callable[[Net, int], None]) -> None:
    net = Net(9)
    build(net, net.input((2, 130), quant=Q))
    graph = load(net.build())
    composed = ComposeTables().run(graph)
    (op,) = composed.ops
    assert op.kind == "LOOKUP"
    assert op.inputs == graph.inputs
    assert op.sources == tuple(range(len(graph.ops)))
    same_outputs(graph, composed)


def two_tensors(net: Net, x: int) -> list[str]:
    net.mul(x, net.logistic(net.input((2, 130), name="b")))
    return ["LOGISTIC", "MUL"]


def constant_of_many(net: Net, x: int) -> list[str]:
    many = net.constant(np.arange(130, dtype=np.int8), name="many", quant=QuantSpec((0.05,), (0,)))
    net.mul(net.tanh(x), many)
    return ["TANH", "MUL"]


def grows(net: Net, x: int) -> list[str]:
    net.add(net.tanh(net.input((1, 1), name="b")), x)
    return ["TANH", "ADD"]


def gains_a_dimension(net: Net, x: int) -> list[str]:
    one = net.constant(np.array([[5]], np.int8), name="one", quant=QuantSpec((0.05,), (0,)))
    net.add(net.tanh(net.input((130,), name="row")), one)
    return ["TANH", "ADD"]


def broadcast_to_itself(net: Net, x: int) -> list[str]:
    column = net.input((130, 1), name="column")
    flat = net.reshape(column, (1, 130))
    net.maximum(net.tanh(column), net.logistic(flat))
    return ["RESHAPE", "TANH", "LOGISTIC", "MAXIMUM"]


def seen_by_others(net: Net, x: int) -> list[str]:
    y = net.tanh(x)
    net.relu(y)
    net.max_pool(net.reshape(y, (1, 2, 130, 1)))
    return ["TANH", "RELU", "RESHAPE", "MAX_POOL_2D"]


@pytest.mark.parametrize(
    "build", [two_tensors, constant_of_many, grows, gains_a_dimension, broadcast_to_itself, seen_by_others]
)
def test_what_is_more_than_bytes_of_bytes_stays(build: Callable[[Net, int], list[str]]) -> None:
    net = Net(10)
    expected = build(net, net.input((2, 130), quant=Q))
    graph = load(net.build())
    composed = ComposeTables().run(graph)
    assert kinds(composed) == expected
    same_outputs(graph, composed)


UNARY = ["relu", "relu6", "relu_n1_to_1", "leaky_relu", "hard_swish", "tanh", "logistic", "quantize"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from([*UNARY, "add", "sub", "mul", "maximum"]), st.integers(0, 5)), min_size=1, max_size=9
    )
)
def test_any_graph_of_elements_computes_the_same(steps: list[tuple[str, int]]) -> None:
    net = Net(len(steps))
    values = [net.conv2d(net.input((1, 5, 6, 2)), (1, 1), 3, quant=Q)]
    for name, back in steps:
        operands = [values[-1]] if name in UNARY else [values[-1], values[max(len(values) - 1 - back, 0)]]
        quant = {"quant": Q} if name in ("relu", "relu6", "quantize") and back % 2 else {}
        values.append(getattr(net, name)(*operands, **quant))
    graph = load(net.build())
    passed = run_passes(graph)
    same_outputs(graph, passed)
    assert sorted(s for op in passed.ops for s in op.sources) == list(range(len(graph.ops)))
    assert kinds(run_passes(graph, BOTH)) == kinds(graph)
