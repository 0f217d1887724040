"""Who gets which schedule: the knobs as data, the four objectives, and what they trade."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.board import Target, core_target
from harness.compiler import peak, schedules
from harness.compiler.choose import Candidate, Objective, candidates, choose, trade
from harness.compiler.cost import Cost, cost
from harness.compiler.frontends import parse_model
from harness.compiler.loops import Program
from harness.compiler.lowering.contraction import Arithmetic, convolution, depthwise, matmul
from harness.compiler.lowering.window import Window
from harness.compiler.peak import lower_peak
from harness.compiler.pipeline import compile_graph, trades
from harness.compiler.schedules.base import apply, described, knobs_of, settings
from harness.compiler.schedules.scalar import Plain
from harness.dtypes import DType
from tests.compiler.test_emit import every_operator
from tests.models import classifier

M0, M3, M4 = (core_target(core) for core in ("cortex-m0", "cortex-m3", "cortex-m4"))
KINDS = {
    kind
    for f in (schedules.CONTRACTION, schedules.DEPTHWISE, schedules.POOL, schedules.ELEMENTWISE)
    for t in f
    for kind in t
}


def arithmetic(channels: int) -> Arithmetic:
    return Arithmetic(
        DType.I8,
        np.arange(channels, dtype=np.int32) * 7,
        -128,
        127,
        input_zero_point=3,
        output_zero_point=-5,
        multipliers=np.full(channels, 1 << 30, np.int32),
        shifts=np.full(channels, -6, np.int32),
    )


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-90, 91, shape, np.int8)


def three_by_three(size: int = 12, depth: int = 16, channels: int = 16) -> Program:
    same = Window.of("SAME", size, 3, 1)
    return convolution("conv2d_0", arithmetic(channels), 1, same, same, weights(channels, 3, 3, depth))


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: str(kind.name)), ids=lambda kind: str(kind.name))
def test_a_kind_declares_its_knobs(kind: type) -> None:
    """Every field is a knob with values and a meaning, and every setting says in words what it is."""
    every = list(settings(kind))
    assert {knob.field for knob in kind.knobs} == set(knobs_of(every[0]))
    assert all(knob.values and knob.meaning for knob in kind.knobs)
    assert len({described(one) for one in every}) == len(every) == np.prod([len(knob.values) for knob in kind.knobs])


@pytest.mark.parametrize("core", [M0, M3, M4], ids=["m0", "m3", "m4"])
def test_a_core_gets_only_what_it_can_do(core: Target) -> None:
    found = candidates(three_by_three(), core, schedules.CONTRACTION)
    names = {one.schedule.name for one in found}
    assert names == ({"blocked"} if core is M0 else {"product"})
    assert any(knobs_of(one.schedule).get("pairs") for one in found) == (core is M4)


def test_candidates_differ_in_what_they_cost() -> None:
    found = candidates(three_by_three(), M4, schedules.CONTRACTION)
    assert len(found) > 6
    assert len({round(one.cost.instructions) for one in found}) > 6


def made(*figures: tuple[float, int, int]) -> list[Candidate]:
    """Candidates of these instructions, bytes of code and bytes of scratch memory."""
    return [Candidate(Plain(), Cost(executed, code, 0, scratch)) for executed, code, scratch in figures]


def at_peak(found: list[Candidate], alive: int, least: int) -> peak.Layer:
    """A layer; what stands for the scratch memory of a candidate is how many thousandths of the bytes it saves."""
    return peak.Layer(found, alive, least, lambda one: alive * (1000 - one.cost.scratch_bytes) // 1000)


def test_each_objective_takes_what_it_is_named_for() -> None:
    figures = (100, 900, 0), (900, 100, 0), (400, 400, 0)
    for objective, wanted in ((Objective.SPEED, 0), (Objective.SIZE, 1), (Objective.RAM, 0)):
        (chosen,) = choose([made(*figures)], objective)
        assert (chosen.cost.instructions, chosen.cost.code_bytes) == figures[wanted][:2]


def test_ram_is_saved_at_the_peak_and_nowhere_else() -> None:
    """The layer that sets the peak takes the slower way; the one below stays as fast as it can be."""
    ways = made((100, 10, 0), (400, 10, 600))
    layers = [at_peak(ways, 1000, 400), at_peak(ways, 390, 150)]
    fast = [ways[0], ways[0]]
    state = lower_peak(layers, fast, Objective.RAM)
    assert [one.cost.scratch_bytes for one in state.chosen] == [600, 0]
    assert state.bytes == 400
    assert lower_peak(layers, fast, Objective.SPEED).chosen == (ways[0], ways[0])
    assert lower_peak(layers, fast, Objective.SPEED).bytes == 1000


def test_layers_that_share_the_peak_are_lowered_together() -> None:
    ways = made((100, 10, 0), (110, 10, 600))
    layers = [at_peak(ways, 1000, 400)] * 3
    for objective in (Objective.RAM, Objective.BALANCED):
        state = lower_peak(layers, [ways[0]] * 3, objective)
        assert ([one.cost.scratch_bytes for one in state.chosen], state.bytes) == ([600] * 3, 400)


def test_balanced_pays_no_more_than_it_gets() -> None:
    for instructions, taken in ((190, True), (210, False)):  # for half of the memory
        ways = made((100, 10, 0), (instructions, 10, 500))
        state = lower_peak([at_peak(ways, 1000, 500)], [ways[0]], Objective.BALANCED)
        assert (state.bytes == 500) == taken


def test_balanced_makes_small_what_hardly_runs() -> None:
    hot = made((1_000_000, 1000, 0), (1_500_000, 500, 0))
    cold = made((100, 1000, 0), (150, 500, 0))
    chosen = choose([hot, cold], Objective.BALANCED)
    assert [one.cost.code_bytes for one in chosen] == [1000, 500]


def test_the_trade_is_what_the_choices_add_up_to() -> None:
    found = trade([*made((100, 900, 0)), *made((5, 6, 0))], Objective.SPEED, 97)
    assert (found.objective, found.instructions, found.code_bytes, found.ram_bytes) == ("speed", 105, 906, 97)


def test_each_objective_costs_least_of_what_it_is_named_for() -> None:
    graph = parse_model(every_operator().build(), "net.tflite")
    by_name = {t.objective: t for t in trades(graph, M4)}
    assert list(by_name) == [o.value for o in Objective]
    assert by_name["speed"].instructions == min(t.instructions for t in by_name.values())
    assert by_name["ram"].ram_bytes == min(t.ram_bytes for t in by_name.values())
    flash = {name: t.code_bytes + t.constant_bytes for name, t in by_name.items()}
    assert flash["size"] == min(flash.values())


def test_a_layer_says_how_it_was_scheduled() -> None:
    graph = parse_model(every_operator().build(), "net.tflite")
    for objective in Objective:
        source = compile_graph(graph, M4, objective=objective)
        assert source.objective == objective.value
        assert all(layer.schedule for layer in source.layers)


def test_objectives_make_different_code() -> None:
    graph = parse_model(classifier().build(), "net.tflite")
    fast, small = (compile_graph(graph, M4, objective=o) for o in (Objective.SPEED, Objective.SIZE))
    assert [layer.schedule for layer in fast.layers] != [layer.schedule for layer in small.layers]
    assert fast.files != small.files


@pytest.mark.parametrize(
    "plain",
    [
        three_by_three(7, 4, 6),
        matmul("fully_connected_0", arithmetic(9), 1, weights(9, 33)),
        depthwise(
            "depthwise_conv2d_0",
            arithmetic(8),
            1,
            Window.of("SAME", 9, 3, 2),
            Window.of("SAME", 5, 3, 1),
            weights(3, 3, 8),
            8,
        ),
    ],
    ids=["convolution", "product", "depthwise"],
)
def test_what_is_best_as_a_draft_is_best_when_finished(plain: Program) -> None:
    """Drafts are what is compared: simplifying must not change which one is cheapest, or hardly."""
    family = schedules.DEPTHWISE if "depthwise" in plain.name else schedules.CONTRACTION
    finished = {}
    for one in sorted(candidates(plain, M4, family), key=lambda one: one.cost.instructions):
        program = apply(one.schedule, plain, M4)
        assert program is not None
        finished[described(one.schedule)] = cost(program, M4).instructions
    assert len(finished) > 3
    first = next(iter(finished.values()))
    assert first <= 1.05 * min(finished.values())


def test_constants_of_a_draft_are_those_of_the_layer() -> None:
    plain = three_by_three()
    doubled = replace(plain, buffers=(*plain.buffers, *(replace(b) for b in plain.of_space("const"))))
    assert cost(doubled, M3).constant_bytes == 2 * cost(plain, M3).constant_bytes > 0


def test_sums_too_large_for_pairs_are_multiplied_one_by_one() -> None:
    """Two sums share a register up to 2^23: beyond, a core with DSP instructions has the kernels of one without."""
    same = Window.of("SAME", 4, 3, 1)
    heavy = np.full((4, 3, 3, 80), 127, np.int8)
    plain = convolution("conv2d_0", arithmetic(4), 1, same, same, heavy)
    found = candidates(plain, M4, schedules.CONTRACTION)
    assert {one.schedule.name for one in found} == {"product"}
    assert {knobs_of(one.schedule)["pairs"] for one in found} == {0}


def test_a_layer_that_cannot_do_with_less_is_not_tried() -> None:
    """Making a candidate takes a hundred times as long as knowing that none can save enough."""
    asked = []

    def bytes_of(one: Candidate) -> int:
        asked.append(one)
        return 1000

    ways = made((100, 10, 0), (400, 10, 0), (500, 10, 0))
    lower_peak([peak.Layer(ways, 1000, 990, bytes_of)], [ways[0]], Objective.BALANCED)
    assert asked == [ways[0]]
