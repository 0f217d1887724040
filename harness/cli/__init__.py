"""The command line: one command a file. Commands import what they need when they run, so that --help is instant."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from threading import Event
from types import FrameType

import click

from harness.cli.boards import boards
from harness.cli.compile import compile_
from harness.cli.crash import crash
from harness.cli.demo import demo
from harness.cli.doctor import doctor
from harness.cli.output import INTERRUPTED, SIGNALLED, complain
from harness.cli.profile import profile
from harness.cli.replay import replay
from harness.cli.verify import verify
from harness.errors import ExitCode


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="layerproof", prog_name="harness")
def cli() -> None:
    """Takes a TinyML model from file to microcontroller and proves, layer by layer, that what runs there is right."""


for command in (verify, replay, compile_, profile, crash, boards, doctor, demo):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # where the encoding lacks a character a ? has to do
            stream.reconfigure(errors="replace")
    with _terminable() as interrupted:
        try:
            return _run(arguments, interrupted)
        except BrokenPipeError:  # whoever read the output has had enough of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return SIGNALLED + signal.SIGPIPE


def _run(arguments: Sequence[str] | None, interrupted: Event) -> int:
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
        if interrupted.is_set():  # an extension module turned the KeyboardInterrupt into an error of its own
            complain("interrupted")
            return INTERRUPTED
        sys.excepthook(*sys.exc_info())
        complain("this is a defect of the harness itself: please report it with the lines above")
        return int(ExitCode.INFRASTRUCTURE)


@contextmanager
def _terminable() -> Iterator[Event]:
    """Let SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that no process, port or lock is left behind.

    What it yields is set by Ctrl-C.
    """
    interrupted = Event()

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(SIGNALLED + number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    handlers: dict[int, Callable[[int, FrameType | None], None]] = {signal.SIGINT: interrupt, signal.SIGTERM: leave}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = leave
    wanted = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, handlers[number]) for number in wanted}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
