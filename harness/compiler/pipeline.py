"""The compiler, top to bottom: a graph goes in, C comes out. Each stage says why it stands where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.board import Target
from harness.compiler import arena
from harness.compiler.csource import CSource, Layer
from harness.compiler.emit import files_of
from harness.compiler.graph import ABSENT, Graph, Op
from harness.compiler.interpret import run
from harness.compiler.loops import Expr, Load, Program, rewrite_block
from harness.compiler.ops import operator as operator_of
from harness.compiler.passes.base import Pass
from harness.compiler.passes.compose_tables import ComposeTables
from harness.compiler.passes.drop_channels import DropChannels
from harness.compiler.passes.fold_constants import FoldConstants
from harness.compiler.passes.fold_views import FoldViews
from harness.compiler.passes.merge_activations import MergeActivations
from harness.compiler.proofs import ProofStore
from harness.compiler.schedules import plain
from harness.compiler.verify import verify
from harness.errors import CompilerBug, ModelError

PASSES: tuple[Pass, ...] = (
    FoldConstants(),  # first: what is known needs neither code nor a place in the arena
    MergeActivations(),  # before channels are looked at: what is clamped to one value is a constant
    ComposeTables(),  # after it: a clamp that is part of a convolution costs less than one that is part of a table
    DropChannels(),  # before views: a channel is a place in the last dimension, which a view may split
    FoldViews(),  # then what is left of reshapes is about activations only, and no work for anybody after it
)

CHECK_SEED = 0x5EED


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
) -> CSource:
    """C for `graph`. With `check`, every schedule is compared with the unscheduled program by the interpreter.

    `proofs` remembers comparisons already made. `disabled` names passes to leave out. Raises ModelError for an operator
    the compiler does not have and CompilerBug where a stage breaks a rule.
    """
    lowered = run_passes(graph, disabled)
    if not lowered.ops:
        raise ModelError("has no operators: there is nothing to compile", where=graph.name)
    compiled = [compile_layer(lowered, op, index, target) for index, op in enumerate(lowered.ops)]
    if check:
        for one in compiled:
            prove(one, proofs)
    plan = arena.plan(lowered)
    layers = tuple(c.layer for c in compiled)
    programs = [c.program for c in compiled]
    return CSource(
        name=graph.name,
        target=target,
        graph=graph,
        files=files_of(lowered, target, layers, programs, plan),
        layers=layers,
        placements=plan.placements,
        arena_bytes=plan.bytes,
        arena_lower_bound=plan.lower_bound,
        constant_bytes=sum(b.elements * b.dtype.bytes for p in programs for b in p.of_space("const")),
        kept=lowered.kept,
    )


def run_passes(graph: Graph, disabled: frozenset[str] = frozenset()) -> Graph:
    unknown = disabled - {p.name for p in PASSES}
    if unknown:
        known = ", ".join(p.name for p in PASSES)
        raise ModelError(f"there is no pass {', '.join(sorted(unknown))}", hint=f"The passes are: {known}.")
    for p in PASSES:
        if p.name not in disabled:
            graph = p.run(graph)
    return graph


def compile_layer(graph: Graph, op: Op, index: int, target: Target) -> CompiledLayer:
    """Lowers and schedules one operator."""
    operator = operator_of(graph, op)
    if operator.lower is None:
        raise ModelError(f"{op.kind} has no C", where=f"operator {op.sources}")
    name = f"{operator.c_name}_{index}"
    unscheduled = verify(_bound(operator.lower(graph, op, name), graph, op), "lowering")
    schedule = operator.schedule or plain
    program = verify(schedule(unscheduled, target), "scheduling", target.instructions)
    layer = Layer(
        index=index,
        name=name,
        op=op.kind,
        ops=op.sources,
        inputs=_read(graph, op),
        outputs=_shown(graph, op),
        file=f"layers/{index:03d}_{name}.c",
        macs=operator.macs(graph, op),
    )
    return CompiledLayer(layer, unscheduled, program)


def _bound(program: Program, graph: Graph, op: Op) -> Program:
    """`program` with a first operand that is constant among its tables; operators lower it as if it were computed."""
    x = graph.operand(op, 0)
    activations = {t for t in op.inputs if t != ABSENT and graph.tensor(t).data is None}
    if activations or x is None or x.data is None or not program.of_space("input"):
        return program
    (parameter,) = program.of_space("input")
    table = replace(parameter, space="const", data=x.data.reshape(parameter.shape))

    def from_table(node: Expr) -> Expr:
        return Load(table, node.index) if isinstance(node, Load) and node.buffer is parameter else node

    body = rewrite_block(program.body, from_table)
    return replace(program, buffers=(*(b for b in program.buffers if b is not parameter), table), body=body)


def _read(graph: Graph, op: Op) -> tuple[int, ...]:
    """The tensors a layer starts from, one for each parameter of its function.

    Where a view was folded into the operator that reads it, what the view shows: a tensor that is read under two shapes
    stands there twice.
    """
    folded = {v.tensor: v.base for v in graph.views if set(v.sources) <= set(op.sources)}
    read = []
    for tensor in dict.fromkeys(op.inputs):
        while tensor in folded:
            tensor = folded[tensor]
        if tensor != ABSENT and graph.tensor(tensor).data is None:
            read.append(tensor)
    return tuple(read)


def _shown(graph: Graph, op: Op) -> tuple[int, ...]:
    """The tensors a layer leaves behind: of each output the last view that was folded into the operator."""
    shown = []
    for output in op.outputs:
        views = [v.tensor for v in graph.views if graph.base(v.tensor) == output and set(v.sources) <= set(op.sources)]
        shown.append(views[-1] if views else output)
    return tuple(shown)


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


def programs_of(graph: Graph, target: Target, disabled: frozenset[str] = frozenset()) -> Sequence[CompiledLayer]:
    """The compiled layers by themselves, for tests and for looking at the loops."""
    lowered = run_passes(graph, disabled)
    return [compile_layer(lowered, op, i, target) for i, op in enumerate(lowered.ops)]
