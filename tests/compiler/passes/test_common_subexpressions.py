"""What is the same is computed once, what nobody needs not at all, and the model computes what it did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board import core_target
from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph, View
from harness.compiler.ops import OPERATORS, Operator, run_reference
from harness.compiler.passes.common_subexpressions import CommonSubexpressions
from harness.compiler.passes.drop_dead_ops import DropDeadOps
from harness.compiler.pipeline import compile_graph, run_passes
from harness.debug.comparison import Status
from harness.oracle import draw_inputs
from harness.verification import verify
from tests.compiler.ops.oracle import load, net_of
from tests.compiler.whole import run_whole
from tests.constant_channels import inputs_of
from tests.edited_sources import FLIP, SPOIL, insert, sources
from tests.models import Net
from tests.tflite_writer import QuantSpec

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

M3 = core_target("cortex-m3")


def again(net: Net, tensor: int, *, copies: bool = True, reads: dict[int, int] | None = None) -> int:
    """The operator that makes `tensor` once more, with copies of its constants; `reads` puts other operands in."""
    (made,) = (o for o in net.operators if o.outputs == (tensor,))
    assert made.inputs is not None
    inputs = []
    for operand in made.inputs:
        spec = net.tensors[operand]
        if spec.buffer and copies:
            net.buffers.append(net.buffers[spec.buffer])
            net.tensors.append(replace(spec, name=f"{spec.name} again", buffer=len(net.buffers) - 1))
            operand = len(net.tensors) - 1
        inputs.append((reads or {}).get(operand, operand))
    net.tensors.append(replace(net.tensors[tensor], name=f"{net.tensors[tensor].name} again"))
    net.operators.append(replace(made, inputs=tuple(inputs), outputs=(len(net.tensors) - 1,)))
    return len(net.tensors) - 1


def twins(seed: int = 3) -> tuple[Net, list[int]]:
    """x -> a -> b, and the same once more with copied weights; both ends added. The tensors: a, its twin, b, b's."""
    net = Net(seed)
    a = net.conv2d(net.input((1, 4, 5, 2)), (3, 3), 3, activation="RELU")
    b = net.depthwise_conv2d(a, (3, 3))
    a2 = again(net, a)
    b2 = again(net, b, reads={a: a2})
    net.softmax(net.fully_connected(net.reshape(net.add(b, b2)), 4))
    return net, [a, a2, b, b2]


def same_values(graph: Graph, small: Graph, seed: int) -> None:
    for x in inputs_of(graph, seed):
        want, got = run_reference(graph, [x]), run_reference(small, [x])
        made = {t for op in small.ops for t in op.outputs} | {v.tensor for v in small.views}
        assert all(np.array_equal(want[t], got[t]) for t in made)
        assert made.issuperset(graph.outputs)


def test_a_chain_that_is_there_twice_is_computed_once() -> None:
    net, (a, a2, b, b2) = twins()
    graph = parse_model(net.build(), "twins.tflite")
    small = CommonSubexpressions().run(graph)
    assert [op.kind for op in small.ops] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert [op.sources for op in small.ops[:3]] == [(0, 2), (1, 3), (4,)]
    assert small.views == (View(a2, a, (2,)), View(b2, b, (3,)))
    assert small.ops[2].inputs == (b, b2)  # by the model's own names
    same_values(graph, small, 1)


def differing(net: Net, x: int, which: str) -> None:
    """Two operators on `x` that differ in one thing only."""
    y = net.conv2d(x, (3, 3), 3, quant=(0.05, 3))
    other = again(net, y)
    spec = net.operators[-1]
    assert spec.inputs is not None
    assert spec.options is not None
    if which == "attributes":
        options = replace(spec.options, values={**spec.options.values, "DilationHFactor": 2, "DilationWFactor": 2})
        net.operators[-1] = replace(spec, options=options)
    elif which == "result":
        net.tensors[other] = replace(net.tensors[other], quant=QuantSpec((0.05,), (4,)))
    else:
        position = {"weights": 1, "bias": 2}[which]
        buffer = net.tensors[spec.inputs[position]].buffer
        data = bytearray(net.buffers[buffer].data or b"")
        data[0] ^= 1
        net.buffers[buffer] = replace(net.buffers[buffer], data=bytes(data))


@pytest.mark.parametrize("which", ["attributes", "result", "weights", "bias"])
def test_what_differs_in_anything_is_not_the_same(which: str) -> None:
    net = Net(seed=4)
    differing(net, net.input((1, 5, 5, 2)), which)
    graph = parse_model(net.build(), "differing.tflite")
    assert len(CommonSubexpressions().run(graph).ops) == 2


def test_operands_in_another_order_or_of_another_scale_are_not_the_same() -> None:
    net = Net(seed=4)
    a, b = net.input((1, 8), name="a"), net.input((1, 8), name="b")
    net.add(a, b, quant=(0.1, 0))
    net.add(b, a, quant=(0.1, 0))
    table = np.arange(8, dtype=np.int8)[np.newaxis]
    for scale in (0.1, 0.2):
        net.add(a, net.constant(table, name=f"table_{scale}", quant=QuantSpec((scale,), (0,))), quant=(0.1, 0))
    graph = parse_model(net.build(), "order.tflite")
    assert CommonSubexpressions().run(graph).ops == graph.ops


def test_two_outputs_of_the_model_may_be_one(tmp_path: Path) -> None:
    net = Net(seed=4)
    y = net.conv2d(net.input((1, 4, 4, 2)), (1, 1), 3)
    again(net, y, copies=False)
    graph = parse_model(net.build(), "outputs.tflite")
    source = compile_graph(graph, M3)
    assert len(source.layers) == 1
    assert source.placements[graph.outputs[0]] == source.placements[graph.outputs[1]]
    inputs = [array[0] for array in draw_inputs(graph, 0, 1)]
    want = run_reference(graph, inputs)
    for got, tensor in zip(run_whole(source, inputs, tmp_path), graph.outputs, strict=True):
        assert got == want[tensor].tobytes()


def test_reshapes_of_one_input_are_one() -> None:
    net = Net(seed=4)
    x = net.input((1, 2, 3, 4))
    flat = net.reshape(x)
    net.fully_connected(again(net, flat), 3)
    net.fully_connected(flat, 2)
    graph = parse_model(net.build(), "reshapes.tflite")
    lowered = run_passes(graph)
    assert [op.kind for op in lowered.ops] == ["FULLY_CONNECTED"] * 2
    assert sorted(source for op in lowered.ops for source in op.sources) == [0, 1, 2, 3]


def test_an_operator_that_no_output_needs_is_dropped() -> None:
    net, _ = twins()
    graph = parse_model(net.build(), "dead.tflite")
    head = graph.ops[4].outputs[0]  # the sum
    dead = replace(graph, outputs=(head,))
    assert [op.sources for op in DropDeadOps().run(dead).ops] == [(0,), (1,), (2,), (3,), (4,)]
    assert DropDeadOps().run(graph) is graph
    shown = replace(dead, views=(View(graph.ops[5].outputs[0], head, ()), View(graph.ops[6].outputs[0], 10**6, ())))
    assert DropDeadOps().run(shown).views == shown.views[:1]


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda operator: operator.kind)
def test_attributes_of_every_operator_can_be_compared(operator: Operator) -> None:
    """An operator whose attributes cannot would end every compilation."""
    first, second = (load(net_of(operator, operator.cases[0]).build()) for _ in range(2))
    assert [op.attrs for op in first.ops] == [op.attrs for op in second.ops]
    assert CommonSubexpressions().run(first).ops


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=5))
def test_nets_with_repetitions_compute_the_same(seed: int, repeated: list[tuple[int, bool]]) -> None:
    net = Net(seed)
    x = net.input((1, 3, 4, 2))
    made = [net.conv2d(x, (1, 1), 3, activation="RELU"), net.conv2d(x, (3, 3), 3)]
    made.append(net.add(made[0], made[1], quant=(0.1, 5)))
    made.append(net.max_pool(made[2], (1, 1)))
    for which, copies in repeated:
        old = made[which % len(made)]
        (operator,) = (o for o in net.operators if o.outputs == (old,))
        twist = which % 3 == 0 and net.tensors[old].name.startswith("add")  # sums of other operands, too
        others = {t: made[which % 2] for t in operator.inputs or () if twist}
        made.append(again(net, old, copies=copies, reads=others))
    graph = parse_model(net.build(), "repeated.tflite")
    small = CommonSubexpressions().run(graph)
    assert len(small.ops) <= len(graph.ops)
    same_values(graph, small, seed)
    same_values(graph, run_passes(graph, frozenset({"drop-channels"})), seed)


def test_a_wrong_layer_that_stands_for_two_is_judged_as_one(tmp_path: Path) -> None:
    """Its readers know the tensor under different names; none of them may take it for right when it was made."""
    net, _ = twins()
    model = tmp_path / "twins.tflite"
    model.write_bytes(net.build())
    source = sources(model, tmp_path / "c", "qemu_cortex_m3")
    assert [layer.ops for layer in source.layers] == [(0, 2), (1, 3), (4, 5), (6,), (7,)]
    insert(source, tmp_path / "c", 0, FLIP, at_end=True)
    report = verify(model, "qemu_cortex_m3", sources=tmp_path / "c")
    statuses = [result.status for result in report.comparison.layers]
    assert statuses[:3] == [Status.LOCAL, Status.PROPAGATED, Status.PROPAGATED]
    assert not any(result.note for result in report.comparison.layers)


def test_a_tensor_read_also_under_another_shape_is_not_taken_for_overwritten(tmp_path: Path) -> None:
    net = Net(seed=6)
    t = net.conv2d(net.conv2d(net.input((1, 3, 3, 2)), (1, 1), 3), (1, 1), 4)
    net.fully_connected(net.reshape(t), 3)
    net.conv2d(t, (1, 1), 2)
    model = tmp_path / "branch.tflite"
    model.write_bytes(net.build())
    source = sources(model, tmp_path / "c", "qemu_cortex_m3")
    insert(source, tmp_path / "c", 1, SPOIL, at_end=True)
    report = verify(model, "qemu_cortex_m3", sources=tmp_path / "c")
    statuses = [result.status for result in report.comparison.layers]
    assert statuses == [Status.MATCH, Status.LOCAL, Status.PROPAGATED, Status.PROPAGATED]
    assert not any(result.note for result in report.comparison.layers)
