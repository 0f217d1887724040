"""The command line: one command a file. Commands import what they need when they run, so that --help is instant."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from harness.cli.boards import boards
from harness.cli.compile import compile_
from harness.cli.demo import demo
from harness.cli.doctor import doctor
from harness.cli.output import INTERRUPTED, SIGNALLED, complain
from harness.cli.verify import verify
from harness.errors import ExitCode


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="layerproof", prog_name="harness")
def cli() -> None:
    """Takes a TinyML model from file to microcontroller and proves, layer by layer, that what runs there is right."""


for command in (verify, compile_, boards, doctor, demo):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    with _terminable():
        try:
            return _run(arguments)
        except BrokenPipeError:  # whoever read the output has had enough of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return SIGNALLED + signal.SIGPIPE


def _run(arguments: Sequence[str] | None) -> int:
    try:
        return int(cli.main(arguments, prog_name="harness", standalone_mode=False) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        complain("interrupted")
        return INTERRUPTED
    except click.ClickException as error:
        error.show(sys.stderr)
        return int(ExitCode.USAGE)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception:  # noqa: BLE001  Python would exit with 1, which means a mismatch to whoever asked
        sys.excepthook(*sys.exc_info())
        complain("this is a defect of the harness itself: please report it with the lines above")
        return int(ExitCode.INFRASTRUCTURE)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that no process, port or lock is left behind."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(SIGNALLED + number)

    numbers = [signal.SIGTERM, signal.SIGHUP] if hasattr(signal, "SIGHUP") else [signal.SIGTERM]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
