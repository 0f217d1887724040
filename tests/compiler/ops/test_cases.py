"""Every operator's cases, and shapes drawn at random, against TFLite's reference kernels."""

from __future__ import annotations

import platform
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.compiler.ops import OPERATORS, Case, Operator, run_reference
from tests.compiler.ops.oracle import draw, load, net_of, tflite_outputs

pytestmark = pytest.mark.slow  # many examples, or compilers and emulators

ACTIVATIONS = st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
SCALES = st.floats(-12, 3).map(lambda exponent: float(np.float32(2.0**exponent)))
ZERO_POINTS = st.one_of(st.sampled_from([-128, -127, -1, 0, 127]), st.integers(-128, 127))
QUANTS = st.one_of(st.none(), st.tuples(SCALES, ZERO_POINTS))
PADDINGS = st.sampled_from(["SAME", "VALID"])
DTYPES = st.sampled_from(["int8", "int8", "float32"])
SEEDS = st.integers(0, 2**32 - 1)
# These use functions of the C library; every other float operator is exact.
FINEST_ULPS = {"SOFTMAX": 1, "LOGISTIC": 1, "TANH": 2}

drawn = settings(max_examples=60, deadline=None, derandomize=True)


def agree(operator: Operator, case: Case, seed: int) -> None:
    """Zero differing elements for integers; float32 exact where TFLite was compiled without FMA, as for x86-64."""
    model = net_of(operator, case).build()
    graph = load(model)
    inputs = draw(graph, seed)
    values = run_reference(graph, inputs)
    for tensor, expected in zip(graph.outputs, tflite_outputs(model, inputs), strict=True):
        found = values[tensor]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        if case.dtype != "float32":
            np.testing.assert_array_equal(found, expected)
        elif platform.machine() in ("x86_64", "AMD64"):
            np.testing.assert_array_max_ulp(found, expected, FINEST_ULPS.get(operator.kind, 0))
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def windowed(draw: st.DrawFn, most_channels: int) -> tuple[tuple[int, ...], dict[str, object]]:
    """An input shape (n, h, w, c), and a kernel, stride, dilation and padding that leave at least one output."""
    size = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    kernel = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    dilation = draw(st.one_of(st.just((1, 1)), st.tuples(st.integers(1, 3), st.integers(1, 3))))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    fits = all(length >= back for length, back in zip(size, reach, strict=True))
    padding = draw(PADDINGS) if fits else "SAME"
    shape = (draw(st.integers(1, 2)), *size, draw(st.integers(1, most_channels)))
    return shape, {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    shape, options = windowed(draw, 9)
    options |= {"out_channels": draw(st.integers(1, 9)), "activation": draw(ACTIVATIONS)}
    options |= {"per_channel": draw(st.booleans())}
    return Case("drawn", (shape,), options, (draw(QUANTS),), draw(DTYPES), draw(SEEDS))


@st.composite
def depthwise_convolutions(draw: st.DrawFn) -> Case:
    shape, options = windowed(draw, 6)
    options |= {"multiplier": draw(st.integers(1, 4)), "activation": draw(ACTIVATIONS), "bias": draw(st.booleans())}
    return Case("drawn", (shape,), options, (draw(QUANTS),), draw(DTYPES), draw(SEEDS))


@st.composite
def fully_connected_layers(draw: st.DrawFn) -> Case:
    shape = (*draw(st.lists(st.integers(1, 8), min_size=1, max_size=3)), draw(st.integers(1, 70)))
    options = {
        "units": draw(st.integers(1, 20)),
        "activation": draw(ACTIVATIONS),
        "per_channel": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "keep_num_dims": draw(st.booleans()),
    }
    if len(shape) > 2 and options["keep_num_dims"]:
        options["per_channel"] = False  # tflite-runtime 2.14 takes the wrong scales; see the test of its own below
    return Case("drawn", (shape,), options, (draw(QUANTS),), draw(DTYPES), draw(SEEDS))


@st.composite
def pools(draw: st.DrawFn) -> Case:
    shape, options = windowed(draw, 6)
    dilation, window = options.pop("dilation"), options.pop("kernel")
    assert dilation
    options |= {"window": window, "activation": draw(ACTIVATIONS)}
    return Case("drawn", (shape,), options, (draw(QUANTS),), draw(DTYPES), draw(SEEDS))


@st.composite
def softmaxes(draw: st.DrawFn) -> Case:
    shape = (*draw(st.lists(st.integers(1, 5), max_size=3)), draw(st.integers(1, 40)))
    beta = draw(st.sampled_from([1.0, 1.0, 0.125, 2.5, 10.0]))
    return Case("drawn", (shape,), {"beta": beta}, (draw(QUANTS),), draw(DTYPES), draw(SEEDS))


@st.composite
def additions(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    thinned = [tuple(draw(st.sampled_from([1, extent])) for extent in shape) for _ in range(2)]
    shorter = draw(st.integers(0, len(shape) - 1))
    shapes = (tuple(shape), thinned[1][shorter:]) if draw(st.booleans()) else (thinned[0], tuple(shape))
    # an output scale that is drawn too could be finer than TFLite can express beside a coarse input
    options = {"activation": draw(ACTIVATIONS)}
    return Case("drawn", shapes, options, (draw(QUANTS), draw(QUANTS)), draw(DTYPES), draw(SEEDS))


@st.composite
def elements(draw: st.DrawFn) -> Case:
    """Operators of one operand on every value of int8."""
    scale = draw(SCALES)
    coarser = draw(st.floats(-1.5, 3).map(lambda exponent: 2.0**exponent))
    quant = (float(np.float32(scale * coarser)), draw(ZERO_POINTS))
    return Case("drawn", ((2, 200),), {"quant": quant}, ((scale, draw(ZERO_POINTS)),), draw(DTYPES), draw(SEEDS))


DEQUANTIZE = OPERATORS["DEQUANTIZE"]
ALL_CASES = [
    pytest.param(operator, case, id=f"{operator.c_name}-{case.name}")
    for operator in OPERATORS.values()
    for case in operator.cases
]


@pytest.mark.parametrize(("operator", "case"), ALL_CASES)
def test_case(operator: Operator, case: Case) -> None:
    for seed in range(3):
        agree(operator, case, seed)


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda operator: operator.c_name)
def test_cases_have_names_of_their_own_and_cover_both_types(operator: Operator) -> None:
    names = [case.name for case in operator.cases]
    assert len(set(names)) == len(names)
    assert {case.dtype for case in operator.cases} - {"int32"} >= (
        {"int8", "uint8"} if operator is DEQUANTIZE else {"int8", "float32"}
    )


@drawn
@given(convolutions(), SEEDS)
def test_drawn_convolution(case: Case, seed: int) -> None:
    agree(OPERATORS["CONV_2D"], case, seed)


@drawn
@given(depthwise_convolutions(), SEEDS)
def test_drawn_depthwise_convolution(case: Case, seed: int) -> None:
    agree(OPERATORS["DEPTHWISE_CONV_2D"], case, seed)


@drawn
@given(fully_connected_layers(), SEEDS)
def test_drawn_fully_connected(case: Case, seed: int) -> None:
    agree(OPERATORS["FULLY_CONNECTED"], case, seed)


@drawn
@given(fully_connected_layers(), SEEDS)
def test_per_channel_rows_keep_their_dimensions(case: Case, seed: int) -> None:
    operator = OPERATORS["FULLY_CONNECTED"]
    results = []
    for keep_num_dims in (False, True):
        options = {**case.options, "per_channel": True, "keep_num_dims": keep_num_dims}
        graph = load(net_of(operator, replace(case, options=options)).build())
        results.append(run_reference(graph, draw(graph, seed))[graph.outputs[0]])
    flat, kept = results
    assert kept.shape == (*case.shapes[0][:-1], case.options["units"])
    np.testing.assert_array_equal(kept.reshape(flat.shape), flat)


@drawn
@given(st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D"]), pools(), SEEDS)
def test_drawn_pool(kind: str, case: Case, seed: int) -> None:
    agree(OPERATORS[kind], case, seed)


@drawn
@given(softmaxes(), SEEDS)
def test_drawn_softmax(case: Case, seed: int) -> None:
    agree(OPERATORS["SOFTMAX"], case, seed)


@drawn
@given(st.sampled_from(["ADD", "SUB"]), additions(), SEEDS)
def test_drawn_sum(kind: str, case: Case, seed: int) -> None:
    agree(OPERATORS[kind], case, seed)


@drawn
@given(additions(), SEEDS)
def test_drawn_product(case: Case, seed: int) -> None:
    agree(OPERATORS["MUL"], case, seed)


@drawn
@given(st.sampled_from(["MINIMUM", "MAXIMUM"]), additions(), SEEDS)
def test_drawn_extremum(kind: str, case: Case, seed: int) -> None:
    agree(OPERATORS[kind], replace(case, options={}), seed)


@st.composite
def means(draw: st.DrawFn) -> Case:
    shape = tuple(draw(st.lists(st.integers(1, 8), min_size=1, max_size=4)))
    axes = tuple(draw(st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=len(shape), unique=True)))
    options = {"axes": axes, "keep_dims": draw(st.booleans())}
    return Case("drawn", (shape,), options, (draw(QUANTS),), draw(DTYPES), draw(SEEDS))


@drawn
@given(means(), SEEDS)
def test_drawn_mean(case: Case, seed: int) -> None:
    agree(OPERATORS["MEAN"], case, seed)


RESCALING = ["RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "QUANTIZE"]


def on_every_value(operator: Operator, case: Case, seed: int) -> None:
    """All 256 values of int8 at once; floats as ever."""
    if case.dtype == "float32":
        return agree(operator, case, seed)
    model = net_of(operator, replace(case, shapes=((1, 256),))).build()
    graph = load(model)
    x = np.arange(-128, 128).astype(np.int8).reshape(1, 256)
    (want,) = tflite_outputs(model, [x])
    np.testing.assert_array_equal(run_reference(graph, [x])[graph.outputs[0]], want)


@drawn
@given(st.sampled_from(RESCALING), elements(), SEEDS)
def test_drawn_rescaling_of_every_value(kind: str, case: Case, seed: int) -> None:
    options = {**case.options, **({"alpha": 0.1 + seed % 7 / 5} if kind == "LEAKY_RELU" else {})}
    options |= {"to": "int8"} if kind == "QUANTIZE" else {}
    on_every_value(OPERATORS[kind], replace(case, options=options), seed)


@drawn
@given(st.sampled_from([("LOGISTIC", (1 / 256, -128)), ("TANH", (1 / 128, 0))]), elements(), SEEDS)
def test_drawn_curve_of_every_value(kind: tuple[str, tuple[float, int]], case: Case, seed: int) -> None:
    on_every_value(OPERATORS[kind[0]], replace(case, options={"quant": kind[1]}), seed)


@drawn
@given(elements(), SEEDS)
def test_drawn_dequantisation_of_every_value(case: Case, seed: int) -> None:
    on_every_value(DEQUANTIZE, replace(case, dtype="int8", options={}), seed)


@pytest.mark.parametrize(
    ("kind", "scales", "y_scale", "values", "expected"),
    [
        ("MUL", (0.0735611766576767, 0.0712684765458107), 2.255809783935547, (116, -102), -28),
        ("MUL", (0.0559864416718483, 0.05474484711885452), 0.8370382189750671, (61, -47), -10),
        ("RELU", (0.055093590170145035,), 0.08379504084587097, (127,), 83),
        ("LEAKY_RELU", (0.07956463098526001,), 0.06445742398500443, (32,), 40),
        ("QUANTIZE", (0.055093590170145035,), 0.08379504084587097, (127,), 84),
    ],
)
def test_products_and_quotients_of_scales_have_the_precision_of_tflite(
    kind: str, scales: tuple[float, ...], y_scale: float, values: tuple[int, ...], expected: int
) -> None:
    """float32 for all but QUANTIZE, which has double: here the other one gives another output."""
    operator = OPERATORS[kind]
    case = Case("one", ((1, 1),) * len(scales), {"quant": (y_scale, 0)}, tuple((scale, 0) for scale in scales))
    model = net_of(operator, case).build()
    graph = load(model)
    inputs = [np.array([[value]], np.int8) for value in values]
    (want,) = tflite_outputs(model, inputs)
    assert want.item() == expected
    assert run_reference(graph, inputs)[graph.outputs[0]].item() == expected
