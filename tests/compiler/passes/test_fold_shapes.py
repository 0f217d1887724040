"""The shape that Keras computes for a free batch size is known when the model is compiled, and costs nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.board import core_target
from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph
from harness.compiler.pipeline import compile_graph, run_passes
from harness.errors import ModelError
from harness.verification import verify
from tests.models import Net

M3 = core_target("cortex-m3")


def flattening() -> Net:
    net = Net(seed=2)
    x = net.conv2d(net.input((1, 4, 4, 2)), (3, 3), 3, activation="RELU")
    net.fully_connected(net.flatten(x), 4)
    return net


def graph_of(net: Net) -> Graph:
    return parse_model(net.build(), "flatten.tflite")


def test_the_chain_is_folded_away(tmp_path: Path) -> None:
    path = tmp_path / "flatten.tflite"
    path.write_bytes(flattening().build())
    report = verify(path, "qemu_cortex_m3", samples=2)
    assert report.ok
    assert [layer.op for layer in report.source.layers] == ["CONV_2D", "FULLY_CONNECTED"]
    assert sorted(op for layer in report.source.layers for op in layer.ops) == [0, 4, 5]


def test_without_folding_there_is_no_code_for_it() -> None:
    with pytest.raises(ModelError, match=r"SHAPE has no C|computed at run time"):
        compile_graph(graph_of(flattening()), M3, disabled=frozenset({"fold-constants"}))


def test_a_computed_target_has_to_be_the_shape_of_the_output() -> None:
    graph = graph_of(flattening())
    (rest,) = (i for i, t in enumerate(graph.tensors) if t.data is not None and t.data.shape == ())
    wrong = replace(graph.tensor(rest), data=np.array(47, np.int32))
    tensors = (*graph.tensors[:rest], wrong, *graph.tensors[rest + 1 :])
    with pytest.raises(ModelError, match=r"asks for \[1, 47\] but the output is \[1, 48\]"):
        run_passes(replace(graph, tensors=tensors))


def test_a_target_that_depends_on_data_is_refused() -> None:
    net = Net(seed=2)
    x = net.input((1, 4, 4, 2))
    net.dtype = "int32"
    target = net.input((2,), name="target")
    net.dtype = "int8"
    y = net.reshape(x, (1, 32))
    net.operators[-1] = replace(net.operators[-1], inputs=(x, target), outputs=(y,))
    with pytest.raises(ModelError, match="computed at run time"):
        compile_graph(graph_of(net), M3)
