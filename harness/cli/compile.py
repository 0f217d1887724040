"""`harness compile MODEL -o DIR`: C to read, to build elsewhere, or to edit and hand back with `verify --sources`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.output import OBJECTIVE, Output, common, without_passes

_PATH = click.Path(path_type=Path)


@click.command("compile")
@click.argument("model", type=_PATH)
@click.option("-o", "--output", "folder", type=_PATH, required=True, metavar="DIR", help="Where the sources go.")
@click.option("--target", "core", default="cortex-m3", show_default=True, metavar="CORE", help="Core to compile for.")
@click.option("--format", "form", type=click.Choice(["c"]), default="c", show_default=True, help="What DIR becomes.")
@click.option(
    "--optimize", type=OBJECTIVE, default="balanced", show_default=True, help="What to choose the schedules for."
)
@without_passes
@click.option("--force", is_flag=True, help="Overwrite also what was edited since it was generated.")
@common
def compile_(
    out: Output,
    model: Path,
    folder: Path,
    core: str,
    form: str,
    optimize: str,
    force: bool,
    without: tuple[str, ...],
) -> int:
    """Compile MODEL to readable, freestanding C: one file a layer, the weights, a memory plan, metadata."""
    from harness.board import core_target
    from harness.compiler import compile_model, trades_of
    from harness.compiler.choose import Objective
    from harness.compiler.export import c_directory
    from harness.report.compiled import as_json, summary

    with out.console.status("compiling"):
        source = compile_model(model, core_target(core), objective=Objective(optimize), without=without)
        traded = trades_of(model, core_target(core), without=without)
    paths = c_directory.write(source, folder, force=force)
    out.console.print(summary(source, traded, folder, len(paths)))
    out.write({"model": model.name, "format": form, "optimize": optimize, **as_json(source, traded, folder, paths)})
    return 0
