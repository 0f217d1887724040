"""`harness doctor`: what of the machinery is here."""

from __future__ import annotations

import click

from harness.cli.output import Output, common


@click.command()
@common
def doctor(out: Output) -> int:
    """Say what of toolchain, emulators and oracles is here, and how to get what is not."""
    from harness.doctor import run

    result = run(out.console)
    out.write(result.to_json())
    return int(result.exit_code)
