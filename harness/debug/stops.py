"""From what a run raised to the crash that explains it, on whatever kind of target it happened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.board import Board
from harness.compiler.csource import CSource
from harness.debug.crash import Crash, explain
from harness.debug.host_crash import explain_report
from harness.debug.layers import LayerMap
from harness.debug.memory import ReadTarget
from harness.debug.source_files import SourceFiles
from harness.runners.sanitizer import parse_report
from harness.verdict import TargetStopped, Verdict


def explain_stop(
    stopped: TargetStopped,
    firmware_elf: Path,
    *,
    source: CSource | None = None,
    read_memory: ReadTarget | None = None,
    search: Sequence[Path] = (),
    board: Board | None = None,
) -> Crash | None:
    """The crash, lockup or timeout that `stopped` stands for; None when nothing is known of where the target was.

    The arguments are those of `harness.debug.crash.explain`, which raises the same.
    """
    report = parse_report(stopped.detail)
    if report is not None:
        files = SourceFiles((*search, firmware_elf.parent))
        asked = stopped.verdict is Verdict.TIMEOUT
        return explain_report(report, LayerMap(source=source), stopped.layer, files, asked=asked)
    if stopped.state is None:
        return None
    return explain(stopped.state, firmware_elf, source=source, read_memory=read_memory, search=search, board=board)
