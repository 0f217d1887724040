"""Passes on graphs: what they fold, what they leave, and that the model still computes the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.board import Target
from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph
from harness.compiler.interpret import run
from harness.compiler.ops import run_reference
from harness.compiler.pipeline import PASSES, compile_graph, programs_of, run_passes
from harness.compiler.values import Values
from harness.errors import BadInput
from tests.compiler.ops.oracle import draw
from tests.compiler.whole import run_whole
from tests.models import Net, classifier
from tests.tflite_writer import QuantSpec

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

M3 = Target("cortex-m3", frozenset())


def graph_of(net: Net) -> Graph:
    return parse_model(net.build(), "net.tflite")


def run_programs(graph: Graph, inputs: list[np.ndarray], disabled: frozenset[str]) -> list[np.ndarray]:
    """The programs one after another; tensors that share memory share a value."""
    lowered = run_passes(graph, disabled)
    values = Values(lowered)
    for tensor, array in zip(graph.inputs, inputs, strict=True):
        values[tensor] = array
    for op, compiled in zip(lowered.ops, programs_of(graph, M3, disabled), strict=True):
        names = [b.name for b in compiled.program.of_space("input")]
        given = dict(zip(names, (values[t] for t in lowered.activations(op)), strict=True))
        for tensor, array in zip(op.outputs, run(compiled.program, given).values(), strict=True):
            values[tensor] = array
    return [values[t] for t in graph.outputs]


def reshape_first() -> Net:
    net = Net(1)
    net.softmax(net.fully_connected(net.conv2d(net.reshape(net.input((1, 48)), (1, 4, 4, 3)), (3, 3), 2), 5))
    return net


def reshape_chain() -> Net:
    net = Net(2)
    x = net.max_pool(net.input((1, 4, 4, 2)))
    net.fully_connected(net.reshape(net.reshape(x, (1, 2, 4)), (1, 8)), 3)
    return net


def reshape_last() -> Net:
    net = Net(3)
    net.reshape(net.conv2d(net.input((1, 3, 3, 2)), (1, 1), 4), (1, 36))
    return net


def both_shapes_used() -> Net:
    net = Net(4)
    x = net.conv2d(net.input((1, 2, 2, 3)), (1, 1), 4)
    net.fully_connected(net.reshape(x, (1, 16)), 3)
    net.conv2d(x, (1, 1), 2)
    return net


def two_shapes_read_at_once() -> Net:
    """Operators that read one tensor under two shapes, the model's input and a computed one."""
    net = Net(6)
    x = net.input((1, 8))
    flat = net.reshape(x, (8,))
    y = net.add(flat, x)
    net.add(net.reshape(y, (8, 1)), y)
    net.add(net.reshape(flat, (1, 1, 8)), flat)
    net.add(y, y)
    return net


def constant_operands() -> Net:
    """Every operator on constants: in the middle of the model, and as outputs of it."""
    net = Net(7)
    quant = QuantSpec((0.1,), (3,))
    image = net.constant(np.arange(50, dtype=np.int8).reshape(1, 5, 5, 2), name="image", quant=quant)
    row = net.constant(np.arange(6, dtype=np.int8).reshape(2, 3), name="row", quant=quant)
    net.max_pool(net.conv2d(image))
    net.depthwise_conv2d(image)
    net.fully_connected(net.average_pool(image), 3)
    net.add(net.input((2, 3)), net.add(net.softmax(row), row))
    net.reshape(row, (6,))
    return net


NETS = {
    "two shapes": two_shapes_read_at_once,
    "constants": constant_operands,
    "first": reshape_first,
    "chain": reshape_chain,
    "last": reshape_last,
    "both": both_shapes_used,
    "middle": classifier,
}
SWITCHES = [frozenset(), frozenset({"fold-views"}), frozenset({"fold-constants"}), frozenset(p.name for p in PASSES)]


@pytest.mark.parametrize("disabled", SWITCHES, ids=lambda names: "-".join(sorted(names)) or "all on")
@pytest.mark.parametrize("net", NETS)
def test_passes_do_not_change_what_the_model_computes(net: str, disabled: frozenset[str]) -> None:
    graph = graph_of(NETS[net]())
    inputs = draw(graph, 5)
    reference = run_reference(graph, inputs)
    for got, tensor in zip(run_programs(graph, inputs, disabled), graph.outputs, strict=True):
        assert np.array_equal(got.reshape(-1), reference[tensor].reshape(-1))


@pytest.mark.parametrize("net", [name for name in NETS if name != "constants"])
def test_reshapes_cost_no_layer_and_every_operator_has_one(net: str) -> None:
    graph = graph_of(NETS[net]())
    source = compile_graph(graph, M3)
    assert all(layer.op != "RESHAPE" for layer in source.layers)
    assert sorted(i for layer in source.layers for i in layer.ops) == list(range(len(graph.ops)))
    for layer in source.layers:  # a layer starts from what its operators do not make themselves
        made = {t for i in layer.ops for t in graph.ops[i].outputs}
        assert not made & set(layer.inputs)
        assert set(layer.outputs) <= made


def test_a_reshape_joins_the_operator_that_makes_its_tensor_and_else_the_first_that_reads_it() -> None:
    joined = {
        "middle": [(0, 1), (2,), (3,)],
        "first": [(0, 1), (2,), (3,)],
        "chain": [(0, 1, 2), (3,)],
        "last": [(0, 1)],
    }
    for net, operators in joined.items():
        assert [layer.ops for layer in compile_graph(graph_of(NETS[net]()), M3).layers] == operators


@pytest.mark.parametrize("shapes", [((2, 3),), ((2, 3), (3, 2)), ((2, 3), (3, 2), (6,))])
def test_a_model_that_only_reshapes_copies_once(shapes: tuple[tuple[int, ...], ...], tmp_path: Path) -> None:
    net = Net(0)
    x = net.input((1, 6))
    for shape in shapes:
        x = net.reshape(x, shape)
    source = compile_graph(graph_of(net), M3)
    (layer,) = source.layers
    assert layer.op == "RESHAPE"
    assert layer.ops == tuple(range(len(shapes)))
    given = np.arange(6, dtype=np.int8).reshape(1, 6)
    assert run_whole(source, [given], tmp_path) == [given.tobytes()]


def test_constants_are_computed_when_compiling() -> None:
    net = Net(0)
    x = net.input((2, 3))
    constant = net.constant(np.arange(6, dtype=np.int8).reshape(1, 6), name="c", quant=QuantSpec((0.1,), (0,)))
    net.add(x, net.reshape(constant, (2, 3)))
    graph = graph_of(net)
    folded = run_passes(graph)
    assert [op.kind for op in folded.ops] == ["ADD"]
    inputs = draw(graph, 1)
    (want,) = (run_reference(graph, inputs)[t] for t in graph.outputs)
    (got,) = run_programs(graph, inputs, frozenset())
    assert np.array_equal(got.reshape(want.shape), want)


def test_an_output_that_depends_on_nothing_is_written_by_a_layer() -> None:
    net = Net(0)
    net.softmax(net.input((1, 3)))
    constant = net.constant(np.zeros((1, 6), np.int8), name="c", quant=QuantSpec((0.1,), (0,)))
    net.reshape(net.softmax(constant), (2, 3))
    assert [op.kind for op in run_passes(graph_of(net)).ops] == ["SOFTMAX", "RESHAPE"]


@pytest.mark.parametrize("disabled", SWITCHES, ids=lambda names: "-".join(sorted(names)) or "all on")
@pytest.mark.parametrize("net", NETS)
def test_every_layer_is_called_with_its_operands(net: str, disabled: frozenset[str], tmp_path: Path) -> None:
    """The C of the whole model, also with passes left out, which is how a bisection compiles it."""
    graph = graph_of(NETS[net]())
    inputs = draw(graph, 5)
    got = run_whole(compile_graph(graph, M3, disabled=disabled), inputs, tmp_path)
    reference = run_reference(graph, inputs)
    assert got == [reference[tensor].tobytes() for tensor in graph.outputs]


def test_an_input_may_be_an_output() -> None:
    net = classifier()
    graph = graph_of(net)
    both = replace(graph, outputs=(*graph.inputs, *graph.outputs))
    source = compile_graph(both, M3)
    alive = source.placements[graph.inputs[0]]
    for layer in source.layers:
        for place in (source.placements[t] for t in layer.outputs):
            assert place.offset + place.bytes <= alive.offset or alive.offset + alive.bytes <= place.offset


def test_an_unknown_pass_is_refused() -> None:
    with pytest.raises(BadInput, match="fold-vews"):
        run_passes(graph_of(classifier()), frozenset({"fold-vews"}))
