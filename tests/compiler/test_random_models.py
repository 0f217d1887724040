"""Random models, compiled whole and run natively under the sanitizers, against the numpy references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from harness.board import Target
from harness.compiler.frontends import parse_model
from harness.compiler.ops import run_reference
from harness.compiler.pipeline import compile_graph
from tests.compiler.ops.oracle import draw
from tests.compiler.whole import run_whole
from tests.models import Net

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

HOST = Target("host", frozenset())
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # each example runs gcc: do not shrink for minutes


EXTREMES = [None, None, (0.05, -128), (0.05, 127), (30.0, 3), (2e-4, -5)]  # scale and zero point of an output


@st.composite
def nets(draw: st.DrawFn) -> Net:
    """Up to six operators over images, each on one of the last three tensors: branches, several inputs and outputs,
    windows larger than their input, views of anything, at times a classifier in the end."""
    net = Net(draw(st.integers(0, 10_000)))
    shape = (draw(st.sampled_from([1, 1, 2])), draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    values = [net.input((*shape, draw(st.integers(1, 6))), quant=draw(st.sampled_from(EXTREMES)))]
    if draw(st.booleans()):
        values.append(net.input((*shape, net.shape(values[0])[3]), name="other"))
    pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
    for _ in range(draw(st.integers(1, 6))):
        x = draw(st.sampled_from(values[-3:]))
        kind = draw(st.sampled_from(["conv2d", "conv2d", "depthwise", "pool", "add", "flat"]))
        activation = draw(st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]))
        fused = {"activation": activation, "quant": draw(st.sampled_from(EXTREMES))}
        window = {"padding": "SAME", "stride": draw(pairs)}
        if window["stride"] == (1, 1):
            window["dilation"] = draw(st.sampled_from([(1, 1), (2, 3)]))
        if kind == "conv2d":
            y = net.conv2d(x, draw(pairs), draw(st.integers(1, 9)), **window, **fused)
        elif kind == "depthwise":
            y = net.depthwise_conv2d(x, draw(pairs), multiplier=draw(st.integers(1, 3)), **window, **fused)
        elif kind == "pool":
            pool = net.max_pool if draw(st.booleans()) else net.average_pool
            y = pool(x, draw(pairs), padding="SAME", stride=draw(pairs), activation=activation)
        elif kind == "add":
            partners = [v for v in values if net.shape(v) == net.shape(x)]
            y = net.add(x, draw(st.sampled_from(partners)), **fused)
        else:
            y = net.reshape(net.reshape(x, (int(np.prod(net.shape(x))),)), net.shape(x))
        values.append(y)
    if draw(st.booleans()):
        net.softmax(net.fully_connected(net.reshape(values[-1]), draw(st.integers(1, 7))))
    return net


@settings(max_examples=15, deadline=None, phases=QUICK)
@given(net=nets(), seed=st.integers(0, 1000))
def test_the_whole_model_in_c_computes_the_reference(
    net: Net, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    graph = parse_model(net.build(), "net.tflite")
    inputs = draw(graph, seed)
    reference = run_reference(graph, inputs)
    source = compile_graph(graph, HOST)
    assert source.arena_bytes >= source.arena_lower_bound
    got = run_whole(source, inputs, tmp_path_factory.mktemp("net"))
    for values, tensor in zip(got, graph.outputs, strict=True):
        assert np.array_equal(np.frombuffer(values, np.int8), reference[tensor].reshape(-1))
