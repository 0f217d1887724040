"""Every operator's cases: plain loops and scheduled loops against the operator's own numpy reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.board import Target, core_target
from harness.compiler.interpret import run
from harness.compiler.loops import Program
from harness.compiler.ops import OPERATORS, Case, Operator, run_reference
from harness.compiler.pipeline import PASSES, CompiledLayer, programs_of
from harness.compiler.schedules import tidy
from tests.compiler.ops.oracle import draw, load, net_of
from tests.native import run_native

M3 = Target("cortex-m3", frozenset())
M55 = core_target("cortex-m55")
PASSES_OFF = frozenset(p.name for p in PASSES)
EVERY = [(operator, case) for operator in OPERATORS.values() if operator.lower for case in operator.cases]
IDS = [f"{operator.kind}-{case.name}" for operator, case in EVERY]


def compiled(
    operator: Operator, case: Case, core: Target = M3
) -> tuple[CompiledLayer, dict[str, np.ndarray], list[np.ndarray]]:
    """The case's one layer, inputs by buffer name, and the reference's outputs."""
    graph = load(net_of(operator, case).build())
    arrays = draw(graph, case.seed)
    layer = programs_of(graph, core, disabled=PASSES_OFF)[0]
    values = dict(zip(graph.inputs, arrays, strict=True))
    names = [b.name for b in layer.program.of_space("input")]
    inputs = {name: values[t] for name, t in zip(names, layer.layer.inputs, strict=True)}
    found = run_reference(graph, arrays)
    return layer, inputs, [found[t] for t in graph.ops[0].outputs]


def compare(case: Case, got: dict[str, np.ndarray], want: list[np.ndarray]) -> None:
    for have, expected in zip(got.values(), want, strict=True):
        have = have.reshape(expected.shape)
        if case.dtype != "float32":
            np.testing.assert_array_equal(have, expected)
        else:
            np.testing.assert_array_max_ulp(have, expected, 2)


@pytest.mark.parametrize("core", [M3, M55], ids=["m3", "m55"])
@pytest.mark.parametrize(("operator", "case"), EVERY, ids=IDS)
def test_loops_compute_the_reference(operator: Operator, case: Case, core: Target) -> None:
    layer, inputs, want = compiled(operator, case, core)
    programs: tuple[Program, ...] = (tidy(layer.unscheduled), layer.program)
    for program in programs:
        compare(case, run(program, inputs), want)


NATIVE = [
    pair
    for pair, name in zip(EVERY, IDS, strict=True)
    if name.partition("-")[0] in ("RESHAPE", "SOFTMAX", "ADD", "SUB", "MUL", "MAXIMUM")
]
NATIVE += [pair for pair, name in zip(EVERY, IDS, strict=True) if "POOL" in name and "same" in name]
NATIVE += [pair for pair, name in zip(EVERY, IDS, strict=True) if "multiplier" in name]
NATIVE += [(o, c) for o, c in EVERY if o.moves is not None and o.kind != "RESHAPE"]


@pytest.mark.parametrize(("operator", "case"), NATIVE, ids=[f"{o.kind}-{c.name}" for o, c in NATIVE])
def test_the_printed_c_computes_the_reference(operator: Operator, case: Case, tmp_path: Path) -> None:
    layer, inputs, want = compiled(operator, case)
    compare(case, run_native(layer.program, inputs, tmp_path), want)
