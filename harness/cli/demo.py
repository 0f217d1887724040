"""`harness demo`: the three things the harness is for, in one minute."""

from __future__ import annotations

import click

from harness.cli.output import Output, common


@click.command()
@common
def demo(out: Output) -> int:
    """Verify a bundled model, then find a seeded miscompile, then explain a seeded crash."""
    from harness.demo import run

    result = run(out.console)
    out.write(result.to_json())
    return int(result.exit_code)
