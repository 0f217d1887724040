"""A PAD with the value that stands for 0 becomes padding of the convolution that reads it.

    2 PAD      4 (1, 48, 48, 8) -> 5 (1, 50, 50, 8)
    3 CONV_2D  5, VALID, stride 2 -> 6                   3 CONV_2D  4, padding ((1, 1), (1, 1)), stride 2 -> 6

A tap that falls in the padding adds nothing to a sum, as does one that reads the zero point. What a convolution pads
by itself comes on top. Every reader of the PAD has to be such a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.compiler.graph import Graph, Op
from harness.compiler.lowering.window import Window
from harness.compiler.ops import checks, pad
from harness.compiler.ops.conv2d import windows
from harness.dtypes import DType

CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})


@dataclass(frozen=True)
class FoldPads:
    name: str = "fold-pads"

    def run(self, graph: Graph) -> Graph:
        for padding in [op for op in graph.ops if op.kind in ("PAD", "PADV2") and _is_zero(graph, op)]:
            # Looked up anew each time: a PAD may pad what another one padded.
            graph = _fold(graph, next(op for op in graph.ops if op.outputs == padding.outputs))
        return graph


def _fold(graph: Graph, padding: Op) -> Graph:
    """`graph` without the PAD; with it where a reader cannot pad by itself, since that one needs it anyway."""
    (padded,) = padding.outputs
    same = {v.tensor for v in graph.views if v.base == padded} | {padded}  # as the result of an equal PAD
    readers = [op for op in graph.ops if same & set(op.inputs)]
    folded = {op.outputs: _padding(graph, op, padding) for op in readers if op.kind in CONVOLUTIONS}
    alike = all(graph.tensor(t).shape == graph.tensor(padded).shape for t in same)
    if not alike or same & set(graph.outputs) or any(v.base in same - {padded} for v in graph.views):
        return graph
    if not readers or len(folded) < len(readers) or None in folded.values():
        return graph
    ops = tuple(folded.get(op.outputs) or op for op in graph.ops if op is not padding)
    return replace(graph, ops=ops, views=tuple(v for v in graph.views if v.base != padded))


def _is_zero(graph: Graph, op: Op) -> bool:
    """Rows and columns of an image are padded, and with what stands for 0; x is computed."""
    x, y = checks.operand(graph, op, 0), checks.output(graph, op)
    zero = checks.quantised(graph, op, y).zero_point if y.dtype is DType.I8 else 0
    image = len(x.shape) == 4 and x.shape[0] == y.shape[0] and x.shape[3] == y.shape[3]
    return image and x.data is None and pad.value(graph, op) == zero


def _padding(graph: Graph, conv: Op, padding: Op) -> Op | None:
    """`conv` on what `padding` pads; None where an output would read nothing but padding: no schedule expects one."""
    size = checks.operand(graph, padding, 0).shape[1:3]
    own = windows(graph, conv)
    around = pad.amounts(graph, padding)[1:3]
    total = tuple((a + w.pad_before, b + w.pad_after) for (a, b), w in zip(around, own, strict=True))
    made = [Window.of(p, n, w.kernel, w.stride, w.dilation) for p, n, w in zip(total, size, own, strict=True)]
    if not all(len(w.taps(out)) for w in made for out in range(w.out)):
        return None
    attrs = replace(conv.attrs, padding=total)
    sources = tuple(sorted({*conv.sources, *padding.sources}))
    return replace(conv, inputs=(padding.inputs[0], *conv.inputs[1:]), attrs=attrs, sources=sources)
