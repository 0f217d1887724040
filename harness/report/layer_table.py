"""The table of layers: one row a layer, as wide as the terminal and no wider.

What the table is for, the layer and its status, is never cut. Where there is no room for all of it the tensor's name is
shortened, then whole columns leave, the least telling first.
"""

from __future__ import annotations

import math

from rich.table import Table
from rich.text import Text

from harness.debug.comparison import LayerResult, Status
from harness.report.columns import WIDTH, Column, column, table
from harness.report.text import printable, shortened
from harness.verification import Report

_NAME = 24  # characters of a tensor's name where there is room
_STYLES = {Status.MATCH: "green", Status.LOCAL: "bold red", Status.PROPAGATED: "yellow", Status.NOT_RUN: "dim"}
_LEAVING = ("tensor", "operator", "elements", "shape", "ULPs", "largest difference", "mismatches")  # in this order


def layer_table(report: Report, width: int = WIDTH) -> Table:
    """Number, C function, operator, tensor, shape, elements, mismatches, largest difference, status, in `width`."""
    return table(_columns(report), width, _LEAVING, "tensor")


def _columns(report: Report) -> list[Column]:
    results = report.comparison.layers
    tensors = [report.output_tensors(result) for result in results]
    compared = [result.status is not Status.NOT_RUN and result.whole.elements > 0 for result in results]
    ulps = [result.whole.max_ulp for result in results]

    def figures(heading: str, cells: list[str]) -> Column:
        return column(heading, [cell if known else "" for cell, known in zip(cells, compared, strict=True)], right=True)

    kept = [report.source.kept.get(result.layer.outputs[0]) for result in results]
    computed = ["" if one is None else f"{len(one.channels)} of {one.shape[-1]}" for one in kept]
    return [
        column("", [str(result.layer.index) for result in results], right=True),
        column("layer", [result.layer.name for result in results]),
        column("operator", [result.layer.op for result in results]),
        column("tensor", [shortened(printable(outputs[0].label), _NAME) for outputs in tensors]),
        column("shape", ["×".join(str(d) for d in outputs[0].shape) for outputs in tensors]),
        *([column("computed", computed)] if any(computed) else []),
        column("elements", [f"{report.elements(result):,}" for result in results], right=True),
        figures("mismatches", [f"{result.whole.mismatches:,}" for result in results]),
        figures("largest difference", [_largest(result) for result in results]),
        *([figures("ULPs", ["" if n is None else f"{n:,}" for n in ulps])] if any(n is not None for n in ulps) else []),
        Column("status", tuple(_status(report, result) for result in results)),
    ]


def _largest(result: LayerResult) -> str:
    largest = result.whole.max_abs_diff
    if isinstance(largest, int):
        return f"{largest:,}"
    return f"{largest:.3g}" if math.isfinite(largest) else "NaN/inf"


def _status(report: Report, result: LayerResult) -> Text:
    if result.status is Status.NOT_RUN and report.crashed_layer == result.layer.index:
        return Text(report.verdict.value, style="bold red")
    return Text(result.status.value.replace("_", " "), style=_STYLES[result.status])
