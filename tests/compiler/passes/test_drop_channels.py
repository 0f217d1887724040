"""Channels that are dropped: the model computes what it did, at the border too, and only what may go is gone."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.board import core_target
from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph, Kept
from harness.compiler.interpret import run
from harness.compiler.ops import run_reference
from harness.compiler.passes.drop_channels import DropChannels
from harness.compiler.pipeline import compile_graph, programs_of
from tests.constant_channels import chain, inputs_of, links, spoilt, with_constants

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

M3 = core_target("cortex-m3")
CASES = int(os.environ.get("LAYERPROOF_CASES", "200"))  # random nets of all links; some thousand take ten minutes


def assert_kept(want: np.ndarray, got: np.ndarray, kept: Kept | None) -> None:
    """The channels that stayed are right, and those that are gone are what was said of them."""
    assert np.array_equal(want if kept is None else kept.project(want), got)
    if kept is not None:
        assert all((want[..., c] == kept.values[c]).all() for c in kept.assumed)


def assert_same(graph: Graph, seed: int) -> Graph:
    """The smaller graph computes what `graph` does, tensor by tensor."""
    small = DropChannels().run(graph)
    for x in inputs_of(graph, seed):
        want, got = run_reference(graph, [x]), run_reference(small, [x])
        for tensor in [*(op.outputs[0] for op in graph.ops), *(view.tensor for view in graph.views)]:
            assert_kept(want[tensor], got[tensor], small.kept.get(tensor))
    return small


CONVOLUTIONS = st.lists(st.sampled_from(["1x1", "3x3", "depthwise"]), min_size=2, max_size=4)
SPATIAL = ["1x1", "3x3", "depthwise", "multiplied", "max", "average", "residual", "table", "scalar", "branch"]
FLAT = ["units", "units_each", "units", "table", "branch", "softmax"]
LINKS = st.tuples(
    st.lists(st.sampled_from(SPATIAL), min_size=1, max_size=6),
    st.sampled_from([[], ["flatten"]]),
    st.lists(st.sampled_from(FLAT), max_size=3),
).map(lambda parts: [kind for part in parts for kind in part])


@settings(max_examples=150, deadline=None)
@given(CONVOLUTIONS, st.sampled_from(["SAME", "VALID"]), st.integers(0, 9999))
@example(["1x1", "1x1", "1x1"], "SAME", 5646)  # a channel kept for want of any has to be right as well
def test_the_smaller_model_computes_the_same(kinds: list[str], padding: str, seed: int) -> None:
    if padding == "VALID":
        kinds = [kind if kind == "1x1" or i < 2 else "1x1" for i, kind in enumerate(kinds)]  # 5 x 6 pixels bear two
    assert_same(spoilt(chain(seed % 7, padding, kinds), seed), seed)


@settings(max_examples=CASES, deadline=None)
@given(LINKS, st.sampled_from(["SAME", "VALID"]), st.integers(0, 9999), st.sampled_from([0.2, 0.5, 0.9]))
def test_every_kind_of_link_computes_the_same(kinds: list[str], padding: str, seed: int, share: float) -> None:
    assert_same(spoilt(links(seed % 11, padding, kinds), seed, share), seed)


def test_the_loops_compute_the_smaller_model() -> None:
    graph = spoilt(chain(1, "SAME", ["3x3", "depthwise", "1x1", "3x3"]), 5)
    assert DropChannels().run(graph).kept
    for x in inputs_of(graph, 1):
        value = x
        for layer in programs_of(graph, M3):
            (buffer,) = layer.program.of_space("input")
            (value,) = run(layer.program, {buffer.name: value}).values()
        (y,) = graph.outputs
        assert np.array_equal(value.reshape(-1), run_reference(graph, [x])[y].reshape(-1))


def one_constant(padding: str, value_of_bias: int) -> tuple[Graph, Graph, int]:
    """Two convolutions; the first's channel 2 is one value for every input. The graph, the smaller one, the tensor."""
    graph = chain(3, padding, ["1x1", "3x3"])
    first = graph.ops[0]
    bias = graph.tensor(first.inputs[2]).data
    assert bias is not None
    graph = with_constants(graph, {first.inputs[2]: np.where(np.arange(6) == 2, value_of_bias, bias).astype(np.int32)})
    return graph, DropChannels().run(graph), first.outputs[0]


def test_without_padding_any_constant_channel_goes_into_the_bias() -> None:
    _, small, tensor = one_constant("VALID", 1 << 26)
    assert small.kept[tensor].channels == (0, 1, 3, 4, 5)
    assert small.kept[tensor].constant[2]
    assert small.tensor(tensor).shape[3] == 5


def test_with_padding_only_the_zero_point_does() -> None:
    """ReLU's floor is the zero point, which padding is too; its ceiling is not."""
    graph, small, tensor = one_constant("SAME", -(1 << 26))
    assert small.kept[tensor].channels == (0, 1, 3, 4, 5)
    quant = graph.tensor(tensor).quant
    assert quant is not None
    assert small.kept[tensor].values[2] == quant.zero_point
    _, small, tensor = one_constant("SAME", 1 << 26)
    assert tensor not in small.kept


def test_a_channel_that_only_meets_zero_weights_is_not_computed() -> None:
    graph = chain(3, "SAME", ["3x3", "3x3"])
    second = graph.ops[1]
    weights = graph.tensor(second.inputs[1]).data
    assert weights is not None
    changed = weights.copy()
    changed[..., 4] = 0
    small = DropChannels().run(with_constants(graph, {second.inputs[1]: changed}))
    kept = small.kept[second.inputs[0]]
    assert 4 not in kept.channels
    assert not kept.constant[4]


def test_one_channel_stays_where_none_is_needed() -> None:
    graph = spoilt(chain(4, "SAME", ["1x1", "depthwise", "1x1"]), 9, share=1.0)
    small = DropChannels().run(graph)
    assert small.kept
    assert all(len(kept.channels) >= 1 for kept in small.kept.values())


def test_kept_projects_and_restores() -> None:
    kept = Kept((1, 4), (1, 3), (True, False, False, False), (7, 0, 0, 0))
    whole = np.array([[7, 20, 30, 40]], np.int8)
    assert kept.project(whole).tolist() == [[20, 40]]
    assert kept.restore(kept.project(whole)).tolist() == [[7, 20, 0, 40]]
    assert (kept.assumed, kept.unread) == ((0,), (2,))


@pytest.mark.parametrize("name", ["vww_96_int8"])
def test_half_of_the_person_detector_is_constant(name: str, shared_model) -> None:
    """What is known of this model: 7.49 M multiplications become 3.7 M."""
    graph = parse_model(shared_model(name).read_bytes(), name)
    layers = programs_of(graph, M3)
    assert sum(layer.layer.macs for layer in layers) < 3_900_000


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4"])
def test_the_constants_of_the_person_detector_fit(core: str, shared_model) -> None:
    """With what its last pool and its product need not read: 208 kB in the file."""
    graph = parse_model(shared_model("vww_96_int8").read_bytes(), "vww_96_int8")
    source = compile_graph(graph, core_target(core), check=False)
    assert source.constant_bytes < 42_000
