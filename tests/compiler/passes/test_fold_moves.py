"""Folding what moves elements: what is left of it, that every layer still computes the model's tensors, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.board import Target
from harness.compiler.csource import CSource, Layer
from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph
from harness.compiler.interpret import run
from harness.compiler.ops import run_reference
from harness.compiler.pipeline import PASSES, compile_graph, programs_of, run_passes
from harness.compiler.values import Values
from tests.compiler.moving_nets import NETS
from tests.compiler.ops.oracle import draw, tflite_outputs
from tests.compiler.whole import run_whole
from tests.models import Net

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

M3 = Target("cortex-m3", frozenset())
ALL = frozenset(p.name for p in PASSES)
SWITCHES = [frozenset(), *(frozenset({p.name}) for p in PASSES), ALL]


def graph_of(net: str) -> Graph:
    return parse_model(NETS[net]().build(), "net.tflite")


def kinds(net: str, disabled: frozenset[str] = frozenset()) -> list[str]:
    return [op.kind for op in run_passes(graph_of(net), disabled).ops]


def compare_layers(graph: Graph, inputs: list[np.ndarray], disabled: frozenset[str]) -> None:
    """Runs the programs one after another; each leaves in its layer's outputs and parts what the model has there."""
    lowered = run_passes(graph, disabled)
    reference = run_reference(graph, inputs)
    values = Values(lowered)
    for tensor, array in zip(graph.inputs, inputs, strict=True):
        values[tensor] = array
    for op, compiled in zip(lowered.ops, programs_of(graph, M3, disabled), strict=True):
        layer, program = compiled.layer, compiled.program
        for tensor in layer.inputs:
            np.testing.assert_array_equal(values[tensor], reference[tensor])
        names = [b.name for b in program.of_space("input")]
        given = dict(zip(names, (values[t] for t in lowered.activations(op)), strict=True))
        for tensor, array in zip(op.outputs, run(program, given).values(), strict=True):
            values[tensor] = array
        for tensor in (*layer.outputs, *layer.parts):
            assert tensor < graph.model_tensors
            np.testing.assert_array_equal(values[tensor], reference[tensor])


@pytest.mark.parametrize("disabled", SWITCHES, ids=lambda names: "-".join(sorted(names)) or "all on")
@pytest.mark.parametrize("net", NETS)
def test_every_layer_computes_what_the_model_has_there(net: str, disabled: frozenset[str]) -> None:
    graph = graph_of(net)
    compare_layers(graph, draw(graph, 5), disabled)


@pytest.mark.parametrize("net", NETS)
def test_the_whole_model_in_c(net: str, tmp_path: Path) -> None:
    """Under the sanitizers, against TFLite's own kernels."""
    graph = graph_of(net)
    inputs = draw(graph, 6)
    want = [array.tobytes() for array in tflite_outputs(NETS[net]().build(), inputs)]
    assert run_whole(compile_graph(graph, M3), inputs, tmp_path / "folded") == want
    assert run_whole(compile_graph(graph, M3, disabled=ALL), inputs, tmp_path / "as it is") == want


@pytest.mark.parametrize("net", NETS)
def test_every_tensor_is_done_with_one_layer(net: str) -> None:
    source = compile_graph(graph_of(net), M3, check=False)
    done = [t for layer in source.layers for t in (*layer.outputs, *layer.parts)]
    assert len(set(done)) == len(done)
    assert set(done) <= set(source.placements)


@pytest.mark.parametrize("net", NETS)
def test_tensors_alike_have_the_same_bytes(net: str) -> None:
    graph = graph_of(net)
    values = run_reference(graph, draw(graph, 7))
    alike = compile_graph(graph, M3, check=False).alike
    for tensor, same in alike.items():
        assert tensor in same
        assert all(values[one].tobytes() == values[tensor].tobytes() for one in same)


@pytest.mark.parametrize(
    ("net", "same"),
    [("nothing_but_moves", (0, 8)), ("pieces_of_rows", (6, 12, 18)), ("turned_twice", (3, 7, 23, 25, 26))],
)
def test_which_tensors_are_alike(net: str, same: tuple[int, ...]) -> None:
    """The input of the model and its shape changed, a piece and two reshapes of it, a chain of views."""
    alike = compile_graph(graph_of(net), M3, check=False).alike
    assert all(tuple(sorted(alike[tensor])) == same for tensor in same)


@pytest.mark.parametrize("net", NETS)
def test_folding_never_needs_more_memory(net: str) -> None:
    graph = graph_of(net)
    apart = frozenset({"share-memory", "order-operators"})  # what may be shared follows from the loops that are left
    folded, as_it_is = (compile_graph(graph, M3, check=False, disabled=apart | off) for off in (frozenset(), ALL))
    assert folded.arena_lower_bound <= as_it_is.arena_lower_bound


def test_pads_become_padding_of_convolutions() -> None:
    listed = frozenset({"order-operators"})
    found = kinds("padded_convolutions", listed)
    assert found == ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "PADV2", "PADV2", "CONV_2D"]
    assert kinds("pad_that_is_read_otherwise", listed) == [
        "PAD",
        "CONV_2D",
        "MAX_POOL_2D",
    ]  # x dies with the PAD
    assert "PAD" not in kinds("the_same_twice")
    assert "PAD" not in kinds("the_same_twice", frozenset({"common-subexpressions"}))
    assert kinds("nothing_but_padding") == ["PAD", "CONV_2D"]
    lowered = run_passes(graph_of("padded_convolutions"), listed)
    assert [op.attrs.padding for op in lowered.ops[:3]] == [((1, 1), (1, 1)), ((2, 2), (1, 2)), ((0, 1), (1, 0))]
    assert [op.sources for op in lowered.ops[:4]] == [(0, 1), (2, 3), (4, 5), (4, 6)]


def test_transposes_cancel_and_combine() -> None:
    assert kinds("turned_twice") == ["CONV_2D", "CONV_2D", "TRANSPOSE", "SOFTMAX", "SOFTMAX"]
    assert kinds("turned_twice", ALL).count("TRANSPOSE") == 7
    assert kinds("turned_about") == ["TRANSPOSE", "SOFTMAX"]
    assert kinds("turned_and_read_between") == ["TRANSPOSE", "SOFTMAX"]


@pytest.mark.parametrize(
    ("net", "copies"),
    [("pieces_of_rows", 0), ("pieces_of_channels", 3), ("wholes_of_wholes", 0), ("outputs_in_a_whole", 0)],
)
def test_concatenations_and_splits_without_copies(net: str, copies: int) -> None:
    moved = ("CONCATENATION", "SPLIT", "SPLIT_V", "PACK", "UNPACK", "SLICE", "STRIDED_SLICE", "RESHAPE")
    assert sum(kind in moved for kind in kinds(net)) == (copies and 2)
    assert sum(kind in moved for kind in kinds(net, ALL)) > 0


def test_pieces_lie_in_the_whole() -> None:
    source = compile_graph(graph_of("pieces_of_rows"), M3, check=False)
    tensors = source.graph.tensors
    whole = next(op for op in source.graph.ops if op.kind == "CONCATENATION")
    split = next(op for op in source.graph.ops if op.kind == "SPLIT_V")
    start = source.placements[whole.outputs[0]].offset
    for tensors_of in (whole.inputs, split.outputs):
        offsets = [source.placements[t].offset - start for t in tensors_of]
        sizes = [tensors[t].bytes for t in tensors_of]
        assert offsets == [sum(sizes[:n]) for n in range(len(sizes))]
    completes = _layer_with(source, whole.sources[0])
    assert completes.outputs == whole.outputs
    assert set(completes.inputs) == {*source.graph.inputs, whole.inputs[0]}
    flat = next(op for op in source.graph.ops if op.kind == "RESHAPE")
    assert set(completes.parts) == {whole.inputs[1], *split.outputs, *flat.outputs}


def _layer_with(source: CSource, op: int) -> Layer:
    return next(layer for layer in source.layers if op in layer.ops)


def test_a_small_piece_of_a_large_tensor_is_copied_where_that_saves_memory() -> None:
    net = Net(0)
    x = net.conv2d(net.input((1, 16, 16, 2)), (1, 1), 16)
    top = net.slice(x, (0, 0, 0, 0), (1, 1, 16, 16))
    wide = net.conv2d(net.resize_nearest_neighbor(net.max_pool(x, (16, 16)), (16, 16)), (1, 1), 16)
    net.add(net.max_pool(top, (1, 16)), net.max_pool(wide, (16, 16)))
    graph = parse_model(net.build(), "net.tflite")
    assert "SLICE" in [op.kind for op in run_passes(graph).ops]


def test_pieces_far_apart_are_put_together_by_a_copy() -> None:
    assert "CONCATENATION" in kinds("pieces_far_apart")
    assert "SPLIT" not in kinds("parts_as_pieces")


def test_what_would_grow_much_is_computed_on_the_device() -> None:
    assert kinds("large_constant") == ["RESIZE_NEAREST_NEIGHBOR", "ADD", "ADD"]
