"""A report on the terminal: verdict, layer table, memory, traceback."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.text import Text

from harness.debug.comparison import LayerResult, Status
from harness.report.columns import WIDTH
from harness.report.compiled import arena
from harness.report.layer_table import layer_table
from harness.report.text import printable, printable_lines
from harness.report.traceback import traceback_text
from harness.verdict import Verdict
from harness.verification import Report
from harness.verification.report import Counts

_VERDICT_STYLES = {
    Verdict.MATCH: "bold green",
    Verdict.MISMATCH: "bold red",
    Verdict.CRASH: "bold red",
    Verdict.LOCKUP: "bold red",
    Verdict.TIMEOUT: "bold red",
    Verdict.INFRASTRUCTURE: "bold yellow",
}
_MOST_DISAGREEMENTS = 5  # listed one by one


def show(report: Report, console: Console, verbose: bool = False) -> None:
    """The whole report, as `harness verify` prints it. What is meant to be copied is never wrapped."""
    console.print(body(report, console.width, verbose))
    for line in closing(report):
        console.print(line, soft_wrap=True)


def body(report: Report, width: int = WIDTH, verbose: bool = False) -> RenderableType:
    """Layer table, remarks, memory, and why the target stopped if it did; `verbose` is that of `traceback_text`."""
    parts: list[RenderableType] = [layer_table(report, width), Text()]
    parts += [Text(line) for line in remarks(report)]
    parts.append(memory_line(report))
    if report.stopped:
        parts += [Text(), Text(printable_lines(report.stopped), style="red")]
    if report.crash is not None:
        parts += [Text(), traceback_text(report.crash, verbose)]
    return Group(*parts, Text())


def closing(report: Report) -> list[Text]:
    """The verdict, where the artefacts are, how to run it again: from the model, and the very image that ran."""
    lines = [headline(report)]
    if report.artifacts is not None:
        lines.append(Text(f"artefacts: {printable(str(report.artifacts))}"))
    if not report.ok:
        lines.append(Text(f"rerun: {printable(report.settings.command)}"))
        if report.replay is not None:
            lines.append(Text(f"replay: {printable(report.replay)}"))
    return lines


def plain(renderable: RenderableType) -> str:
    """As text without colours, for a test report or a file."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
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
    return sum(map(report.elements, layers))


def remarks(report: Report) -> list[str]:
    """What a reader should know beside the table, a line each."""
    lines = []
    if report.source.without:
        lines.append(f"compiled without {', '.join(report.source.without)}")
    counts = sum(map(report.counts, report.comparison.layers), start=Counts(0, 0, 0))
    if counts.constant:
        lines.append(f"{counts.constant:,} elements are not computed: constants, which are held to the oracle")
    if counts.unread:
        lines.append(f"{counts.unread:,} elements are neither computed nor compared: nobody reads them")
    for result in report.comparison.layers:
        if result.note:
            lines.append(f"layer {result.layer.index}: {result.note}")
        if result.sample and result.status is not Status.NOT_RUN:
            lines.append(f"layer {result.layer.index}: first wrong in sample {result.sample}")
    lines += [printable(note) for note in report.comparison.notes]
    if report.comparison.whole_model_agrees is False:
        lines.append("model_run gives other outputs than its layers run one by one")
    tolerance = report.settings.tolerance
    if any(result.whole.max_ulp is not None for result in report.comparison.layers):
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
        f"{arena(memory['arena_bytes'], memory['arena_lower_bound'])} · "
        f"flash {memory['flash_bytes']:,} B ({memory['flash_code_bytes']:,} without weights) · "
        f"RAM {memory['ram_bytes']:,} B · stack {memory['stack_bytes']:,} B"
    )
