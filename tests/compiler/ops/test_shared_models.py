"""Real models in numpy against what TFLite Micro computes on the microcontrollers."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tflite_runtime.interpreter import Interpreter, OpResolverType

from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph, TensorId
from harness.compiler.ops import OPERATORS, run_reference


@dataclass(frozen=True)
class Vector:
    """CRC-32 of the outputs, and of all operators' outputs one after the other, for the input of `ramp`."""

    model: str
    outputs: int
    operators: int
    macs: int
    overwritten: Mapping[TensorId, TensorId] = field(default_factory=dict)  # recorded after an ADD had worked in place


VECTORS = (
    Vector("kws_ref_model", 0x6F8D0761, 0x289E0BB3, 2_656_768),
    Vector("vww_96_int8", 0xCCF8C6C3, 0xFDE4286D, 7_489_664),
    Vector("pretrainedResnet_quant", 0x41EE1B3A, 0x81229037, 12_501_632, {24: 25, 28: 29, 32: 33}),
    Vector("ad01_int8", 0x0642E1DD, 0x4B0C6996, 264_192),
    Vector("str_ww_ref_model", 0xE54D3674, 0x37DE93DE, 826_368),
    Vector("micro_speech_quantized", 0x1499950D, 0xAB61EA53, 336_000),
    Vector("hello_world_int8", 0x0762AE69, 0x8F685AA3, 288),
)
SharedModel = Callable[[str], Path]


def ramp(graph: Graph) -> list[np.ndarray]:
    """x[i] = (37 i + 11) mod 256 - 128."""
    shapes = [graph.tensor(tensor).shape for tensor in graph.inputs]
    return [((np.arange(np.prod(s)) * 37 + 11) % 256 - 128).astype(np.int8).reshape(s) for s in shapes]


def crc32(values: Mapping[TensorId, np.ndarray], tensors: list[TensorId]) -> int:
    return zlib.crc32(b"".join(values[tensor].tobytes() for tensor in tensors))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.model)
def test_checksums(vector: Vector, shared_model: SharedModel) -> None:
    graph = load_model(shared_model(vector.model))
    values = run_reference(graph, ramp(graph))
    written = [tensor for op in graph.ops for tensor in op.outputs]
    assert crc32(values, list(graph.outputs)) == vector.outputs
    assert crc32(values, [vector.overwritten.get(tensor, tensor) for tensor in written]) == vector.operators
    assert sum(OPERATORS[op.kind].macs(graph, op) for op in graph.ops) == vector.macs


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.model)
def test_random_inputs_equal_the_reference_kernels(vector: Vector, shared_model: SharedModel) -> None:
    """Final outputs only: those of the operators may be overwritten by operators that work in place."""
    path = shared_model(vector.model)
    graph = load_model(path)
    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(1)
    for _ in range(3):
        inputs = [rng.integers(-128, 128, graph.tensor(tensor).shape).astype(np.int8) for tensor in graph.inputs]
        for tensor, array in zip(graph.inputs, inputs, strict=True):
            interpreter.set_tensor(tensor, array)
        interpreter.invoke()
        values = run_reference(graph, inputs)
        for tensor in graph.outputs:
            np.testing.assert_array_equal(values[tensor], interpreter.get_tensor(tensor))


def test_float_model_is_exact(shared_model: SharedModel) -> None:
    """Fully connected layers alone: sums in the reference's own order leave nothing to a tolerance but FMA."""
    path = shared_model("hello_world_float")
    graph = load_model(path)
    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1)
    interpreter.allocate_tensors()
    for x in np.linspace(-1, 7, 50, dtype=np.float32):
        interpreter.set_tensor(graph.inputs[0], np.array([[x]]))
        interpreter.invoke()
        found = run_reference(graph, [np.array([[x]])])[graph.outputs[0]]
        np.testing.assert_allclose(found, interpreter.get_tensor(graph.outputs[0]), rtol=1e-6, atol=1e-7)
