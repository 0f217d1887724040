"""Real interpreters in real processes. Truth: output CRCs of TFLite Micro on the same cores."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph
from harness.errors import BadInput, OracleFailed, ToolMissing
from harness.oracle import Consultation, check_name, default_name, draw_inputs, variables
from harness.oracle.process import Worker
from tests.models import Net

OUTPUT_CRCS = {"kws_ref_model": 0x6F8D0761, "pretrainedResnet_quant": 0x41EE1B3A, "hello_world_int8": 0x0762AE69}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    net = Net(seed=3)
    x = net.conv2d(net.input((1, 6, 6, 2)), activation="RELU")
    net.softmax(net.fully_connected(net.reshape(net.average_pool(x)), 5))
    path = tmp_path / "small model's.tflite"
    path.write_bytes(net.build())
    return path


def pattern(graph: Graph) -> np.ndarray:
    tensor = graph.tensor(graph.inputs[0])
    values = (np.arange(tensor.elements) * 37 + 11) % 256 - 128
    return values.astype(np.int8).reshape(1, *tensor.shape)


@pytest.mark.parametrize("name", OUTPUT_CRCS)
def test_both_opinions_agree_on_real_models(name: str, shared_model: Callable[[str], Path]) -> None:
    path = shared_model(name)
    graph = load_model(path)
    with Consultation("tflite-ref", path, graph, [pattern(graph)]) as consultation:
        expected = consultation.expected()
    assert expected.disagreements == ()
    assert zlib.crc32(expected.tensors[graph.outputs[0]].tobytes()) == OUTPUT_CRCS[name]
    assert set(expected.tensors) == set(variables(graph))


def test_what_tflite_overwrites_in_place_is_found(shared_model: Callable[[str], Path]) -> None:
    path = shared_model("pretrainedResnet_quant")
    graph = load_model(path)
    with Consultation("tflite-ref", path, graph, [pattern(graph)]) as consultation:
        expected = consultation.expected()
    adds = [op for op in graph.ops if op.kind == "ADD"]
    assert len(expected.overwritten) == len(adds) == 3
    assert all(t in op.inputs for t, op in zip(expected.overwritten, adds, strict=True))


@pytest.mark.parametrize("oracle", ["tflite-ref", "numpy"])
def test_several_samples(oracle: str, small: Path) -> None:
    graph = load_model(small)
    inputs = draw_inputs(graph, 1, 3)
    with Consultation(oracle, small, graph, inputs) as consultation:
        expected = consultation.expected()
    assert expected.disagreements == ()
    assert all(values.shape == (3, *graph.tensor(t).shape) for t, values in expected.tensors.items())
    with Consultation(oracle, small, graph, [array[2:] for array in inputs]) as consultation:
        last = consultation.expected()
    for tensor, values in last.tensors.items():
        np.testing.assert_array_equal(values[0], expected.tensors[tensor][2])


def test_a_file_is_an_oracle(small: Path, tmp_path: Path) -> None:
    graph = load_model(small)
    inputs = draw_inputs(graph, 1, 2)
    with Consultation("numpy", small, graph, inputs) as consultation:
        right = consultation.expected()
    output = graph.outputs[0]
    wrong = right.tensors[output] ^ np.int8(1)
    path = tmp_path / "expected.npz"
    np.savez(path, output_0=wrong, input_0=inputs[0])
    with Consultation(str(path), small, graph, inputs) as consultation:
        expected = consultation.expected()
    np.testing.assert_array_equal(expected.tensors[output], wrong)
    assert [(d.tensor, d.inputs_agree) for d in expected.disagreements] == [(output, True)]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"layer": np.zeros(1)}, "'layer' is none of"),
        ({"output_1": np.zeros(1)}, "the model has 1 outputs"),
        ({"tensor_0": np.zeros(1)}, "no operator of the model computes tensor 0"),
        ({"tensor_999": np.zeros(1)}, "no operator of the model computes tensor 999"),
        ({"output_0": np.zeros((1, 5), np.int16)}, "expected shape"),
        ({"output_0": np.zeros((2, 1, 5), np.int8)}, "holds 2 samples, the run has 1"),
        ({"input_0": np.zeros(1)}, "holds no expected tensors"),
    ],
)
def test_files_that_do_not_fit_the_model(
    small: Path, tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    graph = load_model(small)
    path = tmp_path / "expected.npz"
    np.savez(path, **arrays)
    with (
        Consultation(str(path), small, graph, draw_inputs(graph, 0, 1)) as consultation,
        pytest.raises(BadInput, match=words),
    ):
        consultation.expected()


@pytest.mark.parametrize("name", ["tflite", "", "missing.npz"])
def test_unknown_oracles(name: str) -> None:
    with pytest.raises(BadInput):
        check_name(name)


def test_the_default_is_the_exact_reference_where_it_is_installed() -> None:
    assert default_name() == ("tflite-ref" if importlib.util.find_spec("tflite_runtime") else "litert-ref")


@pytest.mark.skipif(importlib.util.find_spec("ai_edge_litert") is not None, reason="ai-edge-litert is installed")
def test_an_oracle_that_is_not_installed_says_how_to_get_it(small: Path) -> None:
    graph = load_model(small)
    with (
        Consultation("litert-ref", small, graph, draw_inputs(graph, 0, 1)) as consultation,
        pytest.raises(ToolMissing, match="pip install ai-edge-litert"),
    ):
        consultation.expected()


def test_a_model_that_the_interpreter_refuses(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"no flatbuffer at all")
    with Worker("tflite-ref", path, [], [0], timeout=60) as worker, pytest.raises(OracleFailed) as caught:
        worker.result()
    assert f"{path}: the oracle tflite-ref refuses the model: " in str(caught.value)


def test_an_interpreter_that_segfaults_on_a_model(tmp_path: Path) -> None:
    path = tmp_path / "lethal.tflite"
    path.write_bytes(b"TFL3" * 10)  # an identifier in its place, and root offsets that lead nowhere
    with Worker("tflite-ref", path, [], [0], timeout=60) as worker, pytest.raises(OracleFailed) as caught:
        worker.result()
    assert f"{path}: the oracle tflite-ref was killed by SIGSEGV" in str(caught.value)


def dying(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_an_interpreter_that_ends_without_an_answer(small: Path) -> None:
    command = dying("raise SystemExit('out of luck')")
    with (
        Worker("tflite-ref", small, [], [0], 60, command) as worker,
        pytest.raises(OracleFailed, match="status 1; it said: out of luck"),
    ):
        worker.result()


def test_an_interpreter_that_never_answers_is_ended(small: Path) -> None:
    with Worker("tflite-ref", small, [], [0], 0.2, dying("import signal; signal.pause()")) as worker:
        with pytest.raises(OracleFailed, match=r"did not finish within 0\.2 s"):
            worker.result()
        process = psutil.Process(worker.pid)
    assert not process.is_running()


def test_leaving_early_ends_the_process(small: Path) -> None:
    with Worker("numpy", small, [], [0], 60, dying("import signal; signal.pause()")) as worker:
        assert psutil.pid_exists(worker.pid)
    assert not psutil.pid_exists(worker.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_killed_harness_leaves_no_worker_and_no_file(tmp_path: Path) -> None:
    net = Net(seed=3)
    net.fully_connected(net.input((1, 64)), 64)
    path = tmp_path / "model.tflite"
    path.write_bytes(net.build())
    (tmp_path / "tmp").mkdir()
    harness = """if True:
        import sys, numpy
        from pathlib import Path
        from harness.oracle.process import Worker
        worker = Worker("numpy", Path(sys.argv[1]), [numpy.zeros((300000, 1, 64), numpy.int8)], [3], 60)
        print(worker.pid, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", harness, str(path)]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    worker = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.communicate()
    worker.wait(timeout=20)  # by itself it would take a minute
    assert os.listdir(tmp_path / "tmp") == []


def test_nothing_of_the_interpreter_reaches_the_terminal(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    graph = load_model(small)
    with Consultation("tflite-ref", small, graph, draw_inputs(graph, 0, 1)) as consultation:
        consultation.expected()
    assert capfd.readouterr() == ("", "")
