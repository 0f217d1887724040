"""What a layer should make of given inputs, where it stands for more or for less than the model's operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.board import core_target
from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph
from harness.compiler.ops import run_reference
from harness.compiler.pipeline import compile_graph
from harness.debug.comparison import Status
from harness.debug.layer_reference import reference_for
from harness.errors import CompilerBug
from harness.oracle import draw_inputs
from harness.verdict import Verdict
from harness.verification import verify
from tests.edited_sources import FLIP, insert, sources
from tests.models import Net
from tests.tflite_writer import QuantSpec


def folded_operand(folder: Path) -> Path:
    """conv -> conv -> ADD of a constant that two reshapes bring into shape."""
    net = Net(seed=4)
    x = net.conv2d(net.conv2d(net.input((1, 3, 3, 2)), (1, 1), 4), (1, 1), 4)
    quant = QuantSpec((0.05,), (3,))
    table = net.constant(np.arange(-18, 18, dtype=np.int8), name="table", quant=quant)
    net.add(x, net.reshape(net.reshape(table, (6, 6)), (1, 3, 3, 4)))
    path = folder / "folded.tflite"
    path.write_bytes(net.build())
    return path


def test_a_folded_operand_is_computed_from_the_models_constants(tmp_path: Path) -> None:
    graph = load_model(folded_operand(tmp_path))
    layer = compile_graph(graph, core_target("cortex-m3"), check=False).layers[-1]
    assert layer.op == "ADD"
    values = run_reference(graph, [array[0] for array in draw_inputs(graph, 0, 1)])
    made = reference_for(graph)(layer, {t: values[t] for t in layer.inputs})
    assert {t: array.tolist() for t, array in made.items()} == {t: values[t].tolist() for t in layer.outputs}


def test_a_layer_after_a_wrong_one_is_judged_also_where_it_reads_a_folded_operand(tmp_path: Path) -> None:
    model = folded_operand(tmp_path)
    source = sources(model, tmp_path / "c", "qemu_cortex_m3")
    insert(source, tmp_path / "c", 0, FLIP, at_end=True)
    report = verify(model, "qemu_cortex_m3", sources=tmp_path / "c")
    assert report.verdict is Verdict.MISMATCH
    assert [r.status for r in report.comparison.layers] == [Status.LOCAL, Status.PROPAGATED, Status.PROPAGATED]


def test_what_a_layer_is_not_given_is_named(tmp_path: Path) -> None:
    graph: Graph = load_model(folded_operand(tmp_path))
    layer = compile_graph(graph, core_target("cortex-m3"), check=False).layers[-1]
    with pytest.raises(CompilerBug, match=r"add_2.*tensor 0 'input', which it is not given"):
        reference_for(graph)(layer, {})
