"""An activation that only clamps what one operator makes becomes that operator's own.

    3 CONV_2D   8 -> 9                 3 CONV_2D with RELU6   8 -> 10     (stands for operators 3 and 4)
    4 RELU6     9 -> 10

For int8 the proof is by trial: the operator's own clamp and then the activation, against the clamp of each activation
that can be fused, for every value there is. Scale and zero point have to stay the same, since the operator scales its
sums by them. For floats the bounds of the two clamps are joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from harness.compiler.graph import Graph, Op, TensorId
from harness.compiler.lowering.quantise import ACTIVATIONS, activation_range, float_activation_range
from harness.compiler.ops import byte_function
from harness.compiler.passes.joining import Uses, joined
from harness.dtypes import DType

# Those whose last step is the clamp that their attributes name.
HOSTS = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D", "ADD", "SUB", "MUL"}
)
CLAMPS: Mapping[str, str] = {"RELU": "RELU", "RELU6": "RELU6", "RELU_N1_TO_1": "RELU_N1_TO_1"}  # of floats


@dataclass(frozen=True)
class MergeActivations:
    name: str = "merge-activations"

    def run(self, graph: Graph) -> Graph:
        uses = Uses.of(graph)
        for output in [op.outputs[0] for op in graph.ops if len(op.inputs) == 1 and len(op.outputs) == 1]:
            merged = _merge(graph, uses, output)
            if merged is not graph:
                graph, uses = merged, Uses.of(merged)
        return graph


def _merge(graph: Graph, uses: Uses, output: TensorId) -> Graph:
    op = uses.makers[output]
    host = uses.only_maker(op.inputs[0])
    if host is None or host.kind not in HOSTS:
        return graph
    activation = _joint(graph, host, op)
    if activation is None:
        return graph
    merged = replace(host, outputs=op.outputs, attrs=replace(host.attrs, activation=activation))
    return joined(graph, merged, (host, op))


def _joint(graph: Graph, host: Op, op: Op) -> str | None:
    """The activation of `host` that does what both do; None where there is none."""
    x, y = graph.tensor(op.inputs[0]), graph.tensor(op.outputs[0])
    if x.shape != y.shape or x.dtype is not y.dtype:
        return None
    own = host.attrs.activation
    if x.dtype is DType.F32 and op.kind in CLAMPS:
        ends = np.array([float_activation_range(name) for name in (own, CLAMPS[op.kind])])
        wanted = tuple(np.clip(ends[0], *ends[1]))
        return next((name for name in ACTIVATIONS if float_activation_range(name) == wanted), None)
    function = byte_function(graph, op)
    if function is None or x.dtype is not DType.I8 or x.quant is None or y.quant is None:
        return None
    if (x.quant.scales, x.quant.zero_points) != (y.quant.scales, y.quant.zero_points):
        return None
    before = np.arange(2 * DType.I8.min, 2 * DType.I8.max)  # further out nothing changes
    wanted_values = function.table[np.clip(before, *activation_range(own, x.quant, x.dtype)) - DType.I8.min]
    for name in ACTIVATIONS:
        if np.array_equal(np.clip(before, *activation_range(name, y.quant, y.dtype)), wanted_values):
            return name
    return None
