"""What a layer should make of given inputs, where part of what it reads was computed when the model was compiled."""

from __future__ import annotations

import numpy as np

from harness.board import Target
from harness.compiler.frontends import parse_model
from harness.compiler.ops import run_reference
from harness.compiler.pipeline import compile_graph
from harness.debug.layer_reference import reference_for
from tests.compiler.ops.oracle import draw
from tests.models import Net
from tests.tflite_writer import QuantSpec


def test_constants_that_no_layer_computes_are_known() -> None:
    net = Net(0)
    row = net.constant(np.arange(6, dtype=np.int8).reshape(1, 6), name="c", quant=QuantSpec((0.1,), (0,)))
    net.add(net.input((2, 3)), net.reshape(row, (2, 3)))
    graph = parse_model(net.build(), "net.tflite")
    (layer,) = compile_graph(graph, Target("cortex-m3", frozenset())).layers
    assert layer.ops == (1,)
    inputs = draw(graph, 0)
    made = reference_for(graph)(layer, dict(zip(graph.inputs, inputs, strict=True)))
    (output,) = graph.outputs
    np.testing.assert_array_equal(made[output], run_reference(graph, inputs)[output])
