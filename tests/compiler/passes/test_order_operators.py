"""The order of operators: the least peak that any order has, found by trying all; and the model still right in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board import Target
from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph, Op, Tensor, View
from harness.compiler.ops import run_reference
from harness.compiler.passes.order_operators import OrderOperators, _Problem
from harness.compiler.pipeline import compile_graph
from harness.dtypes import DType
from tests.compiler.ops.oracle import draw
from tests.compiler.whole import run_whole
from tests.models import Net

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

HOST = Target("host", frozenset())


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to five operators of up to two operands, in an order that a model may have them in."""
    inputs = draw(st.integers(1, 2))
    operators = draw(st.integers(1, 5))
    sizes = draw(st.lists(st.integers(1, 50), min_size=inputs + operators, max_size=inputs + operators))
    tensors = tuple(Tensor(f"t{i}", (n,), DType.I8) for i, n in enumerate(sizes))
    ops = []
    for i in range(operators):
        known = st.integers(0, inputs + i - 1)
        ops.append(Op("ADD", tuple(draw(st.lists(known, min_size=1, max_size=2))), (inputs + i,), None, (i,)))
    read = {t for op in ops for t in op.inputs}
    ends = tuple(t for t in range(inputs, len(tensors)) if t not in read)
    kept = tuple(draw(st.sets(st.integers(inputs, len(tensors) - 1), max_size=1)))
    return Graph("drawn", tensors, tuple(ops), tuple(range(inputs)), tuple({*ends, *kept}), len(tensors))


def orders(graph: Graph, done: tuple[Op, ...] = ()) -> Iterator[tuple[Op, ...]]:
    """Every order in which an operator's operands are there when it runs."""
    if len(done) == len(graph.ops):
        yield done
    there = {*graph.inputs, *(t for op in done for t in op.outputs)}
    for op in graph.ops:
        if op not in done and there.issuperset(op.inputs):
            yield from orders(graph, (*done, op))


def peak(graph: Graph) -> int:
    """By definition: all that is written, or given, and still to be read, or an output; outputs over what dies."""
    most = sum(graph.tensor(t).bytes for t in graph.inputs)
    for at, op in enumerate(graph.ops):
        before = {*graph.inputs, *(t for earlier in graph.ops[:at] for t in earlier.outputs)}
        later = {*graph.outputs, *(t for after in graph.ops[at + 1 :] for t in after.inputs)}
        unread = {t for t in graph.inputs if not any(t in other.inputs for other in graph.ops)}
        live = {t for t in before if t in later or t in op.inputs or (t in unread and not at)}
        new = sum(graph.tensor(t).bytes for t in op.outputs)
        dead = sum(graph.tensor(t).bytes for t in set(op.inputs) if t not in later)
        most = max(most, sum(graph.tensor(t).bytes for t in live) + new - min(new, dead))
    return most


@settings(deadline=None)
@given(graphs())
def test_no_order_needs_less(graph: Graph) -> None:
    found = OrderOperators().run(graph)
    assert found.ops in set(orders(graph))
    assert peak(found) == min(peak(graph.with_ops(ops)) for ops in orders(graph))
    assert peak(graph) == _Problem(graph).peak(range(len(graph.ops)))
    if peak(found) == peak(graph):
        assert found is graph


@settings(deadline=None)
@given(graphs())
def test_without_a_search_the_order_is_legal_and_not_worse(graph: Graph) -> None:
    found = OrderOperators(visited=0).run(graph)
    assert found.ops in set(orders(graph))
    assert peak(found) <= peak(graph)


def test_a_view_waits_for_what_it_shows() -> None:
    """Operator 1 reads a view of what operator 0 writes."""
    tensors = tuple(Tensor(f"t{i}", (n,), DType.I8) for i, n in enumerate((4, 90, 90, 80, 5, 5)))
    ops = (
        Op("A", (0,), (1,), None, (0,)),
        Op("B", (0,), (3,), None, (1,)),
        Op("C", (2,), (4,), None, (2,)),
        Op("D", (3, 4), (5,), None, (3,)),
    )
    graph = Graph("view", tensors, ops, (0,), (5,), 6, views=(View(2, 1, (1,)),))
    assert [op.kind for op in OrderOperators().run(graph).ops] == ["A", "C", "B", "D"]


def test_an_operator_that_writes_beside_what_it_reads_waits_for_that_alone() -> None:
    """t4 is t1 and t2 side by side; operator B makes t2 from t1, so A comes first, and C when both are there."""
    sizes = (4, 30, 30, 50, 60, 4, 4)
    tensors = tuple(Tensor(f"t{i}", (n,), DType.I8) for i, n in enumerate(sizes))
    ops = (
        Op("D", (0,), (3,), None, (0,)),
        Op("A", (0,), (1,), None, (1,)),
        Op("B", (1,), (2,), None, (2,)),
        Op("C", (4,), (5,), None, (3,)),
        Op("E", (3, 5), (6,), None, (4,)),
    )
    views = (View(1, 4, (3,)), View(2, 4, (3,), 30))
    graph = Graph("pieces", tensors, ops, (0,), (6,), 7, views=views)
    assert [op.kind for op in OrderOperators().run(graph).ops] == ["A", "B", "C", "D", "E"]


def branches() -> Net:
    """Three branches that open wide and end small, listed level by level as a converter may write them."""
    net = Net(4)
    x = net.input((1, 8, 8, 4))
    wide = [net.conv2d(x, (1, 1), 16) for _ in range(3)]
    small = [net.max_pool(y, (4, 4), stride=(4, 4)) for y in wide]
    net.add(net.add(small[0], small[1]), small[2])
    return net


@pytest.mark.parametrize("core", ["host", "cortex-m3"])
def test_branches_are_finished_one_after_the_other(core: str, tmp_path: Path) -> None:
    graph = parse_model(branches().build(), "net.tflite")
    target = Target(core, frozenset())
    listed = compile_graph(graph, target, disabled=frozenset({"order-operators"}))
    source = compile_graph(graph, target)
    assert [layer.ops for layer in listed.layers] == [(i,) for i in range(8)]
    order = [layer.ops[0] for layer in source.layers]
    wide = [op for op in order if op < 6]  # without the additions: each branch opens and ends before the next
    assert all(pool == conv + 3 for conv, pool in zip(wide[::2], wide[1::2], strict=True))
    assert [layer.index for layer in source.layers] == list(range(8))
    assert source.arena_bytes < 0.6 * listed.arena_bytes
    inputs = draw(graph, 3)
    want = run_reference(graph, inputs)
    for one in (listed, source):
        folder = tmp_path / str(one.arena_bytes)
        folder.mkdir()
        (got,) = run_whole(one, inputs, folder)
        assert np.array_equal(np.frombuffer(got, np.int8), want[graph.outputs[0]].reshape(-1))


def test_a_thousand_layers_are_ordered_at_once() -> None:
    """A chain has one order, and is not searched; with a branch at every tenth layer the search stays small."""
    sizes = [100 + i % 7 for i in range(1001)]
    tensors = tuple(Tensor(f"t{i}", (n,), DType.I8) for i, n in enumerate(sizes))
    ops = tuple(Op("ADD", (i, i - 5) if i % 10 == 9 else (i,), (i + 1,), None, (i,)) for i in range(1000))
    graph = Graph("long", tensors, ops, (0,), (1000,), 1001)
    assert OrderOperators(visited=1100).run(graph) is graph
    problem = _Problem(graph)
    assert problem.best(1100) == list(range(1000))
