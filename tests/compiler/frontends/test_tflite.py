"""TFLite files → Graph: what is read agrees with tflite-runtime, and what is malformed gives one clear ModelError."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from tflite_runtime.interpreter import Interpreter, OpResolverType

from harness.compiler.frontends import load_model, parse_model
from harness.compiler.graph import Graph
from harness.errors import ModelError
from tests import models
from tests.compiler.frontends.refusal import refused
from tests.models import classifier
from tests.tflite_writer import BufferSpec, ModelSpec, OpcodeSpec, OptionsSpec

SHARED = {
    "kws_ref_model": 13,
    "vww_96_int8": 31,
    "pretrainedResnet_quant": 16,
    "ad01_int8": 10,
    "str_ww_ref_model": 11,
    "micro_speech_quantized": 4,
    "hello_world_int8": 3,
    "hello_world_float": 3,
}  # name → operators


# --- good files -------------------------------------------------------------------------------------------------------


def assert_agrees_with_the_interpreter(graph: Graph, data: bytes) -> None:
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    assert list(graph.inputs) == [detail["index"] for detail in interpreter.get_input_details()]
    assert list(graph.outputs) == [detail["index"] for detail in interpreter.get_output_details()]
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for index, tensor in enumerate(graph.tensors):
        detail = details[index]
        assert tensor.name == detail["name"]
        assert tensor.shape == tuple(detail["shape"])
        assert tensor.dtype.np == detail["dtype"]
        quant = detail["quantization_parameters"]
        if tensor.quant is not None:
            assert list(tensor.quant.scales) == quant["scales"].tolist()
            assert list(tensor.quant.zero_points) == quant["zero_points"].tolist()
            assert tensor.quant.axis == (quant["quantized_dimension"] if len(quant["scales"]) > 1 else None)
        if tensor.data is not None:
            np.testing.assert_array_equal(tensor.data, interpreter.get_tensor(index))
            assert tensor.data.shape == tensor.shape
            assert tensor.data.dtype == tensor.dtype.np
            assert not tensor.data.flags.writeable
    interpreter.invoke()


@pytest.mark.parametrize("name", SHARED)
def test_real_models_load(shared_model: Callable[[str], Path], name: str) -> None:
    path = shared_model(f"{name}.tflite")
    graph = load_model(path)
    assert graph.name == path.name
    assert [op.sources for op in graph.ops] == [(index,) for index in range(SHARED[name])]
    assert graph.model_tensors == len(graph.tensors)
    assert_agrees_with_the_interpreter(graph, path.read_bytes())


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_made_models_load(dtype: str) -> None:
    data = classifier(dtype=dtype).build()
    graph = parse_model(data, "small.tflite")
    assert [op.kind for op in graph.ops] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    assert graph.ops[0].inputs == (0, 1, 2)
    assert graph.ops[2].outputs == (8,)
    assert graph.tensors[1].quant is None if dtype == "float32" else len(graph.tensors[1].quant.scales) == 3
    assert_agrees_with_the_interpreter(graph, data)


MADE = {
    "conv2d": lambda dtype: models.conv2d((1, 9, 7, 3), (3, 2), 5, stride=(2, 1), activation="RELU6", dtype=dtype),
    "conv2d per tensor": lambda dtype: models.conv2d((1, 9, 7, 3), dilation=(2, 2), per_channel=False, dtype=dtype),
    "depthwise": lambda dtype: models.depthwise_conv2d((1, 5, 6, 3), (3, 2), 2, padding="VALID", dtype=dtype),
    "depthwise without bias": lambda dtype: models.depthwise_conv2d((1, 5, 6, 3), bias=False, dtype=dtype),
    "fully connected": lambda dtype: models.fully_connected((2, 13), 7, activation="RELU", dtype=dtype),
    "fully connected per channel": lambda dtype: models.fully_connected((1, 3, 6), per_channel=True, dtype=dtype),
    "average": lambda dtype: models.average_pool(
        (1, 9, 7, 3), window=(3, 3), stride=(2, 2), padding="SAME", dtype=dtype
    ),
    "max": lambda dtype: models.max_pool((1, 8, 6, 3), activation="RELU", dtype=dtype),
    "reshape": lambda dtype: models.reshape((1, 4, 6), (2, 12), dtype=dtype),
    "softmax": lambda dtype: models.softmax((2, 12), beta=0.5, dtype=dtype),
    "add": lambda dtype: models.add((1, 4, 4, 3), (1, 1, 1, 3), activation="RELU", dtype=dtype),
    "chain": lambda dtype: models.sequence(
        (1, 8, 8, 2), [("conv2d", {"out_channels": 2}), ("add", {"other": 0}), ("max_pool", {})], dtype=dtype
    ),
}


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("name", MADE)
def test_every_kind_of_made_model_loads_and_runs(name: str, dtype: str) -> None:
    data = MADE[name](dtype)
    assert_agrees_with_the_interpreter(parse_model(data, "made"), data)


def test_an_absent_operand_is_kept() -> None:
    graph = parse_model(models.fully_connected((1, 6), 3, bias=False), "m")
    assert graph.ops[0].inputs[2] == -1
    assert graph.operand(graph.ops[0], 2) is None


def test_unaligned_weights_become_aligned_arrays() -> None:
    data = b"\0" + classifier(dtype="float32").build()  # numpy's own base address plus one: every view is unaligned
    graph = parse_model(bytes(memoryview(data)[1:]), "m")
    assert all(tensor.data is None or tensor.data.flags.aligned for tensor in graph.tensors)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('say "hi"', 'say "hi"'),
        ("two\nlines", "two\nlines"),
        ("a */ b", "a */ b"),
        ("Übung/卷积", "Übung/卷积"),
        (b"\xff\xfeconv\x80", "\\xff\\xfeconv\\x80"),
        ("\x1b[31mred\x07", "\x1b[31mred\x07"),
        ("x" * 100_000, "x" * 100_000),
        (None, ""),
    ],
)
def test_hostile_names_are_read_and_quoted_in_messages(raw: str | bytes | None, text: str) -> None:
    spec = tensor(3, name=raw)(classifier().spec)
    assert parse_model(spec.pack(), "m").tensors[3].name == text
    error = refused(tensor(3, shape=(1, -4, 4, 3))(spec).pack())
    assert len(error.where) < 200


def test_a_name_that_no_terminal_shows_in_the_path(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.tflite")
    path.write_bytes(classifier().build())
    assert load_model(path).name == "\\xff.tflite"


# --- files that are sound but wrong -----------------------------------------------------------------------------------

Change = Callable[[ModelSpec], ModelSpec]


def main(**changes: Any) -> Change:
    return lambda spec: replace(spec, subgraphs=(replace(spec.main, **changes),))


def _member(field: str, index: int, changes: dict[str, Any]) -> Change:
    def change(spec: ModelSpec) -> ModelSpec:
        members = list(getattr(spec.main, field))
        members[index] = replace(members[index], **changes)
        return main(**{field: tuple(members)})(spec)

    return change


def tensor(index: int, **changes: Any) -> Change:
    return _member("tensors", index, changes)


def operator(index: int, **changes: Any) -> Change:
    return _member("operators", index, changes)


def model(**changes: Any) -> Change:
    return lambda spec: replace(spec, **changes)


def opcode(code: OpcodeSpec) -> Change:
    return lambda spec: replace(spec, opcodes=(code, *spec.opcodes[1:]))


def buffer(index: int, buffer: BufferSpec) -> Change:
    return lambda spec: replace(spec, buffers=(*spec.buffers[:index], buffer, *spec.buffers[index + 1 :]))


def scales(index: int, **changes: Any) -> Change:
    return lambda spec: tensor(index, quant=replace(spec.main.tensors[index].quant, **changes))(spec)


T3 = r"tensor 3 'conv_2d_0'"
WRONG: dict[str, tuple[Change, str]] = {
    "schema version": (model(version=2), "m.tflite: schema version 2 is not supported"),
    "no subgraph": (model(subgraphs=()), "has 0 subgraphs"),
    "two subgraphs": (lambda s: replace(s, subgraphs=s.subgraphs * 2), "has 2 subgraphs"),
    "unknown operator": (
        opcode(OpcodeSpec(tflite.BuiltinOperator.SVDF)),
        r"unknown operator SVDF \(operator 0\)\nSupported operators: .*CONV_2D",
    ),
    "operator from the future": (opcode(OpcodeSpec(9999)), r"unknown operator number 9999 \(operator 0\)"),
    "negative operator": (opcode(OpcodeSpec(-5, deprecated=-3)), "unknown operator number -3"),
    "custom operator": (
        opcode(OpcodeSpec(tflite.BuiltinOperator.CUSTOM, custom="Evil\n*/")),
        r"unknown operator CUSTOM 'Evil\\n\*/' \(operator 0\)",
    ),
    "operator code index": (operator(2, opcode=77), r"operator 2: refers to operator code 77; the file has 4"),
    "no operators": (main(operators=()), "has no operators"),
    "no inputs": (main(inputs=()), "has no inputs"),
    "inputs vector left out": (main(inputs=None), "has no inputs"),
    "no outputs": (main(outputs=()), "has no outputs"),
    "input index": (main(inputs=(10,)), "input is tensor 10; the file has 10"),
    "output index": (main(outputs=(-1,)), "output is tensor -1; the file has 10"),
    "constant input": (main(inputs=(0, 1)), r"tensor 1 'weights_1': is an input of the model, but a constant"),
    "input named twice": (main(inputs=(0, 0)), "tensor 0 'input': is an input of the model, but"),
    "output that nothing writes": (main(outputs=(1,)), "tensor 1 'weights_1': is an output of the model, but neither"),
    "operand index": (operator(0, inputs=(0, 1, 99)), r"operator 0 \(CONV_2D\): refers to tensor 99; the file has 10"),
    "operand index below -1": (operator(0, inputs=(0, 1, -2)), "refers to tensor -2"),
    "absent result": (operator(0, outputs=(-1,)), "refers to tensor -1"),
    "operands without end": (operator(0, inputs=(0,) * 5000), "lists 5000 tensors, more than 4096"),
    "read too early": (operator(0, inputs=(5, 1, 2)), r"operator 0 \(CONV_2D\): reads tensor 5 'reshape_1' before"),
    "reads its own result": (operator(0, inputs=(3, 1, 2)), rf"reads {T3} before anything writes it"),
    "written twice": (operator(1, outputs=(3,)), rf"operator 1 \(RESHAPE\): writes {T3}, which has a value already"),
    "same result twice": (operator(0, outputs=(3, 3)), rf"writes {T3}, which has a value"),
    "writes a constant": (operator(0, outputs=(4,)), "writes tensor 4 'shape_4', which has a value"),
    "writes an input": (operator(0, outputs=(0,)), "writes tensor 0 'input', which has a value"),
    "no operands": (operator(3, inputs=()), r"operator 3 \(SOFTMAX\): 0 operands"),
    "operand vector left out": (operator(3, inputs=None), r"operator 3 \(SOFTMAX\): 0 operands"),
    "no result": (operator(3, outputs=()), r"output of the model, but neither"),
    "no options": (operator(0, options=None), r"m.tflite, operator 0 \(CONV_2D\): has no Conv2DOptions"),
    "options of another operator": (
        operator(0, options=OptionsSpec("SoftmaxOptions", {"Beta": 1.0})),
        r"m.tflite, operator 0 \(CONV_2D\): carries options of type 9",
    ),
    "options of unknown kind": (
        operator(0, options=OptionsSpec("Conv2DOptions", {"StrideW": 1}, type=250)),
        r"operator 0 \(CONV_2D\): carries options of type 250",
    ),
    "unknown activation": (
        operator(0, options=OptionsSpec("Conv2DOptions", {"StrideW": 1, "StrideH": 1, "FusedActivationFunction": 99})),
        r"operator 0 \(CONV_2D\): fuses activation 99",
    ),
    "stride 0": (
        operator(0, options=OptionsSpec("Conv2DOptions", {"Padding": 0})),
        r"operator 0 \(CONV_2D\).*stride 0",
    ),
    "float16": (tensor(3, type=tflite.TensorType.FLOAT16), rf"m.tflite, {T3}: unsupported type FLOAT16"),
    "string": (tensor(3, type=tflite.TensorType.STRING), "unsupported type STRING"),
    "type number": (tensor(3, type=77), "unsupported type 77"),
    "int64 activations": (tensor(3, type=tflite.TensorType.INT64), r"operator 0 \(CONV_2D\).*int64"),
    "shape with -1": (tensor(3, shape=(1, -1, 4, 3)), rf"m.tflite, {T3}: impossible shape \(1, -1, 4, 3\)"),
    "shape with 0": (tensor(3, shape=(1, 0, 4, 3)), "impossible shape"),
    "shape of 2^124": (tensor(3, shape=(2**31 - 1,) * 4), r"takes more than \d+ bytes"),
    "nine dimensions": (tensor(3, shape=(1,) * 9), "has 9 dimensions"),
    "too much in all": (
        main(
            tensors=classifier().spec.main.tensors
            + (tensor(3, shape=(1 << 28,))(classifier().spec).main.tensors[3],) * 5
        ),
        "m.tflite: the tensors up to 13 take",
    ),
    "shape left out": (tensor(3, shape=None), r"operator 0 \(CONV_2D\)"),
    "shape unlike its window": (tensor(3, shape=(1, 4, 4, 5)), r"operator 0 \(CONV_2D\).*tensor 'conv_2d_0'"),
    "shape unlike its data": (
        tensor(1, shape=(3, 3, 3, 4)),
        r"\(3, 3, 3, 4\) of int8 takes 108 bytes, but buffer 1 holds 54",
    ),
    "buffer index": (tensor(1, buffer=50), r"tensor 1 'weights_1': refers to buffer 50 of 6"),
    "buffer outside": (buffer(1, BufferSpec(external=(4096, 54))), "lie outside the flatbuffer, at byte 4096"),
    "weights left out": (buffer(1, BufferSpec()), r"operator 0 \(CONV_2D\): reads tensor 1 'weights_1' before"),
    "variable": (tensor(3, is_variable=True), "is a variable"),
    "sparse": (tensor(1, sparse=True), "is sparse"),
    "no quantisation": (tensor(3, quant=None), rf"operator 0 \(CONV_2D\): {T3} is int8 without quantisation"),
    "no scales": (scales(3, scales=(), zero_points=()), rf"{T3} is int8 without quantisation"),
    "no zero points": (scales(3, zero_points=()), rf"m.tflite, {T3}: has 1 scales but 0 zero points"),
    "zero point count": (scales(1, zero_points=(0, 0)), "has 3 scales but 2 zero points"),
    "scale 0": (scales(3, scales=(0.0,)), "scale 0.0 is not a positive number"),
    "scale below 0": (scales(1, scales=(0.1, -0.5, 0.1)), "scale -0.5 is not"),
    "scale infinite": (scales(3, scales=(float("inf"),)), "scale inf is not"),
    "scale nan": (scales(3, scales=(float("nan"),)), "scale nan is not"),
    "zero point range": (scales(3, zero_points=(128,)), "zero point 128 is not an int8"),
    "zero point of 64 bits": (scales(3, zero_points=(-(1 << 63),)), "zero point -9223372036854775808 is not an int8"),
    "axis": (scales(1, axis=4), r"3 scales along dimension 4 do not fit shape \(3, 3, 3, 2\)"),
    "axis below 0": (scales(1, axis=-1), "3 scales along dimension -1"),
    "axis of another length": (scales(1, axis=3), "3 scales along dimension 3 do not fit"),
    "activations per channel": (
        scales(3, scales=(0.1, 0.2, 0.3), zero_points=(0, 0, 0), axis=3),
        rf"{T3}: is quantised per channel, which only constants",
    ),
    "custom quantisation": (scales(3, details_type=1), "quantisation of kind 1 is not supported"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_model_is_refused_by_name(name: str) -> None:
    change, message = WRONG[name]
    error = refused(change(classifier().spec).pack())
    assert re.search(message, str(error)), str(error)


def test_only_what_was_spoiled_is_refused() -> None:
    parse_model(classifier().spec.pack(), "m")  # every case above starts from this


def test_float_weights_must_be_finite() -> None:
    spec = classifier(dtype="float32").spec
    weights = np.frombuffer(spec.buffers[1].data, np.float32).copy()
    weights[7] = np.nan
    error = refused(buffer(1, BufferSpec(weights.tobytes()))(spec).pack())
    assert "tensor 1 'weights_1'" in error.where
    assert error.what == "element (0, 1, 0, 1) is nan, which is not a finite number"


def test_float_activations_with_int8_weights_are_refused(shared_model: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match=r"operator 0 \(CONV_2D\): hybrid operator, float32 .* in tensor 17"):
        load_model(shared_model("kws_ref_model_float32.tflite"))


def test_operators_of_a_newer_compiler_are_named(shared_model: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match=r"unknown operator UNIDIRECTIONAL_SEQUENCE_LSTM \(operator 0\)"):
        load_model(shared_model("mnist_lstm_int8.tflite"))


def test_every_unknown_operator_is_named_once() -> None:
    spec = classifier().spec
    codes = [OpcodeSpec(tflite.BuiltinOperator.SVDF), *spec.opcodes[1:3], OpcodeSpec(tflite.BuiltinOperator.LSTM)]
    error = refused(replace(spec, opcodes=tuple(codes)).pack())
    assert error.what == "unknown operator SVDF (operator 0), LSTM (operator 3)"
