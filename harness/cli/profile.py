"""`harness profile MODEL`: what a model costs on a board, layer by layer."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from harness.cli.output import OBJECTIVE, Output, common, file_to_write, without_passes
from harness.cli.verify import DEFAULT_BOARD
from harness.errors import ExitCode

_PATH = click.Path(path_type=Path)


class Percentage(click.ParamType):
    """A share written as 1% or 0.5%."""

    name = "percentage"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        if isinstance(value, Fraction):
            return value
        number, sign, rest = str(value).partition("%")
        try:
            share = Fraction(number) / 100
        except (ValueError, ZeroDivisionError):
            share = Fraction(-1)
        if not sign or rest or "/" in number or not 0 <= share <= 1000:
            self.fail(f"{value!r} is not a percentage such as 1% or 0.5%", param, ctx)
        return share


@click.command()
@click.argument("model", type=_PATH)
@click.option(
    "--board", default=DEFAULT_BOARD, show_default=True, metavar="B", help="A board's name, or its TOML file."
)
@click.option("--board-url", "url", metavar="URL", help="Serial port or pyserial URL that the board is behind.")
@click.option("--sources", type=_PATH, metavar="DIR", help="C from `harness compile`, perhaps edited since.")
@click.option(
    "--optimize", type=OBJECTIVE, default="balanced", show_default=True, help="What to choose the schedules for."
)
@without_passes
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Draws the input.")
@click.option("--inputs", type=_PATH, metavar="F.npz", help="input_0, input_1 …; the first sample of each is taken.")
@click.option("--timing", metavar="TABLE", help="cortex-m0, cortex-m0plus, cortex-m3, cortex-m4; default: the core's.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="S", help="Seconds that a layer may take.")
@click.option("--baseline", type=_PATH, metavar="F.json", help="An earlier --json to compare with, layer by layer.")
@click.option(
    "--threshold", type=Percentage(), default="1%", show_default=True, metavar="P%", help="What may be added."
)
@click.option("--speedscope", type=_PATH, metavar="F", callback=file_to_write, help="Write a file for speedscope.app.")
@click.option("--trace", type=_PATH, metavar="F", callback=file_to_write, help="Write a file for ui.perfetto.dev.")
@click.option("--flamegraph", type=_PATH, metavar="F.svg", callback=file_to_write, help="Write a flame graph.")
@common
def profile(
    out: Output,
    model: Path,
    board: str,
    optimize: str,
    baseline: Path | None,
    threshold: Fraction,
    speedscope: Path | None,
    trace: Path | None,
    flamegraph: Path | None,
    **options: Any,
) -> int:
    """Count what one run of MODEL costs on a board, by layer and by function.

    On an emulated board the counts are executed instructions, exact and the same in every run; in QEMU with an estimate
    of cycles from the core's published timing table, functions and source lines (-v lists them). On a board behind a
    serial port they are cycles of its own counter.

    Exit status: 0; 1 when a layer or the total is more than the threshold above the baseline; 2 usage or bad input; 3
    and 4 when the firmware crashed or did not return; 5 infrastructure.
    """
    from harness.compiler.choose import Objective
    from harness.profile import profile as run
    from harness.profile.baseline import compare, load_baseline
    from harness.report import profile_table
    from harness.report.chrome_trace import chrome_trace
    from harness.report.flame_graph import flame_graph
    from harness.report.progress import shown
    from harness.report.slices import slices
    from harness.report.speedscope import speedscope as speedscope_file

    earlier = load_baseline(baseline) if baseline is not None else None
    with shown(out.console, f"{model.name} on {board}") as progress:
        found = run(model, board, objective=Objective(optimize), progress=progress, **options)
    comparison = compare(earlier, found, threshold) if earlier is not None else None
    out.console.print(profile_table.body(found, out.console.width))
    if out.verbose:
        out.console.print(profile_table.details(found))
    if comparison is not None:
        out.console.print(profile_table.comparison_body(comparison))
    parts = slices(found)
    if speedscope is not None:
        out.save_json(speedscope, speedscope_file(parts))
    if trace is not None:
        out.save_json(trace, chrome_trace(parts))
    if flamegraph is not None:
        out.save(flamegraph, flame_graph(parts))
    out.write({**found.to_json(), "baseline": None if comparison is None else comparison.to_json()})
    return int(ExitCode.MISMATCH if comparison is not None and comparison.regressions else ExitCode.MATCH)
