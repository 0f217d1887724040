"""A report in titled pieces of plain text, as a failing test carries them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group
from rich.text import Text

from harness.report.console import headline, memory_line, plain, remarks
from harness.report.layer_table import layer_table
from harness.report.text import printable_bytes, printable_lines
from harness.report.traceback import traceback_text
from harness.session import LogLine
from harness.verification import Report

Section = tuple[str, str]  # title, text
_LEVELS = {0: "error", 1: "warning", 2: "info"}
_TAIL = 4096  # bytes of the UART log that are shown: always the last ones


def sections(report: Report) -> Iterator[Section]:
    """Layer table, traceback, UART log to its last byte, and the commands that run it again."""
    notes = [Text(line) for line in remarks(report)]
    yield "layers", plain(Group(layer_table(report), Text(), *notes, memory_line(report), headline(report)))
    if report.stopped:
        yield "target", printable_lines(report.stopped)
    if report.crash is not None:
        yield "traceback", plain(traceback_text(report.crash))
    yield "UART log", uart_text(report.uart_log, report.log)
    if report.artifacts is not None:
        yield "artefacts", printable_lines(str(report.artifacts))
    yield "rerun", printable_lines(report.settings.command)
    if report.replay is not None:
        yield "replay", printable_lines(report.replay)


def uart_text(log: bytes, lines: Iterable[LogLine] = ()) -> str:
    """What the firmware logged, then the bytes themselves, escaped where they are no text, up to the very last one.

    A zero byte ends a frame of the protocol, and a line here.
    """
    said = [f"{_LEVELS.get(line.level, line.level)}: {printable_lines(line.text)}" for line in lines]
    tail = log[-_TAIL:]
    which = f"all {len(log):,} bytes" if len(tail) == len(log) else f"the last {len(tail):,} of {len(log):,} bytes"
    raw = [printable_bytes(frame + b"\0").replace("\n", "\\n") for frame in tail.split(b"\0")]
    raw[-1] = raw[-1].removesuffix("\\x00")  # what follows the last zero is an unfinished frame, or nothing
    return "\n".join([*said, f"{which}:", *filter(None, raw)])
