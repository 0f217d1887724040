"""What a run leaves behind for somebody to look into: sources, firmware.elf, inputs, UART log, transcript, report."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.compiler.csource import CSource
from harness.compiler.export import c_directory
from harness.compiler.export.c_directory import writing
from harness.firmware import Firmware
from harness.resources import cache_dir
from harness.rpc.transcript import transcript
from harness.verification.report import Report

_KEPT_RUNS = 20


class Artifacts:
    """A folder that fills as a run goes on, so that also a run that fails half-way leaves what there was.

    BadInput when the folder cannot be written. What an earlier run left there is overwritten, never deleted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with writing(folder):
            pass  # only to know at once whether it can be

    def inputs(self, inputs: Sequence[np.ndarray]) -> None:
        packed = io.BytesIO()  # zipfile would write the rest of a file that does not fit when it is collected
        np.savez_compressed(packed, **{f"input_{j}": array for j, array in enumerate(inputs)})
        with writing(self.folder):
            (self.folder / "inputs.npz").write_bytes(packed.getbuffer())

    def sources(self, source: CSource) -> None:
        c_directory.write(source, self.folder / "sources", force=True)

    def firmware(self, firmware: Firmware) -> None:
        with writing(self.folder):
            shutil.copyfile(firmware.elf, self.folder / "firmware.elf")

    def results(self, report: Report) -> None:
        with writing(self.folder):
            (self.folder / "uart.log").write_bytes(report.uart_log)
            with (self.folder / "transcript.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(message) + "\n" for message in transcript(report.traffic))
            text = json.dumps(report.to_json(), indent=2, allow_nan=False)
            (self.folder / "report.json").write_text(text + "\n", encoding="utf-8")


def keep(report: Report) -> Report:
    """Save a run that nobody named a folder for, beside the cache; only the latest few stay there."""
    runs = cache_dir() / "runs"
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", report.settings.model.stem)[:40]
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{stem}-{report.firmware.board.name}"
    report = save(report, runs / name)
    for old in sorted(path for path in runs.iterdir() if path.is_dir())[:-_KEPT_RUNS]:
        shutil.rmtree(old, ignore_errors=True)
    return report


def save(report: Report, folder: Path) -> Report:
    """Everything there is of a finished run, into `folder`; the report that says so."""
    artifacts = Artifacts(folder)
    report = replace(report, artifacts=folder)
    artifacts.inputs(report.inputs)
    artifacts.sources(report.source)
    artifacts.firmware(report.firmware)
    artifacts.results(report)
    return report
