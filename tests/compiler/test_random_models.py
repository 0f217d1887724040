"""Random models, compiled whole and run natively under the sanitizers, against the numpy references."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from harness.board import Target
from harness.compiler.csource import CSource
from harness.compiler.frontends import parse_model
from harness.compiler.ops import run_reference
from harness.compiler.pipeline import compile_graph
from tests.compiler.ops.oracle import draw
from tests.models import Net
from tests.native import STRICT

HOST = Target("host", frozenset())
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # each example runs gcc: do not shrink for minutes
MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "model.h"

int main(void)
{
    const size_t whole = (MODEL_ARENA_BYTES + MODEL_ARENA_ALIGN - 1) / MODEL_ARENA_ALIGN * MODEL_ARENA_ALIGN;
    uint8_t *arena = aligned_alloc(MODEL_ARENA_ALIGN, whole);
    if (arena == NULL || fread(arena + MODEL_INPUT_0_OFFSET, 1, MODEL_INPUT_0_BYTES, stdin) != MODEL_INPUT_0_BYTES) {
        return 1;
    }
    model_run(arena);
    fwrite(arena + MODEL_OUTPUT_0_OFFSET, 1, MODEL_OUTPUT_0_BYTES, stdout);
    free(arena);
    return 0;
}
"""


@st.composite
def nets(draw: st.DrawFn) -> Net:
    """A chain of up to five operators over images, at times with a skip connection, at times ending in a classifier."""
    net = Net(draw(st.integers(0, 10_000)))
    size = draw(st.tuples(st.integers(3, 12), st.integers(1, 12)))
    x = net.input((1, *size, draw(st.integers(1, 6))))
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["conv2d", "conv2d", "depthwise", "pool", "add", "flat"]))
        options = {"padding": "SAME", "stride": draw(pairs)}
        if kind == "conv2d":
            activation = draw(st.sampled_from(["NONE", "RELU", "RELU6"]))
            x = net.conv2d(x, draw(pairs), draw(st.integers(1, 9)), activation=activation, **options)
        elif kind == "depthwise":
            x = net.depthwise_conv2d(x, draw(pairs), multiplier=draw(st.integers(1, 2)), **options)
        elif kind == "pool":
            pool = net.max_pool if draw(st.booleans()) else net.average_pool
            x = pool(x, draw(pairs), **options)
        elif kind == "add":
            x = net.add(net.conv2d(x, (1, 1), net.shape(x)[3]), x)
        else:
            shape = net.shape(x)
            x = net.reshape(net.reshape(x, (1, int(np.prod(shape)))), shape)
    if draw(st.booleans()):
        net.softmax(net.fully_connected(net.reshape(x), draw(st.integers(1, 7))))
    return net


def run_whole(source: CSource, inputs: list[np.ndarray], folder: Path) -> bytes:
    for name, text in source.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "main.c").write_text(MAIN)
    program = folder / "run"
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    files = [str(p) for p in sorted(folder.rglob("*.c")) if p.name != "model_layers.c"]
    subprocess.run(["gcc", *STRICT, *sanitize, "-I", str(folder), *files, "-o", str(program), "-lm"], check=True)
    given_bytes = b"".join(array.tobytes() for array in inputs)
    return subprocess.run([str(program)], input=given_bytes, capture_output=True, check=True, timeout=60).stdout


@settings(max_examples=12, deadline=None, phases=QUICK)
@given(net=nets(), seed=st.integers(0, 1000))
def test_the_whole_model_in_c_computes_the_reference(
    net: Net, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    graph = parse_model(net.build(), "net.tflite")
    inputs = draw(graph, seed)
    want = run_reference(graph, inputs)[graph.outputs[0]]
    source = compile_graph(graph, HOST)
    assert source.arena_bytes >= source.arena_lower_bound
    got = run_whole(source, inputs, tmp_path_factory.mktemp("net"))
    assert np.array_equal(np.frombuffer(got, np.int8), want.reshape(-1))
