"""`harness replay BUNDLE`: a kept run, once more."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.output import Output, common


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("gdb_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- GDB-ARGUMENT…]")
@click.option("--gdb", is_flag=True, help="Run it again up to the failure, and open gdb there.")
@click.option("--board-url", "url", metavar="URL", help="Serial port or pyserial URL that the board is behind.")
@click.option("--trust", is_flag=True, help="Run a program of this machine (board host) that is in the bundle.")
@common
def replay(out: Output, bundle: Path, gdb_arguments: tuple[str, ...], gdb: bool, url: str | None, trust: bool) -> int:
    """Run again what BUNDLE keeps, a folder or .zip file that `harness verify` left: the same image, the same inputs.

    It says "reproduced", or what is different now. With --gdb the emulator then runs it once more up to the failure,
    and gdb opens there: at the faulting instruction, or at the entry of the first wrong layer. What follows -- are
    arguments for gdb, such as -- -batch -ex bt.

    Exit status: that of the run of now, as of `verify`.
    """
    from harness.debug.gdb.launch import Gdb
    from harness.report.progress import shown
    from harness.report.replayed import show_replay
    from harness.verification.bundle import opened
    from harness.verification.failure import check_debuggable, stopped_at_failure
    from harness.verification.replay import replay as run

    if gdb_arguments and not gdb:
        raise click.UsageError("arguments for gdb, but no --gdb")
    if gdb and out.json == "-":
        raise click.UsageError("--gdb has the terminal for itself: name a file in --json")
    with opened(bundle) as kept:
        debugger = None
        if gdb:
            check_debuggable(kept, url)
            debugger = Gdb.found()
        with shown(out.console, f"{kept.manifest.model} on {kept.board().name}") as progress:
            found = run(kept, url=url, trust=trust, progress=progress)
        show_replay(found, out.console, verbose=out.verbose)
        out.write(found.to_json())
        if debugger is not None and found.report.ok:
            out.console.print("gdb is not started: the run does not fail, so there is nowhere to stop")
        elif debugger is not None:
            with stopped_at_failure(found.report) as stop:
                out.console.print(f"gdb: {stop.where}", soft_wrap=True)
                debugger.run(kept.folder / "firmware.elf", stop.socket, [kept.sources, kept.folder], gdb_arguments)
    return int(found.report.verdict.exit_code)
