"""TFLite's reference kernels as the judge of one model, and models made from an operator's cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tflite_runtime.interpreter import Interpreter, OpResolverType

from harness.compiler.frontends import parse_model
from harness.compiler.graph import Graph
from harness.compiler.ops import Case, Operator
from harness.dtypes import DType
from tests.models import Net


def net_of(operator: Operator, case: Case) -> Net:
    """The case as a model under construction: one operator whose weights and quantisation come from the seed."""
    net = Net(case.seed, case.dtype)
    quants = (*case.quants, *(None for _ in case.shapes[len(case.quants) :]))
    pairs = zip(case.shapes, quants, strict=True)
    operands = [net.input(shape, name=f"x{n}", quant=quant) for n, (shape, quant) in enumerate(pairs)]
    getattr(net, operator.c_name)(*operands, **case.options)
    return net


def load(model: bytes) -> Graph:
    return parse_model(model, "case.tflite")


def draw(graph: Graph, seed: int) -> list[np.ndarray]:
    """Inputs over the whole range of a type, an integer's ends certain to occur where there is room."""
    rng = np.random.default_rng(seed)
    arrays = []
    for tensor in map(graph.tensor, graph.inputs):
        if tensor.dtype is DType.F32:
            array = rng.normal(0, 2, tensor.shape).astype(np.float32)
        elif tensor.dtype is DType.I32:
            array = rng.integers(-(2**31), 2**31, tensor.shape).astype(np.int32)
        else:
            kind = tensor.dtype
            array = rng.integers(kind.min, kind.max + 1, tensor.shape).astype(kind.np)
            array.reshape(-1)[: min(2, array.size)] = (kind.max, kind.min)[: min(2, array.size)]
        arrays.append(array)
    return arrays


def tflite_outputs(model: bytes, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The model's outputs as tflite-runtime's reference kernels compute them."""
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
