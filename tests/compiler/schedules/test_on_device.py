"""Kernels in assembly on emulated cores: odd shapes, every optimisation level, against the numpy references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import harness
from harness.board import load_board
from harness.compiler.frontends import parse_model
from harness.compiler.ops import run_reference
from harness.compiler.pipeline import compile_graph
from tests.models import Net


def odd_shapes() -> bytes:
    """Blocks that do not fit: odd channels, pixels, depths and windows; a vector by a matrix at the end."""
    net = Net(11)
    x = net.input((1, 7, 9, 3))
    x = net.conv2d(x, (3, 3), 5, stride=(2, 2), activation="RELU6")
    x = net.conv2d(x, (1, 1), 12)
    x = net.depthwise_conv2d(x, (3, 3), activation="RELU")
    x = net.conv2d(x, (3, 2), 9, dilation=(1, 2))
    x = net.depthwise_conv2d(x, (5, 3), stride=(1, 2))
    x = net.conv2d(x, (1, 1), 8, stride=(2, 1), activation="RELU")
    x = net.conv2d(x, (2, 3), 7, padding="VALID")
    net.fully_connected(net.reshape(x), 11)
    return net.build()


@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize("name", ["qemu_cortex_m3", "qemu_cortex_m4", "qemu_cortex_m33"])
def test_every_layer_is_exact(name: str, level: str, tmp_path: Path) -> None:
    model = odd_shapes()
    path = tmp_path / "odd.tflite"
    path.write_bytes(model)
    graph = parse_model(model, "odd.tflite")
    board = load_board(name)
    source = harness.compile_model(path, board.target)
    firmware = harness.build(source, board, level=level)
    rng = np.random.default_rng(5)
    with harness.open_session(firmware, board) as session:
        for x in (rng.integers(-128, 128, (1, 7, 9, 3)), np.full((1, 7, 9, 3), -128), np.full((1, 7, 9, 3), 127)):
            given = x.astype(np.int8)
            want = run_reference(graph, [given])
            session.write_tensor(graph.inputs[0], given)
            for layer in source.layers:
                session.run_layers(layer.index, layer.index + 1)
                for tensor in layer.outputs:
                    expected = want[tensor]
                    kept = source.kept.get(tensor)
                    if kept is not None:
                        expected = kept.without_unread(expected)
                    assert np.array_equal(session.read_tensor(tensor), expected), layer.name


def moved_about() -> bytes:
    """Layers that lie over what they read: below it, above it, and, added in place, on it."""
    net = Net(12)
    x = net.conv2d(net.input((1, 11, 9, 6)), (3, 3), 12, activation="RELU")
    for stride in (1, 1, 1, 2):
        y = net.depthwise_conv2d(net.conv2d(x, (1, 1), 12), (3, 3), activation="RELU")
        x = net.add(net.conv2d(y, (3, 3), 12), x)
        x = net.conv2d(x, (1, 1), 12, stride=(stride, stride))
    x = net.depthwise_conv2d(x, (3, 3), stride=(2, 2))
    x = net.max_pool(net.average_pool(x, (2, 2), padding="SAME", stride=(1, 1)), (2, 2), stride=(1, 1))
    net.softmax(net.fully_connected(net.reshape(x), 24))
    return net.build()


@pytest.mark.parametrize("optimize", ["-O0", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize("name", ["qemu_cortex_m0", "qemu_cortex_m3", "qemu_cortex_m4"])
def test_layers_that_write_over_their_inputs_are_exact(name: str, optimize: str, tmp_path: Path) -> None:
    model = moved_about()
    path = tmp_path / "moved.tflite"
    path.write_bytes(model)
    graph, board = parse_model(model, "moved.tflite"), load_board(name)
    source = harness.compile_model(path, board.target)
    texts = [source.files[layer.file] for layer in source.layers]
    assert sum("lies over an input" in text for text in texts) >= 8
    assert any("_back" in text for text in texts)
    firmware = harness.build(source, board, level=optimize)
    rng = np.random.default_rng(6)
    with harness.open_session(firmware, board) as session:
        for _ in range(2):
            given = rng.integers(-128, 128, (1, 11, 9, 6)).astype(np.int8)
            want = run_reference(graph, [given])
            for whole in (False, True):
                session.write_tensor(graph.inputs[0], given)
                for layer in source.layers if not whole else ():
                    session.run_layers(layer.index, layer.index + 1)
                    for tensor in layer.outputs:
                        kept = source.kept.get(tensor)
                        expected = want[tensor] if kept is None else kept.without_unread(want[tensor])
                        assert np.array_equal(session.read_tensor(tensor), expected), layer.name
                if whole:
                    session.run()
                assert np.array_equal(session.read_tensor(graph.outputs[0]), want[graph.outputs[0]])


def test_the_kernels_are_there() -> None:
    """What the test above runs is assembly: 16-bit pairs on the M4, multiply-accumulate on the M3."""
    graph = parse_model(odd_shapes(), "odd.tflite")
    for name, instruction in (("qemu_cortex_m3", "mla "), ("qemu_cortex_m4", "smlad ")):
        source = compile_graph(graph, load_board(name).target, check=False)
        assert instruction in source.files["nn_kernels.c"]
        kernels = [layer for layer in source.layers if "nn_kernel_" in source.files[layer.file]]
        assert len(kernels) == 6  # all but the depthwise ones
