"""`harness crash gdb LOG|RECORD|CORE`: a crash for gdb to look at, or for an IDE that speaks gdb's remote protocol."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from harness.cli.crash.given import decoded, given
from harness.cli.output import Output, common
from harness.errors import ExitCode

if TYPE_CHECKING:
    from harness.debug.gdb.server import GdbServer
    from harness.debug.gdb.target import GdbTarget

_PORT = click.IntRange(0, 65535)


@click.command()
@given
@click.argument("gdb_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- GDB-ARGUMENT…]")
@click.option("--port", type=_PORT, default=0, metavar="N", help="Where to listen; default: any that is free.")
@click.option("--run", is_flag=True, help="Start gdb on it.")
@common
def gdb(out: Output, port: int, run: bool, gdb_arguments: tuple[str, ...], **evidence: Any) -> int:
    """Let gdb or an IDE look at a crash: registers, memory, call chain, variables, as far as they are known.

    Waits on this machine for one gdb, and ends with it. `monitor report` in gdb prints the report again. What is not
    known shows as <unavailable>, or cannot be accessed; nothing can be changed, and nothing runs. What follows -- are
    arguments for gdb, such as -- -batch -ex bt.

    Exit status: 0; 2 usage, nothing to decode, or an ELF with another build ID; 5 with --run, gdb is not installed.
    """
    from harness.debug.gdb.launch import Gdb
    from harness.debug.gdb.server import HOST, GdbServer
    from harness.debug.gdb.target import GdbTarget
    from harness.report.decoded import show

    if gdb_arguments and not run:
        raise click.UsageError("arguments for gdb, but no --run")
    if run and out.json == "-":
        raise click.UsageError("--run has the terminal for itself: name a file in --json")
    debugger = Gdb.found() if run else None
    found = decoded(out, **evidence)
    target = GdbTarget(found.evidence.state, found.image, kind=found.crash.kind, report=found.crash.lines())
    with GdbServer(port) as server:
        where = f"{HOST}:{server.port}"
        show(found, out.console, verbose=out.verbose)
        out.write({**found.to_json(), "host": HOST, "port": server.port})
        if debugger is None:
            attach = shlex.join(["gdb-multiarch", str(found.image.path), "-ex", f"target remote {where}"])
            out.console.print(Text(f"Waiting for: {attach}"), soft_wrap=True)
            server.serve(target)
        else:
            with _serving(server, target):
                sources = [evidence["sources"]] if evidence["sources"] is not None else []
                debugger.run(found.image.path, where, sources, gdb_arguments)
    return int(ExitCode.MATCH)


@contextmanager
def _serving(server: GdbServer, target: GdbTarget) -> Iterator[None]:
    thread = Thread(target=server.serve, args=(target,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.close()
        thread.join()
