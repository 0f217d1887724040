"""Reconciling two opinions, on a chain in -> a -> b -> c of operators that each add one."""

from __future__ import annotations

import numpy as np

from harness.compiler.graph import Graph, Op, Tensor
from harness.dtypes import DType
from harness.oracle.agree import reconcile
from harness.oracle.tolerance import Tolerance

IN, A, B, C = range(4)
TENSORS = tuple(Tensor(name, (4,), DType.I8) for name in ("in", "a", "b", "c"))
OPS = tuple(Op("INCREMENT", (t,), (t + 1,), None, (t,)) for t in (IN, A, B))
GRAPH = Graph("chain", TENSORS, OPS, (IN,), (C,), len(TENSORS))


def chain(start: int = 0) -> dict[int, np.ndarray]:
    """Two samples of every computed tensor."""
    first = np.array([[0, 10, 20, 30], [5, 15, 25, 35]], np.int8) + np.int8(start)
    return {t: first + np.int8(t) for t in (A, B, C)}


def test_two_that_agree() -> None:
    expected = reconcile("tflite-ref", GRAPH, chain(), chain(), Tolerance())
    assert expected.disagreements == ()
    assert expected.overwritten == ()
    assert expected.oracle == "tflite-ref"


def test_the_operator_that_begins_a_disagreement_is_told_from_those_that_pass_it_on() -> None:
    first, second = chain(), chain()
    second[B] = second[B] + np.int8(1)
    second[C] = second[C] + np.int8(1)
    expected = reconcile("tflite-ref", GRAPH, first, second, Tolerance())
    assert [(d.op, d.name, d.inputs_agree) for d in expected.disagreements] == [(1, "b", True), (2, "c", False)]
    assert expected.disagreements[0].difference.mismatches == 8
    np.testing.assert_array_equal(expected.tensors[B], first[B])


def test_a_tensor_that_a_later_one_overwrote_takes_the_second_opinion() -> None:
    first, second = chain(), chain()
    first[A] = first[B].copy()
    expected = reconcile("tflite-ref", GRAPH, first, second, Tolerance())
    assert expected.disagreements == ()
    assert expected.overwritten == (A,)
    np.testing.assert_array_equal(expected.tensors[A], second[A])


def test_a_tensor_overwritten_twice() -> None:
    first, second = chain(), chain()
    first[A] = first[B] = first[C].copy()
    expected = reconcile("tflite-ref", GRAPH, first, second, Tolerance())
    assert expected.overwritten == (A, B)
    assert expected.disagreements == ()


def test_what_looks_overwritten_but_misled_its_readers_is_a_disagreement() -> None:
    first, second = chain(), chain(start=3)
    first[A] = first[B].copy()
    expected = reconcile("tflite-ref", GRAPH, first, second, Tolerance())
    assert expected.overwritten == ()
    assert [d.op for d in expected.disagreements if d.inputs_agree] == [0]


def test_an_odd_value_that_leaves_no_trace_is_a_disagreement() -> None:
    first, second = chain(), chain()
    first[A] = first[A] + np.int8(1)
    assert (first[A] != first[B]).sum() == 0  # the same bytes as the next tensor: that alone would excuse it
    first[A][0, 0] += 1
    expected = reconcile("tflite-ref", GRAPH, first, second, Tolerance())
    assert expected.overwritten == ()
    assert [d.name for d in expected.disagreements] == ["a"]


def test_an_output_of_the_model_is_never_excused() -> None:
    graph = Graph("chain", TENSORS, OPS, (IN,), (B, C), len(TENSORS))
    first, second = chain(), chain()
    first[B] = first[C].copy()
    assert [d.name for d in reconcile("o", graph, first, second, Tolerance()).disagreements] == ["b"]


def test_tensors_that_the_oracle_does_not_show_come_from_numpy() -> None:
    second = chain()
    expected = reconcile("file.npz", GRAPH, {C: second[C] + np.int8(1)}, second, Tolerance())
    np.testing.assert_array_equal(expected.tensors[A], second[A])
    assert [(d.name, d.inputs_agree) for d in expected.disagreements] == [("c", True)]
