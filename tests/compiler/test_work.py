"""How much work compiling is: counted in calls, so that neither the machine nor what else runs on it matters."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from benchmarks.compile_time import CORE, chain
from harness.board import core_target
from harness.compiler.pipeline import compile_graph

pytestmark = pytest.mark.slow  # counting every call takes its time

MOST = 150_000  # calls a layer, of Python functions and of those in C: 100,000 are about 0.6 s of 30 layers


def calls(layers: int) -> int:
    """Calls while a chain of convolutions is compiled and proved, nothing remembered from before."""
    graph, target = chain(layers, 16), core_target(CORE)
    counted = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        compile_graph(graph, target)
    finally:
        sys.setprofile(before)
    return counted


def test_work_grows_with_the_layers_and_no_faster() -> None:
    calls(2)  # what is made once, whatever the model
    few, many = calls(6), calls(18)
    assert many - few <= 12 * MOST
    assert many <= 1.1 * 3 * few
