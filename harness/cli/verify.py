"""`harness verify MODEL`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.output import OBJECTIVE, Output, common, without_passes

DEFAULT_BOARD = "qemu_cortex_m3"
_PATH = click.Path(path_type=Path)
_LEVEL = click.Choice(["0", "1", "2", "3", "s", "g"])


@click.command()
@click.argument("model", type=_PATH)
@click.option(
    "--board", default=DEFAULT_BOARD, show_default=True, metavar="B", help="A board's name, or its TOML file."
)
@click.option("--board-url", metavar="URL", help="Serial port or pyserial URL that the board is behind.")
@click.option("--sources", type=_PATH, metavar="DIR", help="C from `harness compile`, perhaps edited since.")
@without_passes
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Draws the inputs.")
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="K", help="How many inputs; 1, or all that --inputs has."
)
@click.option("--inputs", type=_PATH, metavar="F.npz", help="input_0, input_1 …, each (samples, *input shape).")
@click.option("--oracle", metavar="O", help="tflite-ref, litert-ref, numpy, or an .npz file of expected tensors.")
@click.option("--isolated", is_flag=True, help="Give every layer the inputs it should get.")
@click.option("--artifacts", type=_PATH, metavar="DIR|F.zip", help="Keep the run there, to look at or to replay.")
@click.option(
    "--optimize", type=OBJECTIVE, default="balanced", show_default=True, help="What to choose the schedules for."
)
@click.option(
    "-O", "level", type=_LEVEL, default="2", show_default=True, metavar="LEVEL", help="How gcc optimises the model's C."
)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="S", help="Seconds that a layer may take.")
@common
def verify(
    out: Output, model: Path, board: str, board_url: str | None, optimize: str, level: str, **options: Any
) -> int:
    """Run MODEL on a board and compare every layer with a reference interpreter.

    Exit status: 0 match, 1 mismatch, 2 usage or bad input, 3 crash or lockup on the target, 4 timeout, 5
    infrastructure. A run that fails is kept, also without --artifacts; `harness replay` runs it again.
    """
    from harness.compiler.choose import Objective
    from harness.report.console import show, timings
    from harness.report.progress import shown
    from harness.verification import verify as run
    from harness.verification.artifacts import keep

    with shown(out.console, f"{model.name} on {board}") as progress:
        report = run(
            model,
            board,
            url=board_url,
            objective=Objective(optimize),
            level=f"-O{level}",
            progress=progress,
            **options,
        )
    if not report.ok and report.artifacts is None:
        report = keep(report)
    show(report, out.console, out.verbose)
    if out.verbose:
        out.console.print(timings(report))
    out.write(report.to_json())
    return int(report.verdict.exit_code)
