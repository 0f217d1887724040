"""A report on the terminal: verdict, layer table, memory, traceback."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.debug.comparison import LayerResult, Status
from harness.report.text import printable, printable_lines, shortened
from harness.report.traceback import traceback_text
from harness.verdict import Verdict
from harness.verification import Report

_VERDICT_STYLES = {
    Verdict.MATCH: "bold green",
    Verdict.MISMATCH: "bold red",
    Verdict.CRASH: "bold red",
    Verdict.LOCKUP: "bold red",
    Verdict.TIMEOUT: "bold red",
    Verdict.INFRASTRUCTURE: "bold yellow",
}
_STATUS_STYLES = {Status.MATCH: "green", Status.LOCAL: "bold red", Status.PROPAGATED: "yellow", Status.NOT_RUN: "dim"}
_WIDTH = 120  # characters of a report that is not for a terminal
_WIDE = 110  # from this width on there is room for tensor names
_NAME = 24  # characters of a tensor's name
_MOST_DISAGREEMENTS = 5  # listed one by one


def show(report: Report, console: Console) -> None:
    """The whole report, as `harness verify` prints it. What is meant to be copied is never wrapped."""
    console.print(body(report, console.width))
    for line in closing(report):
        console.print(line, soft_wrap=True)


def body(report: Report, width: int = _WIDTH) -> RenderableType:
    """Layer table, remarks, memory, and why the target stopped if it did."""
    parts: list[RenderableType] = [layer_table(report, width), Text()]
    parts += [Text(line) for line in remarks(report)]
    parts.append(memory_line(report))
    if report.stopped:
        parts += [Text(), Text(printable_lines(report.stopped), style="red")]
    if report.crash is not None:
        parts += [Text(), traceback_text(report.crash)]
    return Group(*parts, Text())


def closing(report: Report) -> list[Text]:
    """The verdict, where the artefacts are, how to run it again."""
    lines = [headline(report)]
    if report.artifacts is not None:
        lines.append(Text(f"artefacts: {printable(str(report.artifacts))}"))
    if not report.ok:
        lines.append(Text(f"rerun: {printable(report.settings.command)}"))
    return lines


def plain(renderable: RenderableType) -> str:
    """As text without colours, for a test report or a file."""
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def headline(report: Report) -> Text:
    """One line: the verdict and the figure that goes with it."""
    settings = report.settings
    line = Text()
    line.append(report.verdict.value, style=_VERDICT_STYLES[report.verdict])
    samples = f"{settings.samples} samples" if settings.samples != 1 else "1 sample"
    board = printable(report.firmware.board.name)
    line.append(f": {printable(settings.model.name)} on {board} against {printable(settings.oracle)}")
    line.append(f", {samples}; {_finding(report)}")
    return line


def _finding(report: Report) -> str:
    layers = report.comparison.layers
    if report.verdict is Verdict.MATCH:
        return f"0 of {_elements(report, layers):,} elements differ in {len(layers)} layers"
    if report.stopped:
        where = report.crashed_layer
        return "it stopped outside the model" if where is None else f"it stopped in layer {where} of {len(layers)}"
    local = [result for result in layers if result.status is Status.LOCAL]
    if local:
        names = ", ".join(f"{result.layer.index} ({result.layer.name})" for result in local)
        return f"wrong by itself: layer {names}" if len(local) == 1 else f"wrong by themselves: layers {names}"
    if report.comparison.whole_model_agrees is False:
        return "model_run does not give what its layers give one by one"
    return "the outputs of model_run are wrong"


def _elements(report: Report, layers: Iterable[LayerResult]) -> int:
    return sum(tensor.elements for result in layers for tensor in report.output_tensors(result))


def layer_table(report: Report, width: int = _WIDTH) -> Table:
    """One row a layer: number, C function, operator, tensor, shape, elements, mismatches, largest difference, status.

    The tensor's name is left out where there is no room for it in `width` characters.
    """
    named = width >= _WIDE
    floats = any(result.difference.max_ulp is not None for result in report.comparison.layers)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", justify="right")
    table.add_column("layer", no_wrap=True)
    table.add_column("operator", no_wrap=True)
    if named:
        table.add_column("tensor", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    table.add_column("elements", justify="right", no_wrap=True)
    table.add_column("mismatches", justify="right", no_wrap=True)
    table.add_column("largest difference", justify="right", min_width=10)
    if floats:
        table.add_column("ULPs", justify="right")
    table.add_column("status", no_wrap=True)
    for result in report.comparison.layers:
        tensors = report.output_tensors(result)
        known = result.status is not Status.NOT_RUN and result.difference.elements > 0
        ulps = result.difference.max_ulp
        row = [
            str(result.layer.index),
            result.layer.name,
            result.layer.op,
            *([shortened(printable(tensors[0].label), _NAME)] if named else []),
            "×".join(str(d) for d in tensors[0].shape),
            f"{sum(t.elements for t in tensors):,}",
            f"{result.difference.mismatches:,}" if known else "",
            _largest(result) if known else "",
        ]
        row += ["" if ulps is None or not known else f"{ulps:,}"] if floats else []
        table.add_row(*(Text(cell) for cell in row), _status(report, result))
    return table


def _largest(result: LayerResult) -> str:
    largest = result.difference.max_abs_diff
    if isinstance(largest, int):
        return f"{largest:,}"
    return f"{largest:.3g}" if math.isfinite(largest) else "NaN/inf"


def _status(report: Report, result: LayerResult) -> Text:
    if result.status is Status.NOT_RUN and report.crashed_layer == result.layer.index:
        return Text(report.verdict.value, style="bold red")
    return Text(result.status.value.replace("_", " "), style=_STATUS_STYLES[result.status])


def remarks(report: Report) -> list[str]:
    """What a reader should know beside the table, a line each."""
    lines = []
    for result in report.comparison.layers:
        if result.note:
            lines.append(f"layer {result.layer.index}: {result.note}")
        if result.sample:
            lines.append(f"layer {result.layer.index}: first wrong in sample {result.sample}")
    lines += [printable(note) for note in report.comparison.notes]
    if report.comparison.whole_model_agrees is False:
        lines.append("model_run gives other outputs than its layers run one by one")
    tolerance = report.settings.tolerance
    if any(result.difference.max_ulp is not None for result in report.comparison.layers):
        peak = f"{tolerance.of_peak:.3g} of the tensor's largest magnitude"
        lines.append(f"float32 tolerance: {tolerance.ulps} ULPs or {peak}")
    begun = [d for d in report.expected.disagreements if d.inputs_agree]
    for disagreement in begun[:_MOST_DISAGREEMENTS]:
        layer, apart = report.layer_of(disagreement.op), disagreement.difference
        lines.append(
            f"the oracle {printable(report.expected.oracle)} and the numpy reference disagree in layer {layer}, "
            f"{disagreement.kind}: {apart.mismatches:,} of {apart.elements:,} elements"
        )
    if len(begun) > _MOST_DISAGREEMENTS:
        lines.append(f"… and in {len(begun) - _MOST_DISAGREEMENTS} more operators")
    return lines


def timings(report: Report) -> Text:
    """How long each stage took; the oracle works beside the compiler, its figure is what was waited for it."""
    return Text("seconds: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in report.timings.items()))


def memory_line(report: Report) -> Text:
    memory = report.memory()
    return Text(
        f"arena {memory['arena_bytes']:,} B (lower bound {memory['arena_lower_bound']:,}) · "
        f"flash {memory['flash_bytes']:,} B ({memory['flash_code_bytes']:,} without weights) · "
        f"RAM {memory['ram_bytes']:,} B · stack {memory['stack_bytes']:,} B"
    )
