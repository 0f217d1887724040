"""Random models that mostly move elements: compiled with any passes left out, every layer against the references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board import Target
from harness.compiler.frontends import parse_model
from harness.compiler.ops import run_reference
from harness.compiler.pipeline import PASSES, compile_graph
from tests.compiler.ops.oracle import draw
from tests.compiler.passes.test_fold_moves import compare_layers
from tests.compiler.test_random_models import QUICK
from tests.compiler.whole import run_whole
from tests.models import Net

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

HOST = Target("host", frozenset())
Q = (0.05, 3)  # of every tensor, so that any two can be put together


@st.composite
def nets(draw: st.DrawFn) -> Net:
    """Up to nine operators, each on one of the last tensors; those of four dimensions are convolved at times."""
    net = Net(draw(st.integers(0, 10_000)))
    shape = tuple(draw(st.sampled_from([1, 1, 2, 3, 4])) for _ in range(3))
    values = [net.input((1, *shape), quant=Q)]
    if draw(st.booleans()):
        values.append(net.input((1, *shape), name="other", quant=Q))
    for _ in range(draw(st.integers(2, 9))):
        x = draw(st.sampled_from(values[-5:]))
        values += _moved(draw, net, x, values)
    return net


def _moved(draw: st.DrawFn, net: Net, x: int, values: list[int]) -> list[int]:
    shape = net.shape(x)
    rank = len(shape)
    axis = draw(st.integers(0, rank - 1))
    elements = int(np.prod(shape))
    kinds = ["transpose", "join", "join", "cut", "reshape", "expand", "convolve", "convolve", "pool"]
    kind = draw(st.sampled_from(kinds if elements < 500 else ["cut"]))
    if kind == "transpose":
        return [net.transpose(x, draw(st.permutations(range(rank))))]
    if kind == "join":
        fits = [v for v in values if _fits(net.shape(v), shape, axis)]
        return [net.concatenation(x, *draw(st.lists(st.sampled_from(fits), min_size=1, max_size=2)), axis=axis)]
    if kind == "cut" and shape[axis] > 1:
        at = draw(st.integers(1, shape[axis] - 1))
        how = draw(st.sampled_from(["split", "slice", "unpack"]))
        if how == "split":
            return list(net.split_v(x, axis, (at, shape[axis] - at)))
        if how == "unpack" and rank > 2:
            return list(net.unpack(x, axis))
        begin = [0] * rank
        begin[axis] = at
        return [net.slice(x, begin, [-1] * rank)]
    if kind == "reshape":
        return [net.reshape(x, draw(st.sampled_from([(1, elements), (elements, 1), (1, 1, elements, 1), shape[::-1]])))]
    if kind == "expand" and rank < 4:
        return [net.expand_dims(x, axis)]
    if rank != 4:
        return [net.reshape(x, (1, 1, *_in_two(elements)))]
    around = [draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(2)]
    value = draw(st.sampled_from([3, 3, 3, -20]))
    padded = net.padv2(x, ((0, 0), *around, (0, 0)), value=value) if draw(st.booleans()) else x
    if kind == "pool":
        return [net.max_pool(padded, (2, 2), stride=(1, 1), padding="SAME")]
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    if draw(st.booleans()):
        return [net.depthwise_conv2d(padded, kernel, stride=stride, quant=Q)]
    return [net.conv2d(padded, kernel, draw(st.integers(1, 5)), stride=stride, quant=Q)]


def _fits(other: tuple[int, ...], shape: tuple[int, ...], axis: int) -> bool:
    return len(other) == len(shape) and all(a == b or d == axis for d, (a, b) in enumerate(zip(other, shape)))


def _in_two(elements: int) -> tuple[int, int]:
    factor = next(f for f in range(int(elements**0.5), 0, -1) if elements % f == 0)
    return factor, elements // factor


@settings(max_examples=60, deadline=None, phases=QUICK)
@given(net=nets(), seed=st.integers(0, 1000), disabled=st.sets(st.sampled_from([p.name for p in PASSES])))
def test_every_layer_computes_what_the_model_has_there(net: Net, seed: int, disabled: set[str]) -> None:
    graph = parse_model(net.build(), "net.tflite")
    for off in (frozenset(), frozenset(disabled)):
        compare_layers(graph, draw(graph, seed), off)


@settings(max_examples=12, deadline=None, phases=QUICK)
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
    assert got == [reference[tensor].tobytes() for tensor in graph.outputs]
