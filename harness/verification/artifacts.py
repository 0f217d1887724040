"""What a run leaves behind for somebody to look into, or to run again: the files of a bundle, see `bundle`."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import numpy as np

from harness.board import Board, SerialRun
from harness.compiler.csource import CSource
from harness.compiler.export import c_directory
from harness.compiler.export.c_directory import writing
from harness.debug.gdb.core_file import core_file
from harness.firmware import STUB, Firmware
from harness.oracle import NAMES
from harness.resources import cache_dir
from harness.rpc.transcript import transcript
from harness.verification import bundle
from harness.verification.report import Report
from harness.verification.versions import versions

_KEPT_RUNS = 20
_KEPT_BYTES = 1 << 30  # of them together; the latest stays whatever it takes


class Artifacts:
    """A bundle that is written as a run goes on, so that also a run that fails half-way leaves what there was.

    `path` is a folder, or a file whose name ends in .zip, which is written when the `with` block ends. What an earlier
    run left there is overwritten, never deleted; but only a run that came to its end leaves a bundle.json. Raises
    BadInput when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._resources = ExitStack()
        self._zipped = path.suffix == ".zip" and not path.is_dir()
        if self._zipped:
            with writing(path.parent):
                path.open("ab").close()  # only to know at once whether it can be
            temporary = tempfile.TemporaryDirectory(prefix="layerproof-bundle-")
            self.folder = Path(self._resources.enter_context(temporary))
        else:
            self.folder = path
            with writing(path):
                (path / bundle.MANIFEST).unlink(missing_ok=True)

    def __enter__(self) -> Artifacts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._resources:
            if self._zipped:
                with writing(self.path.parent):
                    bundle.pack(self.folder, self.path)

    def model(self, model: Path) -> None:
        with writing(self.folder / bundle.MODEL):
            (self.folder / _model_name(model)).write_bytes(model.read_bytes())

    def inputs(self, inputs: Sequence[np.ndarray]) -> None:
        self._arrays(bundle.INPUTS, {f"input_{j}": array for j, array in enumerate(inputs)})

    def sources(self, source: CSource) -> None:
        c_directory.write(source, self.folder / bundle.SOURCES, force=True)
        self._json(bundle.PLAN, bundle.plan_of(source))

    def firmware(self, firmware: Firmware) -> None:
        """The image, and the firmware's own files beside the model's, which a debugger shows."""
        with writing(self.folder):
            shutil.copyfile(firmware.elf, self.folder / bundle.ELF)
            shutil.copytree(firmware.build_dir / STUB, self.folder / STUB, dirs_exist_ok=True)
            board = _anywhere(firmware.board)
            (self.folder / f"{board.name}.toml").write_text(board.to_toml(), encoding="utf-8")

    def results(self, report: Report) -> None:
        """What came of it, and with that everything that makes it a bundle."""
        with writing(self.folder):
            (self.folder / bundle.UART_LOG).write_bytes(report.uart_log)
            with (self.folder / bundle.TRANSCRIPT).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(message) + "\n" for message in transcript(report.traffic))
            for name in (bundle.CRASH, bundle.RECORD, bundle.CORE):
                (self.folder / name).unlink(missing_ok=True)
        self._arrays(bundle.EXPECTED, {f"tensor_{t}": array for t, array in report.expected.tensors.items()})
        outcome = portable(report)
        self._json(bundle.REPORT, outcome)
        if outcome["crash"] is not None:
            self._json(bundle.CRASH, outcome["crash"])
        stopped = report.comparison.stopped
        with writing(self.folder):
            if stopped is not None and stopped.record:
                (self.folder / bundle.RECORD).write_bytes(stopped.record)
            if stopped is not None and stopped.state is not None and report.firmware.board.cpu.core != "host":
                build_id = report.firmware.build_id
                core = core_file(stopped.state, build_id=build_id, memory=report.left, report=outcome["crash"])
                (self.folder / bundle.CORE).write_bytes(core)
            manifest = _manifest(report, self.folder)
            (self.folder / bundle.MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def _arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        packed = io.BytesIO()  # zipfile would write the rest of a file that does not fit when it is collected
        np.savez_compressed(packed, **arrays)
        with writing(self.folder):
            (self.folder / name).write_bytes(packed.getbuffer())

    def _json(self, name: str, value: Any) -> None:
        with writing(self.folder):
            (self.folder / name).write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _anywhere(board: Board) -> Board:
    """A board without the port that it was behind on this machine."""
    if not isinstance(board.runner, SerialRun):
        return board
    return board.model_copy(update={"runner": board.runner.model_copy(update={"url": None})})


def _model_name(model: Path) -> str:
    """Where the model lies in a bundle."""
    return f"{bundle.MODEL}/{re.sub(r'^[.-]|[^A-Za-z0-9_.-]', '_', model.name)}"


def _manifest(report: Report, folder: Path) -> bundle.Manifest:
    settings, firmware = report.settings, report.firmware
    return bundle.Manifest(
        format="layerproof bundle",
        version=1,
        model=_model_name(settings.model),
        board=f"{firmware.board.name}.toml",
        settings=bundle.KeptSettings(
            oracle=_oracle(settings.oracle),
            samples=settings.samples,
            seed=settings.seed,
            given_inputs=settings.inputs is not None,
            isolated=settings.isolated,
            edited_sources=settings.sources is not None,
            objective=settings.objective,
            without=settings.without,
            level=settings.level,
            timeout=settings.timeout,
            tolerance=(settings.tolerance.ulps, settings.tolerance.of_peak),
        ),
        firmware=bundle.KeptFirmware(
            build_id=firmware.build_id.hex(),
            flash_bytes=firmware.flash_bytes,
            flash_code_bytes=firmware.flash_code_bytes,
            ram_bytes=firmware.ram_bytes,
            stack_bytes=firmware.stack_bytes,
            reserved_stack_bytes=firmware.reserved_stack_bytes,
            layer_stack_bytes=firmware.layer_stack_bytes,
        ),
        versions=versions(firmware.board, settings.oracle),
        sha256=bundle.digests(folder),
    )


def _oracle(name: str) -> str:
    """An oracle's name; one that was a file of the user's is in the bundle."""
    return name if name in NAMES else bundle.EXPECTED


def portable(report: Report) -> dict[str, Any]:
    """The report as JSON with every path as it is inside a bundle: nothing of the machine that it was made on."""
    settings = report.settings
    inside = replace(
        settings,
        model=Path(_model_name(settings.model)),
        board=f"./{report.firmware.board.name}.toml",
        oracle=_oracle(settings.oracle),
        inputs=None if settings.inputs is None else Path(bundle.INPUTS),
        sources=None if settings.sources is None else Path(bundle.SOURCES),
        url=None,
    )
    built = report.firmware.build_dir
    roots = {built / STUB: STUB, built / bundle.ELF: bundle.ELF, built: bundle.SOURCES}
    if settings.sources is not None:
        roots = {settings.sources: bundle.SOURCES, **roots}
    found: dict[str, Any] = _without_paths(replace(report, settings=inside, artifacts=None).to_json(), roots)
    return found


def _without_paths(value: Any, roots: Mapping[Path, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: _moved(each, roots) if key == "file" and isinstance(each, str) else _without_paths(each, roots)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_without_paths(each, roots) for each in value]
    if isinstance(value, str):
        for root, name in _spellings(roots):
            value = value.replace(root, name)
    return value


def _moved(file: str, roots: Mapping[Path, str]) -> str:
    """A source file by its name in the bundle; one that is nowhere keeps the name it was compiled under."""
    path = Path(file).absolute()
    if path.is_file():
        for root, name in roots.items():
            if path.is_relative_to(root.absolute()):
                return (PurePath(name) / path.relative_to(root.absolute())).as_posix()
    return file


def _spellings(roots: Mapping[Path, str]) -> Iterator[tuple[str, str]]:
    """The roots as other programs may write them in their own words."""
    for root, name in roots.items():
        yield from ((str(path), name) for path in {root, root.resolve()} if path.is_absolute())


def keep(report: Report) -> Report:
    """Save a run that nobody named a folder for, beside the cache; only the latest few stay there."""
    runs = cache_dir() / "runs"
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", report.settings.model.stem)[:40]
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{stem}-{report.firmware.board.name}"
    report = save(report, runs / name)
    latest = sorted((path for path in runs.iterdir() if path.is_dir()), reverse=True)
    total = 0
    for number, run in enumerate(latest):
        total += sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
        if number and (number >= _KEPT_RUNS or total > _KEPT_BYTES):
            shutil.rmtree(run, ignore_errors=True)
    return report


def save(report: Report, path: Path) -> Report:
    """Everything there is of a finished run, as a bundle at `path`; the report that says so."""
    with Artifacts(path) as artifacts:
        report = replace(report, artifacts=path)
        artifacts.model(report.settings.model)
        artifacts.inputs(report.inputs)
        artifacts.sources(report.source)
        artifacts.firmware(report.firmware)
        artifacts.results(report)
    return report
