"""The compiler, top to bottom: a graph goes in, C comes out. Each stage says why it stands where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from harness.board import Target
from harness.compiler import peak
from harness.compiler.choose import Candidate, Objective, candidates, choose, trade
from harness.compiler.csource import CSource, Layer, Trade
from harness.compiler.emit import files_of
from harness.compiler.graph import Graph, Op
from harness.compiler.groups import Groups
from harness.compiler.interpret import run
from harness.compiler.loops import Expr, Load, Program, rewrite_block
from harness.compiler.memory import Usage, planned
from harness.compiler.ops import operator as operator_of
from harness.compiler.passes.base import Pass
from harness.compiler.passes.common_subexpressions import CommonSubexpressions
from harness.compiler.passes.compose_tables import ComposeTables
from harness.compiler.passes.drop_channels import DropChannels
from harness.compiler.passes.drop_dead_ops import DropDeadOps
from harness.compiler.passes.fold_concatenations import FoldConcatenations
from harness.compiler.passes.fold_constants import FoldConstants
from harness.compiler.passes.fold_pads import FoldPads
from harness.compiler.passes.fold_transposes import FoldTransposes
from harness.compiler.passes.fold_views import FoldViews
from harness.compiler.passes.merge_activations import MergeActivations
from harness.compiler.passes.order_operators import OrderOperators
from harness.compiler.peak import lower_peak
from harness.compiler.proofs import ProofStore
from harness.compiler.schedules import PLAIN
from harness.compiler.schedules.base import Schedule, apply, described
from harness.compiler.verify import verify
from harness.errors import BadInput, CompilerBug, ModelError

PASSES: tuple[Pass, ...] = (
    DropDeadOps(),  # first: what nobody needs is no work for anybody
    FoldConstants(),  # then what is known needs neither code nor a place in the arena
    FoldTransposes(),  # before views: what two of them leave may be one
    FoldPads(),  # before channels are dropped: a convolution behind a PAD is not a link of a chain
    # After constants, which may turn out equal, and after what folds only where one operator reads; before channels.
    CommonSubexpressions(),
    MergeActivations(),  # before channels are looked at: what is clamped to one value is a constant
    ComposeTables(),  # after it: a clamp that is part of a convolution costs less than one that is part of a table
    DropChannels(),  # before views: a channel is a place in the last dimension, which a view may split
    FoldViews(),  # then what is left of reshapes is about activations only, and no work for anybody after it
    FoldConcatenations(),  # after views: a piece may be a view of what has to lie in the whole
    OrderOperators(),  # last: what it weighs are the tensors that are left, and layers are numbered in its order
)

SHARE = "share-memory"  # what a memory plan may do besides; it can be left out as a pass can
STAGES = (*(p.name for p in PASSES), SHARE)

CHECK_SEED = 0x5EED


@dataclass(frozen=True)
class LoweredLayer:
    """An operator as the plainest loops that define it, and what these can be made."""

    layer: Layer
    program: Program
    candidates: Sequence[Candidate]


@dataclass(frozen=True)
class CompiledLayer:
    layer: Layer
    unscheduled: Program
    program: Program


def compile_graph(
    graph: Graph,
    target: Target,
    *,
    check: bool = True,
    proofs: ProofStore | None = None,
    disabled: frozenset[str] = frozenset(),
    objective: Objective = Objective.BALANCED,
) -> CSource:
    """C for `graph`. With `check`, every schedule is compared with the unscheduled program by the interpreter.

    `proofs` remembers comparisons already made. `disabled` names passes to leave out. `objective` decides between the
    schedules that a layer can have. Raises ModelError for an operator the compiler does not have, BadInput for a pass
    there is not, CompilerBug where a stage breaks a rule.
    """
    model, graph = graph, run_passes(graph, disabled)
    if not graph.ops:
        raise ModelError("has no operators: there is nothing to compile", where=graph.name)
    groups = Groups(model, graph)
    lowered = [lower_layer(groups, op, index, target) for index, op in enumerate(graph.ops)]
    share = SHARE not in disabled
    usage = Usage(graph, share=share)
    made = _Made(target)
    memory = [_at_peak(one, usage, made) for one in lowered]
    chosen = lower_peak(memory, choose([one.candidates for one in lowered], objective), objective).chosen
    compiled = [made.by(one, best.schedule) for one, best in zip(lowered, chosen, strict=True)]
    plan, programs = planned(usage, [c.layer for c in compiled], [c.program for c in compiled])
    # Compared after planning, which may turn loops round.
    compiled = [
        c if one is c.program else replace(c, program=verify(one, "planning", target.instructions))
        for c, one in zip(compiled, programs, strict=True)
    ]
    if check:
        for one in compiled:
            prove(one, proofs)
    layers = tuple(replace(c.layer, scratch=own) for c, own in zip(compiled, plan.scratch, strict=True))
    return CSource(
        name=graph.name,
        target=target,
        graph=model,
        files=files_of(graph, target, layers, programs, plan, objective=objective.value, without=sorted(disabled)),
        layers=layers,
        placements=plan.placements,
        arena_bytes=plan.bytes,
        arena_lower_bound=plan.lower_bound,
        constant_bytes=sum(b.elements * b.dtype.bytes for p in programs for b in p.of_space("const")),
        kept=graph.kept,
        objective=objective.value,
        without=tuple(sorted(disabled)),
    )


def trades(graph: Graph, target: Target, disabled: frozenset[str] = frozenset()) -> list[Trade]:
    """What the model would cost if it were optimised for each of the objectives: estimated, nothing is built."""
    groups = Groups(graph, run_passes(graph, disabled))
    lowered = [lower_layer(groups, op, index, target) for index, op in enumerate(groups.graph.ops)]
    usage = Usage(groups.graph, share=SHARE not in disabled)
    made = _Made(target)
    memory = [_at_peak(one, usage, made) for one in lowered]
    found = []
    for objective in Objective:
        state = lower_peak(memory, choose([one.candidates for one in lowered], objective), objective)
        found.append(trade(state.chosen, objective, state.bytes))
    return found


class _Made:
    """Layers by their schedules, each made once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.found: dict[tuple[int, Schedule], CompiledLayer] = {}

    def by(self, one: LoweredLayer, schedule: Schedule) -> CompiledLayer:
        key = (one.layer.index, schedule)
        if key not in self.found:
            self.found[key] = schedule_layer(one, schedule, self.target)
        return self.found[key]


def _at_peak(one: LoweredLayer, usage: Usage, made: _Made) -> peak.Layer:
    """What the layer can be, and what it then takes."""
    index = one.layer.index

    @cache
    def bytes_of(candidate: Candidate) -> int:
        return usage.bytes_of(one.layer, made.by(one, candidate.schedule).program)

    return peak.Layer(one.candidates, usage.alive[index], usage.least(index), bytes_of)


def run_passes(graph: Graph, disabled: frozenset[str] = frozenset()) -> Graph:
    """All passes but those named in `disabled`. BadInput for a name that nothing has that can be left out."""
    unknown = sorted(disabled.difference(STAGES))
    if unknown:
        raise BadInput(f"there is no pass {', '.join(map(repr, unknown))}", hint=f"the passes are {', '.join(STAGES)}")
    for p in PASSES:
        if p.name not in disabled:
            graph = p.run(graph)
    return graph


def lower_layer(groups: Groups, op: Op, index: int, target: Target) -> LoweredLayer:
    """One operator of the graph that the passes left as plain loops, with the ways to make them fast on `target`."""
    graph = groups.graph
    operator = operator_of(graph, op)
    if operator.lower is None:
        raise ModelError(f"{op.kind} has no C", where=f"operator {op.sources}")
    name = f"{operator.c_name}_{index}"
    program = verify(_bound(operator.lower(graph, op, name), graph, op), "lowering")
    layer = Layer(
        index=index,
        name=name,
        op=op.kind,
        ops=op.sources,
        inputs=groups.inputs(op),
        outputs=groups.outputs(op),
        file=f"layers/{index:03d}_{name}.c",
        macs=operator.macs(graph, op),
        parts=groups.parts(op),
    )
    return LoweredLayer(layer, program, candidates(program, target, operator.schedules or PLAIN))


def schedule_layer(lowered: LoweredLayer, schedule: Schedule, target: Target) -> CompiledLayer:
    """The layer by one of its candidates."""
    program = apply(schedule, lowered.program, target)
    if program is None:
        raise CompilerBug(f"{described(schedule)} is not to be had", where=lowered.layer.name)
    layer = replace(lowered.layer, schedule=described(schedule))
    return CompiledLayer(layer, lowered.program, verify(program, "scheduling", target.instructions))


def _bound(program: Program, graph: Graph, op: Op) -> Program:
    """`program` with a first operand that is constant among its tables; operators lower it as if it were computed."""
    x = graph.operand(op, 0)
    if graph.activations(op) or x is None or x.data is None or not program.of_space("input"):
        return program
    (parameter,) = program.of_space("input")
    table = replace(parameter, space="const", data=x.data.reshape(parameter.shape))

    def from_table(node: Expr) -> Expr:
        return Load(table, node.index) if isinstance(node, Load) and node.buffer is parameter else node

    body = rewrite_block(program.body, from_table)
    return replace(program, buffers=(*(b for b in program.buffers if b is not parameter), table), body=body)


def prove(layer: CompiledLayer, proofs: ProofStore | None = None) -> None:
    """Holds the scheduled program equal to the loops as they were lowered: simplification is on trial as well.

    Raises CompilerBug where it is not.
    """
    reference = layer.unscheduled
    if proofs is not None and proofs.holds(reference, layer.program):
        return
    assert_equal(reference, layer.program)
    if proofs is not None:
        proofs.add(reference, layer.program)


def assert_equal(reference: Program, program: Program) -> None:
    """Runs both on the same random inputs; raises CompilerBug where an element differs (NaNs equal each other)."""
    inputs = random_inputs(program)
    expected, got = run(reference, inputs), run(program, inputs)
    for name, want in expected.items():
        want, have = want.reshape(-1), got[name].reshape(-1)  # a schedule may give a buffer another shape
        wrong = np.flatnonzero(~((want == have) | ((want != want) & (have != have))))
        if wrong.size:
            raise CompilerBug(
                f"the schedule changes {wrong.size} of {want.size} elements of {name}, first at {wrong[0]}: "
                f"{want[wrong[0]]} became {have[wrong[0]]}",
                where=program.name,
            )


def random_inputs(program: Program, seed: int = CHECK_SEED) -> dict[str, np.ndarray]:
    """Inputs over the whole range of an integer dtype, standard normal for floats."""
    rng = np.random.default_rng(seed)
    return {
        b.name: rng.integers(b.element.min, b.element.max, b.shape, b.element.np, endpoint=True)
        if b.dtype.is_integer
        else rng.standard_normal(b.shape).astype(np.float32)
        for b in program.of_space("input")
    }


def programs_of(
    graph: Graph,
    target: Target,
    disabled: frozenset[str] = frozenset(),
    objective: Objective = Objective.BALANCED,
) -> Sequence[CompiledLayer]:
    """The compiled layers by themselves, for tests and for looking at the loops."""
    groups = Groups(graph, run_passes(graph, disabled))
    lowered = [lower_layer(groups, op, index, target) for index, op in enumerate(groups.graph.ops)]
    chosen = choose([one.candidates for one in lowered], objective)
    return [schedule_layer(one, best.schedule, target) for one, best in zip(lowered, chosen, strict=True)]
