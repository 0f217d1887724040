"""Elementwise operators carry channels over one for one, and what they say of values holds for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.compiler.ops import channels_of, reference
from tests.compiler.ops.oracle import load
from tests.compiler.passes.test_channel_links import left, net_of
from tests.models import Net

UNARY = ["relu", "relu6", "relu_n1_to_1", "leaky_relu", "hard_swish", "tanh", "logistic", "quantize"]
BINARY = ["add", "sub", "mul", "minimum", "maximum"]


@pytest.mark.parametrize("kind", UNARY + BINARY)
def test_channels_are_carried_over(kind: str) -> None:
    def built(net: Net, x: int) -> None:
        made = getattr(net, kind)(*(x,) * (1 + (kind in BINARY)))
        net.conv2d(made, (1, 1), 3)

    graph, x = net_of(built)
    assert left(graph, x) == (0, 2, 3, 5)
    assert left(graph, graph.ops[1].outputs[0]) == (0, 2, 3, 5)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sampled_from(UNARY + BINARY), st.integers(0, 2**32 - 1))
def test_no_value_leaves_the_range_that_is_given_for_it(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Net(seed % 1000)
    operands = [net.input((40, 5), name=f"x{n}") for n in range(1 + (kind in BINARY))]
    getattr(net, kind)(*operands)
    graph = load(net.build())
    (op,) = graph.ops
    channels = channels_of(graph, op)
    assert channels is not None
    ranges = [np.sort(rng.integers(-128, 128, (2, 5)), axis=0).astype(np.int64) for _ in operands]
    values = [rng.integers(low, high, (40, 5), endpoint=True).astype(np.int8) for low, high in ranges]
    (found,) = reference(graph, op, values)
    low, high = channels.ranges(ranges)
    assert (low <= found).all()
    assert (found <= high).all()


def test_floats_and_other_bytes_are_left_alone() -> None:
    net = Net(1, "float32")
    net.relu(net.input((2, 3)))
    net.quantize(net.input((2, 3)), to="int8")
    graph = load(net.build())
    for op in graph.ops:
        assert channels_of(graph, op) is None
