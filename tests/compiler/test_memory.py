"""Which layers share memory, which way they run for it, and what the plan of a whole model comes to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.board import core_target
from harness.compiler.arena import Plan
from harness.compiler.csource import Layer, Placement
from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph, Op, Tensor
from harness.compiler.loops import Buffer, Const, For, Program, Var, cast, load, maximum, store, walk
from harness.compiler.memory import Usage, _Layer, planned
from harness.compiler.overlap import gaps
from harness.compiler.pipeline import CompiledLayer, programs_of, run_passes
from harness.dtypes import DType
from harness.errors import CompilerBug
from tests.models import Net

M3 = core_target("cortex-m3")


def compiled(net: Net) -> tuple[Graph, list[CompiledLayer]]:
    graph = parse_model(net.build(), "net.tflite")
    return run_passes(graph), list(programs_of(graph, M3))


def planned_for(net: Net) -> tuple[Graph, list[CompiledLayer], Plan, list[Program]]:
    graph, layers = compiled(net)
    return graph, layers, *planned(Usage(graph, share=True), [c.layer for c in layers], [c.program for c in layers])


def is_backwards(program: Program) -> bool:
    return any(isinstance(s, For) and s.var.endswith("_back") for s in walk(program.body))


def depthwise_chain(length: int) -> Net:
    net = Net(2)
    x = net.input((1, 8, 8, 4))
    for _ in range(length):
        x = net.depthwise_conv2d(x, (3, 3), activation="RELU")
    return net


def test_a_chain_of_equal_layers_needs_one_tensor_and_a_few_rows() -> None:
    _, _, two, _ = planned_for(depthwise_chain(2))
    _, layers, ten, programs = planned_for(depthwise_chain(10))
    assert ten.bytes == two.bytes == 256 + 2 * 32  # rows of 8 pixels x 4 channels
    assert ten.bytes - ten.lower_bound == 4  # the way down takes 60 bytes, the way up 64
    turned = [is_backwards(program) for program in programs]
    assert any(turned)
    assert not all(turned)
    assert [p is c.program for p, c in zip(programs, layers, strict=True)] == [not t for t in turned]


def test_layers_beside_a_large_one_keep_their_tensors_apart() -> None:
    """What the large layer needs is there anyway: the others need not share, and stay restrict."""
    net = Net(3)
    x = net.depthwise_conv2d(net.input((1, 4, 4, 4)), (3, 3))
    x = net.depthwise_conv2d(x, (3, 3))
    x = net.conv2d(net.conv2d(x, (1, 1), 64), (4, 4), 64, padding="VALID")
    net.fully_connected(net.reshape(x), 4)
    _, layers, plan, _ = planned_for(net)
    assert plan.bytes == plan.lower_bound
    for one in (layers[0].layer, layers[1].layer):
        assert not plan.placements[one.inputs[0]].meets(plan.placements[one.outputs[0]])


@pytest.mark.parametrize("shapes", [((6, 1), (1, 6)), ((1, 6), (6, 1))])
def test_a_tensor_that_is_read_as_two_parameters_is_held_to_both(shapes: tuple[tuple[int, ...], ...]) -> None:
    """A vector added to itself as a row: element i and, at the same time, another one."""
    net = Net(4)
    x = net.input((1, 6))
    y = net.add(net.reshape(x, shapes[0]), net.reshape(x, shapes[1]))
    net.softmax(y)
    graph, layers = compiled(net)
    (add, _) = layers
    assert len(graph.activations(graph.ops[0])) == 2
    one = _Layer(graph, add.layer, add.program, frozenset({graph.inputs[0]}))
    ((pair, gap),) = one.gaps_of(add.program).items()
    assert pair == (graph.base(graph.ops[0].outputs[0]), graph.inputs[0])
    assert gap.low == -30  # the row is read for every row of the output, to the last
    assert (
        min(one.low for one in gaps(add.program).values()) == -30 < max(one.low for one in gaps(add.program).values())
    )


def test_of_two_inputs_that_end_at_a_layer_neither_way_may_lose_one() -> None:
    net = Net(5)
    a, b = net.input((1, 5, 5, 3)), net.input((1, 5, 5, 3))
    net.add(a, b)
    graph, (layer,) = compiled(net)
    one = _Layer(graph, layer.layer, layer.program, frozenset(graph.inputs))
    assert len(one.ways) == 1
    needs = one.needs(share=True)
    assert set(needs.gaps) == {(graph.outputs[0], a), (graph.outputs[0], b)}
    assert one.needs(share=False).gaps == {}


def test_backwards_is_no_way_where_two_inputs_end() -> None:
    """output[i] = input[i - 2] + input_1[i]: what is right for one of them need not be for the other."""
    buffers = [Buffer(name, DType.I8, (9,), name.partition("_")[0]) for name in ("input", "input_1", "output")]
    x, z, y = buffers
    i = Var("i")
    value = cast(cast(load(x, maximum(i - 2, 0)), DType.I32) + cast(load(z, i), DType.I32), DType.I8)
    program = Program("sum", (x, z, y), (For("i", Const(0), Const(9), (store(y, i, value=value),), parallel=True),))
    tensors = tuple(Tensor(b.name, b.shape, DType.I8) for b in buffers)
    graph = Graph("sum", tensors, (Op("ADD", (0, 1), (2,), None, (0,)),), (0, 1), (2,), 3)
    layer = Layer(0, "sum", "ADD", (0,), (0, 1), (2,), "layers/000_sum.c", 0)
    for dying, ways in (({0, 1}, 1), ({0}, 2), ({1}, 1)):
        assert len(_Layer(graph, layer, program, frozenset(dying)).ways) == ways


def test_a_plan_that_no_way_to_run_allows_is_refused() -> None:
    graph, layers, plan, _ = planned_for(depthwise_chain(1))
    (layer,) = layers
    (x,), (y,) = layer.layer.inputs, layer.layer.outputs
    one = _Layer(graph, layer.layer, layer.program, frozenset({x}))
    assert len(one.ways) == 2
    assert not any(way.gaps[y, x].allows(0) for way in one.ways)
    same_place = replace(plan, placements={x: Placement(0, 256), y: Placement(0, 256)})
    with pytest.raises(CompilerBug, match="depthwise_conv2d_0"):
        one.settled(same_place)


def test_outputs_of_the_model_are_left_alone() -> None:
    net = Net(6)
    x = net.conv2d(net.input((1, 6, 6, 4)), (1, 1), 4)
    net.softmax(x)
    graph = parse_model(net.build(), "net.tflite")
    both = replace(graph, outputs=(x, *graph.outputs))
    layers = list(programs_of(both, M3))
    plan, _ = planned(Usage(run_passes(both), share=True), [c.layer for c in layers], [c.program for c in layers])
    assert not plan.placements[x].meets(plan.placements[graph.outputs[0]])
