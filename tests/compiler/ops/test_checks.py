"""What the operators refuse, what they read from a file, and how running a whole graph fails on bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tflite

from harness.compiler.graph import ABSENT, Graph, Quant, Tensor, View
from harness.compiler.ops import OPERATORS, check, reference, run_reference
from harness.compiler.ops.base import activation_name, padding_name
from harness.compiler.ops.binary import Binary
from harness.compiler.ops.conv2d import Conv2D
from harness.compiler.ops.depthwise_conv2d import DepthwiseConv2D
from harness.compiler.ops.fully_connected import FullyConnected
from harness.compiler.ops.leaky_relu import LeakyRelu
from harness.compiler.ops.mean import Mean
from harness.compiler.ops.pool2d import Pool2D
from harness.compiler.ops.relu import Relu
from harness.compiler.ops.reshape import Reshape
from harness.compiler.ops.softmax import Softmax
from harness.dtypes import DType
from harness.errors import BadInput, ModelError
from tests.compiler.ops.oracle import load
from tests.models import Net
from tests.tflite_writer import OptionsSpec

Change = Callable[[Graph], Graph]
PAIRWISE = ("ADD", "SUB", "MUL", "MINIMUM", "MAXIMUM")


def graph_of(kind: str, dtype: str = "int8", **options: Any) -> Graph:
    net = Net(0, dtype)
    x = net.input((1, 6, 5, 4))
    others = (net.input((1, 6, 5, 4), name="b"),) if kind in PAIRWISE else ()
    getattr(net, OPERATORS[kind].c_name)(x, *others, **options)
    return load(net.build())


def tensor(position: int, **changes: Any) -> Change:
    """Changes an operand, or with position -1 the result, of the only operator."""

    def apply(graph: Graph) -> Graph:
        (op,) = graph.ops
        target = op.outputs[0] if position < 0 else op.inputs[position]
        tensors = tuple(replace(t, **changes) if n == target else t for n, t in enumerate(graph.tensors))
        return replace(graph, tensors=tensors)

    return apply


def attrs(**changes: Any) -> Change:
    return lambda graph: replace(graph, ops=(replace(graph.ops[0], attrs=replace(graph.ops[0].attrs, **changes)),))


def operands(*positions: int) -> Change:
    """Keeps the operands at `positions`; -1 leaves one out."""

    def apply(graph: Graph) -> Graph:
        (op,) = graph.ops
        inputs = tuple(ABSENT if position < 0 else op.inputs[position] for position in positions)
        return replace(graph, ops=(replace(op, inputs=inputs),))

    return apply


def of_shape(*shape: int) -> dict[str, Any]:
    return {"shape": shape, "data": np.zeros(shape, np.int8)}


ONE = Quant((0.1,), (0,))
REFUSED = [
    ("CONV_2D", operands(0), "1 operands, of which 1 are present, where 2 to 3 belong"),
    ("CONV_2D", operands(-1, 1), "of which 1 are present"),
    ("CONV_2D", operands(0, 1, 2, 2), "4 operands"),
    ("CONV_2D", tensor(0, dtype=DType.I16), "type int16; supported are int8 and float32"),
    ("CONV_2D", tensor(-1, dtype=DType.F32), "int8 in but float32 out"),
    ("CONV_2D", tensor(1, dtype=DType.U8), "type uint8 where int8 belongs"),
    ("CONV_2D", tensor(1, data=None), "computed at run time"),
    ("CONV_2D", tensor(2, data=None), "computed at run time"),
    ("CONV_2D", tensor(2, dtype=DType.I64), "type int64 where int32 belongs"),
    ("CONV_2D", tensor(2, shape=(5,)), r"shape \[5\] where \[4\] belongs"),
    ("CONV_2D", tensor(1, **of_shape(4, 3, 3, 2)), "2 groups; grouped convolution is not supported"),
    ("CONV_2D", tensor(1, **of_shape(4, 3, 3, 3)), "filter depth 3 for 4 input channels"),
    ("CONV_2D", tensor(1, **of_shape(4, 3, 12)), r"3 dimensions \[4, 3, 12\] where 4 belong"),
    ("CONV_2D", tensor(-1, shape=(1, 6, 5, 5)), r"shape \[1, 6, 5, 5\] where \[1, 6, 5, 4\] belongs"),
    ("CONV_2D", tensor(0, shape=(0, 6, 5, 4)), "has no elements"),
    ("CONV_2D", attrs(stride=(0, 1)), "stride 0 x 1; both must be at least 1"),
    ("CONV_2D", attrs(dilation=(1, -3)), "dilation 1 x -3"),
    ("CONV_2D", attrs(padding="VALID"), r"where \[1, 4, 3, 4\] belongs"),
    ("CONV_2D", tensor(0, quant=None), "has no quantisation"),
    ("CONV_2D", tensor(1, quant=None), "has no quantisation"),
    ("CONV_2D", tensor(0, quant=Quant((0.1, 0.2), (0, 0))), "2 scales where one belongs"),
    ("CONV_2D", tensor(0, quant=Quant((0.0,), (0,))), "scale 0.0; it must be above 0 and finite"),
    ("CONV_2D", tensor(-1, quant=Quant((float("inf"),), (0,))), "scale inf"),
    ("CONV_2D", tensor(-1, quant=Quant((float("nan"),), (0,))), "scale nan"),
    ("CONV_2D", tensor(0, quant=Quant((0.1,), (128,))), "zero point 128 outside int8"),
    ("CONV_2D", tensor(1, quant=Quant((0.1,) * 3, (0,) * 3, 0)), "3 scales for 4 output channels"),
    ("CONV_2D", tensor(1, quant=Quant((0.1,) * 4, (0,) * 4, 3)), "scales along dimension 3 where 0 belongs"),
    ("CONV_2D", tensor(1, quant=Quant((0.1,), (1,))), "zero point other than 0"),
    ("CONV_2D", tensor(1, quant=Quant((-0.1,), (0,))), "finite and not negative"),
    ("CONV_2D", tensor(2, data=np.full(4, 2**31 - 1, np.int32)), "32 bits do not hold"),
    ("CONV_2D", tensor(-1, quant=Quant((1e-12,), (0,))), "32 bits do not hold"),
    ("DEPTHWISE_CONV_2D", attrs(depth_multiplier=2), r"weights \[1, 3, 3, 4\] for 4 input channels and multiplier 2"),
    ("DEPTHWISE_CONV_2D", attrs(depth_multiplier=0), "multiplier 0"),
    ("DEPTHWISE_CONV_2D", tensor(1, **of_shape(2, 3, 3, 4)), r"weights \[2, 3, 3, 4\]"),
    ("DEPTHWISE_CONV_2D", tensor(1, quant=Quant((0.1,) * 4, (0,) * 4, 0)), "scales along dimension 0 where 3 belongs"),
    ("DEPTHWISE_CONV_2D", attrs(stride=(1, 0)), "stride 1 x 0"),
    ("DEPTHWISE_CONV_2D", tensor(2, shape=(4, 1)), r"shape \[4, 1\] where \[4\] belongs"),
    ("FULLY_CONNECTED", tensor(0, shape=(1, 6, 5, 3)), r"shape \[1, 6, 5, 3\] for weights \[4, 4\]"),
    ("FULLY_CONNECTED", tensor(1, **of_shape(4, 2, 2)), "3 dimensions"),
    ("FULLY_CONNECTED", attrs(keep_num_dims=True), r"shape \[30, 4\] where \[1, 6, 5, 4\] belongs"),
    ("FULLY_CONNECTED", tensor(-1, shape=(29, 4)), r"shape \[29, 4\] where \[30, 4\] belongs"),
    ("FULLY_CONNECTED", tensor(2, quant=Quant((0.5,), (0,))), "scale 0.5 where input scale"),
    ("FULLY_CONNECTED", tensor(1, data=None), "computed at run time"),
    ("AVERAGE_POOL_2D", attrs(stride=(0, 2)), "stride 0 x 2"),
    ("AVERAGE_POOL_2D", attrs(filter=(2, 0)), "filter 2 x 0"),
    ("AVERAGE_POOL_2D", attrs(filter=(7, 2)), r"shape \[1, 3, 2, 4\] where"),
    ("AVERAGE_POOL_2D", tensor(-1, quant=Quant((0.77,), (0,))), "quantised differently"),
    ("MAX_POOL_2D", tensor(0, shape=(1, 6, 20)), "3 dimensions"),
    ("MAX_POOL_2D", tensor(-1, dtype=DType.F32), "int8 in but float32 out"),
    ("RESHAPE", tensor(-1, shape=(1, 119)), r"120 elements \[1, 6, 5, 4\] cannot become \[1, 119\]"),
    ("RESHAPE", tensor(1, data=None, shape=(3,)), r"shape \[3\] where \[2\] belongs"),
    ("RESHAPE", tensor(1, data=np.array([2, 60], np.int32)), r"asks for \[2, 60\] but the output is \[1, 120\]"),
    ("RESHAPE", tensor(1, dtype=DType.I64), "type int64 where int32 belongs"),
    ("SOFTMAX", attrs(beta=0.0), "beta 0.0; it must be above 0"),
    ("SOFTMAX", attrs(beta=float("nan")), "beta nan"),
    ("SOFTMAX", attrs(beta=1e-7), r"is below 2\^-26"),
    ("SOFTMAX", tensor(-1, shape=(1, 6, 20)), "where"),
    ("SOFTMAX", tensor(-1, quant=ONE), "where 1/256 and -128 belong"),
    ("ADD", operands(0), "1 operands"),
    ("ADD", tensor(1, dtype=DType.F32), "type float32 where int8 belongs"),
    ("ADD", tensor(1, shape=(1, 6, 4, 4)), "do not broadcast"),
    ("ADD", tensor(-1, shape=(1, 6, 5, 1)), r"shape \[1, 6, 5, 1\] where \[1, 6, 5, 4\] belongs"),
    ("ADD", tensor(-1, quant=Quant((1e-9,), (0,))), "too fine for input scales"),
    ("SUB", tensor(-1, quant=Quant((1e-9,), (0,))), "too fine for input scales"),
    ("MUL", tensor(-1, quant=Quant((1e-9,), (0,))), "too fine for input scales"),
    ("MUL", tensor(1, quant=None), "has no quantisation"),
    ("MINIMUM", tensor(-1, dtype=DType.I16), "type int16; supported are int8 and float32"),
    ("MAXIMUM", tensor(-1, shape=(1, 6, 5, 1)), r"shape \[1, 6, 5, 1\] where \[1, 6, 5, 4\] belongs"),
    ("RELU", tensor(-1, dtype=DType.U8), "type uint8; supported are int8 and float32"),
    ("RELU6", tensor(-1, shape=(1, 6, 5, 1)), r"shape \[1, 6, 5, 1\] where \[1, 6, 5, 4\] belongs"),
    ("RELU_N1_TO_1", tensor(-1, quant=Quant((1e-12,), (0,))), "leaves 32 bits"),
    ("LEAKY_RELU", attrs(alpha=-0.5), "alpha -0.5"),
    ("LEAKY_RELU", attrs(alpha=float("nan")), "alpha nan"),
    ("LOGISTIC", operands(0, 0), "2 operands"),
    ("TANH", tensor(0, quant=Quant((0.0,), (0,))), "scale 0.0; it must be above 0"),
    ("HARD_SWISH", tensor(-1, quant=Quant((1e-6,), (0,))), "too fine for input scale"),
    ("QUANTIZE", tensor(0, dtype=DType.I32), "type int32 where one of int8, uint8, float32 belongs"),
    ("QUANTIZE", tensor(-1, dtype=DType.F32), "type float32 where one of int8, uint8 belongs"),
    ("QUANTIZE", tensor(-1, quant=Quant((1e-12,), (0,))), "too fine for input scale"),
    ("DEQUANTIZE", tensor(-1, dtype=DType.I8), "type int8 where float32 belongs"),
    ("DEQUANTIZE", tensor(0, dtype=DType.I16), "type int16 where one of int8, uint8 belongs"),
    ("MEAN", tensor(1, data=None), "computed at run time"),
    ("MEAN", tensor(1, data=np.array([1, 4], np.int32)), r"axes \[1, 4\] of a tensor of 4 dimensions"),
    ("MEAN", tensor(1, dtype=DType.I8), "type int8 where int32 belongs"),
    ("MEAN", tensor(-1, shape=(1, 3)), r"shape \[1, 3\] where \[1, 4\] belongs"),
    ("MEAN", tensor(-1, quant=Quant((1e-9,), (0,))), "too fine for them"),
]


@pytest.mark.parametrize(
    ("kind", "change", "message"), REFUSED, ids=[f"{kind}-{message[:40]}" for kind, _, message in REFUSED]
)
def test_refused(kind: str, change: Change, message: str) -> None:
    graph = graph_of(kind)
    check(graph)
    with pytest.raises(ModelError, match=message) as caught:
        check(change(graph))
    assert kind in caught.value.where
    assert "operator 0" in caught.value.where


def test_hybrid_operators_are_refused_with_a_way_out() -> None:
    weights = Tensor("w", (4, 3, 3, 4), DType.I8, ONE, np.zeros((4, 3, 3, 4), np.int8))
    graph = tensor(1, **vars(weights))(graph_of("CONV_2D", "float32"))
    with pytest.raises(ModelError, match="hybrid") as caught:
        check(graph)
    assert "float32" in caught.value.hint


def test_rows_too_long_for_an_int8_softmax() -> None:
    net = Net()
    net.softmax(net.input((1, 4096)))
    with pytest.raises(ModelError, match="4096 elements a row; int8 softmax sums at most 4095"):
        load(net.build())


def test_names_in_messages_are_escaped_and_short() -> None:
    graph = tensor(1, name="*/\n\x1b[31m" + "é" * 1000, data=None)(graph_of("CONV_2D"))
    with pytest.raises(ModelError) as caught:
        check(graph)
    assert caught.value.where.isprintable()
    assert len(caught.value.where) < 150


PARSED = [
    (
        "CONV_2D",
        {"stride": (2, 1), "dilation": (1, 1), "padding": "VALID", "activation": "RELU6"},
        Conv2D("VALID", (2, 1), (1, 1), "RELU6"),
    ),
    ("CONV_2D", {"dilation": (2, 3)}, Conv2D("SAME", (1, 1), (2, 3), "NONE")),
    (
        "DEPTHWISE_CONV_2D",
        {"multiplier": 3, "stride": (1, 2), "activation": "RELU_N1_TO_1"},
        DepthwiseConv2D("SAME", (1, 2), (1, 1), 3, "RELU_N1_TO_1"),
    ),
    ("FULLY_CONNECTED", {"activation": "RELU", "keep_num_dims": True}, FullyConnected("RELU", keep_num_dims=True)),
    (
        "MAX_POOL_2D",
        {"window": (3, 2), "stride": (2, 1), "padding": "SAME", "activation": "RELU"},
        Pool2D("SAME", (2, 1), (3, 2), "RELU"),
    ),
    ("AVERAGE_POOL_2D", {"window": (3, 2)}, Pool2D("VALID", (3, 2), (3, 2), "NONE")),
    ("RESHAPE", {}, Reshape()),
    ("SOFTMAX", {"beta": 0.5}, Softmax(0.5)),
    ("ADD", {"activation": "RELU6"}, Binary("RELU6")),
    ("SUB", {"activation": "RELU"}, Binary("RELU")),
    ("MUL", {}, Binary()),
    ("RELU6", {}, Relu("RELU6")),
    ("LEAKY_RELU", {"alpha": 0.25}, LeakyRelu(0.25)),
    ("MEAN", {"keep_dims": True}, Mean(True)),
]


@pytest.mark.parametrize(("kind", "options", "expected"), PARSED)
def test_attributes_from_a_file(kind: str, options: dict[str, Any], expected: object) -> None:
    assert graph_of(kind, **options).ops[0].attrs == expected


def spoilt(kind: str, options: OptionsSpec | None) -> bytes:
    net = Net()
    x = net.input((1, 6, 5, 4))
    getattr(net, OPERATORS[kind].c_name)(*(x, x) if kind in PAIRWISE else (x,))
    net.operators[0] = replace(net.operators[0], options=options)
    return net.build()


NEED_OPTIONS = ["CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "SOFTMAX", "CONCATENATION"]
NEED_OPTIONS += ["SPLIT", "SPLIT_V", "STRIDED_SLICE", "PACK", "UNPACK"]


@pytest.mark.parametrize("kind", NEED_OPTIONS)
def test_options_that_an_operator_needs(kind: str) -> None:
    with pytest.raises(ModelError, match=r"has no \w+Options"):
        load(spoilt(kind, None))


@pytest.mark.parametrize(
    ("kind", "expected"), [("ADD", Binary()), ("FULLY_CONNECTED", FullyConnected()), ("RESHAPE", Reshape())]
)
def test_options_that_have_defaults(kind: str, expected: object) -> None:
    assert load(spoilt(kind, None)).ops[0].attrs == expected


@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_options_of_another_operator(kind: str) -> None:
    with pytest.raises(ModelError, match="carries options of type"):
        load(spoilt(kind, OptionsSpec("SVDFOptions", {"Rank": 1})))


def test_shuffled_weights_are_refused() -> None:
    shuffled = tflite.FullyConnectedOptionsWeightsFormat.SHUFFLED4x16INT8
    with pytest.raises(ModelError, match="weights in format 1"):
        load(spoilt("FULLY_CONNECTED", OptionsSpec("FullyConnectedOptions", {"WeightsFormat": shuffled})))


def test_activations_and_paddings_that_do_not_exist() -> None:
    with pytest.raises(ModelError, match="fuses activation 4"):
        activation_name(tflite.ActivationFunctionType.TANH)
    with pytest.raises(ModelError, match="unknown padding 7"):
        padding_name(7)


def test_graph_without_an_entry_for_its_operator() -> None:
    graph = graph_of("ADD")
    unknown = replace(graph, ops=(replace(graph.ops[0], kind="FROBNICATE"),))
    with pytest.raises(ModelError, match="FROBNICATE is not supported"):
        check(unknown)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "0 input arrays for 1 inputs"),
        ([np.zeros((1, 6, 5, 5), np.int8)], r"array int8\[1, 6, 5, 5\] where int8\[1, 6, 5, 4\] belongs"),
        ([np.zeros((1, 6, 5, 4), np.float32)], r"array float32"),
    ],
)
def test_wrong_inputs(inputs: list[np.ndarray], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run_reference(graph_of("SOFTMAX"), inputs)


def test_constants_need_not_be_passed() -> None:
    graph = graph_of("CONV_2D")
    (op,) = graph.ops
    x = np.random.default_rng(0).integers(-128, 128, (1, 6, 5, 4)).astype(np.int8)
    (found,) = reference(graph, op, [x, None, None])
    values = run_reference(graph, [x])
    np.testing.assert_array_equal(found, values[op.outputs[0]])
    assert set(values) == set(range(len(graph.tensors)))


def test_views_show_their_bases_bytes() -> None:
    graph = graph_of("RESHAPE")
    (op,) = graph.ops
    viewed = replace(graph, ops=(), views=(View(op.outputs[0], op.inputs[0], op.sources),))
    x = np.random.default_rng(0).integers(-128, 128, (1, 6, 5, 4)).astype(np.int8)
    np.testing.assert_array_equal(run_reference(viewed, [x])[op.outputs[0]], x.reshape(1, 120))
