"""What all commands share: -v, --json, and one message for whatever goes wrong."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from harness.errors import BadInput, HarnessError, InfrastructureError, system_refusals
from harness.report.text import printable_lines

SIGNALLED = 128  # plus the signal's number: how shells give the status of a program that a signal ended
INTERRUPTED = SIGNALLED + 2
OBJECTIVE = click.Choice(["speed", "balanced", "size", "ram"])
_WIDTH = 120  # characters, where the output is no terminal


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would exit with 1, which means a mismatch; `main` knows better."""
        raise BrokenPipeError


class _Unwritable(BadInput):
    """The JSON has no place: this error cannot be told there either."""


@dataclass(frozen=True)
class Output:
    """Where a command's words go. With `--json -` standard output has the JSON and nothing else."""

    json: str | None  # a file's name, "-" for standard output, None: no JSON is asked for
    verbose: bool

    @functools.cached_property
    def console(self) -> Console:
        on_errors = self.json == "-"
        console = _Console(stderr=on_errors, highlight=False)
        return console if console.is_terminal else _Console(stderr=on_errors, highlight=False, width=_WIDTH)

    def write(self, result: dict[str, Any]) -> None:
        """Write the JSON if it was asked for. BadInput when the file cannot be written."""
        if self.json is None:
            return
        try:
            text = _json(result)
            if self.json == "-":
                if sys.stdout is None:
                    raise OSError(errno.EBADF, "it is closed")
                sys.stdout.write(text)
                sys.stdout.flush()
            else:
                Path(self.json).write_text(text, encoding="utf-8")
        except BrokenPipeError:
            raise
        except OSError as error:
            where = "standard output" if self.json == "-" else self.json
            raise _Unwritable(f"the JSON cannot be written: {error.strerror}", where=where) from error

    def spare(self, read: Iterable[Path], *written: Path | None) -> None:
        """BadInput when the JSON, or one of the files that will be `written`, is one that the command reads."""
        inputs = [path for path in read if path.exists()]
        place = Path(self.json) if self.json not in (None, "-") else None
        for path in (place, *written):
            if path is not None and path.exists() and any(path.samefile(other) for other in inputs):
                # with the JSON in that place the error has no other place either
                kind = _Unwritable if path is place else BadInput
                raise kind("it is read, and would be overwritten", where=str(path), hint="Name another file to write.")

    def save(self, path: Path, text: str) -> None:
        """Write a file that was asked for beside the JSON. BadInput when it cannot be written."""
        self.save_bytes(path, text.encode())

    def save_bytes(self, path: Path, data: bytes) -> None:
        """As `save`."""
        try:
            path.write_bytes(data)
        except OSError as error:
            raise BadInput(f"it cannot be written: {error.strerror}", where=str(path)) from error

    def save_json(self, path: Path, result: dict[str, Any]) -> None:
        """As `save`."""
        self.save(path, _json(result))


def _json(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=2, allow_nan=False) + "\n"


without_passes = click.option(
    "--without", metavar="PASS", multiple=True, help="Leave out a pass of the compiler; may be given several times."
)


def common(function: Callable[..., int]) -> Callable[..., int]:
    """Adds -v and --json to a command that takes an `Output` first and returns its exit status."""

    @click.option("-v", "--verbose", is_flag=True, help="Say more; with an error also where in the harness it arose.")
    @click.option(
        "--json", "json_file", metavar="FILE|-", callback=_place, help="Write the result as JSON; - is standard output."
    )
    @functools.wraps(function)
    def command(*, verbose: bool, json_file: str | None, **options: Any) -> int:
        out = Output(json_file, verbose)
        try:
            with system_refusals():
                return function(out, **options)
        except HarnessError as error:
            return _give_up(out, error)
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED

    return command


def _give_up(out: Output, error: HarnessError) -> int:
    if out.verbose:
        traceback.print_exception(error)
    complain(str(error))
    if not isinstance(error, _Unwritable):
        try:
            out.write(_as_json(error))
        except _Unwritable as second:
            complain(str(second))
    return int(error.exit_code)


def complain(message: str) -> None:
    """One message on standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text("error: ", style="bold red").append(printable_lines(message), style="default"))


def _as_json(error: HarnessError) -> dict[str, Any]:
    """Bad input has no verdict: nothing was run."""
    verdict = "infrastructure" if isinstance(error, InfrastructureError) else None
    kind = type(error).__name__
    return {"verdict": verdict, "error": {"kind": kind, "what": error.what, "where": error.where, "hint": error.hint}}


def _place(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """As `file_to_write`; - is standard output."""
    if value is not None and value != "-":
        file_to_write(context, parameter, Path(value))
    return value


def file_to_write(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that could never be written before anything is run for its sake."""
    if path is None:
        return None
    if not path.resolve().parent.is_dir():
        raise click.BadParameter(f"the folder of {path} does not exist", context, parameter)
    if path.is_dir():
        raise click.BadParameter(f"{path} is a folder", context, parameter)
    if not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
        raise click.BadParameter(f"{path} may not be written", context, parameter)
    return path
