"""Kernels in assembly on emulated cores: odd shapes, every optimisation level, against the numpy references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.board import load_board
from harness.compiler.frontends import parse_model
from harness.compiler.ops import run_reference
from harness.compiler.pipeline import compile_graph
from tests.models import Net

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators


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


def elementwise() -> bytes:
    """Operators by element: short forms, tables, clamps by words with elements left over, ties, broadcasting."""
    net = Net(12)
    x = net.input((1, 7, 9, 3))
    wide = net.conv2d(x, (1, 1), 21, quant=(0.05, -3))
    other = net.conv2d(x, (1, 1), 21, quant=(0.0317, 5))  # of one tensor alone all would become one table
    net.add(wide, other)
    net.sub(other, wide, activation="RELU6", quant=(0.05, -60))
    net.mul(wide, other, activation="RELU", quant=(0.05, -60))
    net.mul(other, net.max_pool(wide, (7, 9)))
    net.maximum(wide, other)
    net.minimum(wide, net.max_pool(other, (7, 9)))
    for each in (net.tanh, net.relu, net.relu6, net.hard_swish, net.leaky_relu, net.dequantize):
        each(wide)
    net.relu(wide, quant=(0.05, -3))
    net.mul(other, net.logistic(other))
    net.mean(other)
    narrow, tied = (net.conv2d(x, (7, 9), 6, padding="VALID", quant=(scale, 3)) for scale in (0.125, 0.0625))
    net.add(narrow, tied, quant=(0.25, -7))
    net.relu_n1_to_1(narrow, quant=(0.125, 3))
    net.quantize(tied, quant=(0.1, 130), to="uint8")
    net.quantize(narrow, quant=(0.1, 13))
    return net.build()


def odd_vectors() -> bytes:
    """Pools, sums and a softmax whose lengths no vector divides; what is left over is 1, 2, 3 or 13 lanes."""
    net = Net(12)
    x = net.conv2d(net.input((1, 7, 9, 3)), (1, 1), 13)
    a = net.max_pool(x, (3, 3), stride=(1, 1), padding="SAME")
    b = net.depthwise_conv2d(x, (1, 4), activation="RELU6")
    x = net.add(a, b, activation="RELU")
    x = net.conv2d(x, (2, 2), 35, stride=(2, 2))
    x = net.max_pool(x, (2, 1))
    x = net.average_pool(x, (2, 3), stride=(1, 1), padding="SAME")
    x = net.depthwise_conv2d(x, (2, 2))
    x = net.conv2d(x, (1, 1), 3)
    net.softmax(net.fully_connected(net.reshape(net.add(x, x)), 6))
    return net.build()


@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize("name", ["qemu_cortex_m3", "qemu_cortex_m4", "qemu_cortex_m33", "qemu_cortex_m55"])
@pytest.mark.parametrize("build", [odd_shapes, elementwise])
def test_every_layer_is_exact(build: Callable[[], bytes], name: str, level: str, tmp_path: Path) -> None:
    exact(build(), name, level, tmp_path)


@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
def test_every_layer_in_vectors_is_exact(level: str, tmp_path: Path) -> None:
    exact(odd_vectors(), "qemu_cortex_m55", level, tmp_path)


def exact(model: bytes, name: str, level: str, folder: Path) -> None:
    """Every layer of a model on the board, against the numpy references."""
    path = folder / "odd.tflite"
    path.write_bytes(model)
    graph = parse_model(model, "odd.tflite")
    board = load_board(name)
    source = harness.compile_model(path, board.target)
    firmware = harness.build(source, board, level=level)
    rng = np.random.default_rng(5)
    shape = graph.tensor(graph.inputs[0]).shape
    with harness.open_session(firmware, board) as session:
        for x in (rng.integers(-128, 128, shape), np.full(shape, -128), np.full(shape, 127)):
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
    """What the test above runs is assembly: vectors on the M55, 16-bit pairs on the M4, single products on the M3."""
    graph = parse_model(odd_shapes(), "odd.tflite")
    for name, instruction, count in (
        ("qemu_cortex_m3", "mla ", 6),  # all but the depthwise ones
        ("qemu_cortex_m4", "smlad ", 6),
        ("qemu_cortex_m55", "vmladava.s8 ", 2),  # where a sum fits into two vectors, there is no loop
    ):
        source = compile_graph(graph, load_board(name).target, check=False)
        assert instruction in source.files["nn_kernels.c"]
        kernels = [layer for layer in source.layers if "nn_kernel_" in source.files[layer.file]]
        assert len(kernels) == count
