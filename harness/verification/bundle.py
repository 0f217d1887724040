"""A run as one thing that can be kept, sent and run again: a folder, or a zip file of it.

    bundle.json          what all the rest is: `Manifest`
    firmware.elf         the very image that ran; what it was built from is in sources/ and firmware_stub/
    model/NAME           the model's file
    plan.json            the map from the C back to the model's tensors: `harness.compiler.source_cache.to_entry`
    inputs.npz           input_0, input_1 …, each (samples, *shape)
    expected.npz         tensor_<id>, each (samples, *shape): what the oracle said
    BOARD.toml           the board
    report.json          the outcome, as `harness verify --json` writes it, with paths inside the bundle
    crash.json, crash.bin     of a crash: how it was explained, and the fault record as it came from the firmware
    crash.core           of a crash: a core file for gdb, with all the memory that could still be read
    uart.log, transcript.jsonl

A bundle may come from somebody else. Nothing in it is believed: names may not lead out of it, sizes are bounded, and
every file is checked by whoever reads it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.board import Board, load_board
from harness.compiler import source_cache
from harness.compiler.choose import Objective
from harness.compiler.csource import CSource
from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph, TensorId
from harness.errors import BadInput
from harness.firmware import Firmware
from harness.oracle import Expected, Tolerance, load_inputs
from harness.oracle.expected_file import load_expected
from harness.toolchain import elf as elf_file

FORMAT, VERSION = "layerproof bundle", 1
MANIFEST, PLAN, REPORT, ELF = "bundle.json", "plan.json", "report.json", "firmware.elf"
INPUTS, EXPECTED, SOURCES, MODEL = "inputs.npz", "expected.npz", "sources", "model"
CRASH, RECORD, CORE = "crash.json", "crash.bin", "crash.core"
UART_LOG, TRANSCRIPT = "uart.log", "transcript.jsonl"
MOST_BYTES = 1 << 30  # of a bundle, unpacked
MOST_FILES = 10_000
MOST_TEXT = 64 << 20  # bytes of one JSON file
STRETCH = 200  # times that a file of some size may grow when it is unpacked
_SMALL = 1 << 20  # bytes below which it may grow as it likes
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that zip knows: the same run gives the same file
_HINT = "Ask for the bundle again, or make one with `harness verify MODEL --artifacts FILE.zip`."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class KeptSettings(_Strict):
    """What was asked for; see `harness.verification.report.Settings`."""

    oracle: str
    samples: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)]
    given_inputs: bool  # from a file of the user's
    isolated: bool
    edited_sources: bool  # the run was of a folder of C, not of what the compiler wrote
    objective: Objective
    without: tuple[str, ...]
    level: str
    timeout: Annotated[float, Field(gt=0)] | None
    tolerance: tuple[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=0)]]  # ULPs, part of the peak

    @property
    def judged_by(self) -> Tolerance:
        return Tolerance(*self.tolerance)


class KeptFirmware(_Strict):
    """The figures of `harness.firmware.Firmware`, bytes."""

    build_id: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$", max_length=64)]
    flash_bytes: int
    flash_code_bytes: int
    ram_bytes: int
    stack_bytes: int
    reserved_stack_bytes: int
    layer_stack_bytes: tuple[int | None, ...]


class Manifest(_Strict):
    format: Literal["layerproof bundle"]
    version: Literal[1]
    model: Annotated[str, Field(pattern=r"^model/[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    board: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.toml$")]
    settings: KeptSettings
    firmware: KeptFirmware
    versions: dict[str, str]
    sha256: dict[str, str]  # of every file but this one, by its name in the bundle


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest was read; everything else is read when it is asked for. All raise BadInput."""

    folder: Path
    shown: str  # how the user calls it
    manifest: Manifest

    @property
    def model(self) -> Path:
        return self.folder / self.manifest.model

    @property
    def sources(self) -> Path:
        return self.folder / SOURCES

    @property
    def board_file(self) -> Path:
        return self.folder / self.manifest.board

    def board(self) -> Board:
        return load_board(self.board_file)

    def firmware(self, board: Board, graph: Graph) -> Firmware:
        """The image that ran, with the map of its memory."""
        elf = self.folder / ELF
        if not elf_file.begins(elf):
            raise self._damaged(ELF, "is missing, or no ELF file")
        facts = self.manifest.firmware.model_dump()
        return Firmware(
            elf=elf,
            board=board,
            source=self._source(board, graph),
            build_dir=self.folder,
            **{**facts, "build_id": bytes.fromhex(facts["build_id"])},
        )

    def _source(self, board: Board, graph: Graph) -> CSource:
        try:
            source = source_cache.from_entry(self._json(PLAN), graph, board.target)
            source = replace(source, files=dict(self._source_files()))
        except ValueError as error:
            raise self._damaged(PLAN, str(error).partition("\n")[0]) from None
        for tensor in {*graph.inputs, *graph.outputs, *(t for l in source.layers for t in (*l.inputs, *l.outputs))}:
            if not 0 <= tensor < len(graph.tensors):
                raise self._damaged(PLAN, f"it speaks of tensor {tensor}, which the model has not")
            if tensor in source.placements and source.placements[tensor].bytes != _held_bytes(source, tensor):
                raise self._damaged(PLAN, f"tensor {tensor} has another size in the model")
        return source

    def _source_files(self) -> Iterator[tuple[str, str]]:
        """The C, which the plan leaves out because it is here anyway."""
        for path in sorted(self.sources.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(self.sources).as_posix(), path.read_text(encoding="utf-8")

    def graph(self) -> Graph:
        return load_model(self.model)

    def inputs(self, graph: Graph) -> tuple[np.ndarray, ...]:
        arrays = load_inputs(self.folder / INPUTS, graph)
        if arrays and arrays[0].shape[0] != self.manifest.settings.samples:
            wanted = self.manifest.settings.samples
            raise self._damaged(INPUTS, f"it holds {arrays[0].shape[0]} samples, and {MANIFEST} says {wanted}")
        return arrays

    def expected(self, graph: Graph) -> Expected:
        settings = self.manifest.settings
        expected = Expected(settings.oracle, load_expected(self.folder / EXPECTED, graph, settings.samples))
        missing = {t for op in graph.ops for t in op.outputs} - expected.tensors.keys()
        if missing:
            raise self._damaged(EXPECTED, f"it lacks tensor_{min(missing)}")
        return expected

    def report(self) -> dict[str, Any]:
        """The outcome of the run that is kept here."""
        report = self._json(REPORT)
        if not isinstance(report, dict) or not isinstance(report.get("layers"), list) or "verdict" not in report:
            raise self._damaged(REPORT, "it is not the report of a verification")
        return report

    def changed(self) -> list[str]:
        """Names of the files that are not what was written, or are missing."""
        return sorted(
            name for name, digest in self.manifest.sha256.items() if _digest(self.folder, name) not in (digest, None)
        )

    def _json(self, name: str) -> Any:
        return _json(self.folder / name, f"{self.shown}: {name}")

    def _damaged(self, name: str, what: str) -> BadInput:
        return BadInput(what, where=f"{self.shown}: {name}", hint=_HINT)


@contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """The bundle at `path`, a folder or a zip file, which is unpacked for as long as the `with` block lasts.

    BadInput: there is none, or it is damaged, unfinished or of a later version.
    """
    if path.is_dir():
        link = next((file for file in path.rglob("*") if file.is_symlink()), None)
        if link is not None:
            raise BadInput("it is a link, which may lead anywhere", where=str(link), hint=_HINT)
        yield _bundle(path.absolute(), str(path))
    elif path.is_file():
        with tempfile.TemporaryDirectory(prefix="layerproof-bundle-") as folder:
            yield _bundle(unpack(path, Path(folder)), str(path))
    else:
        what = "is neither a file nor a folder" if path.exists() else "no such file or folder"
        raise BadInput(what, where=str(path), hint="`harness verify` names the bundle that a failing run left.")


def plan_of(source: CSource) -> dict[str, Any]:
    """What plan.json holds."""
    return {**source_cache.to_entry(source), "files": {}}


def _held_bytes(source: CSource, tensor: TensorId) -> int:
    """What a tensor takes in the arena."""
    spec, kept = source.graph.tensor(tensor), source.kept.get(tensor)
    return spec.bytes if kept is None else kept.rows * len(kept.channels) * spec.dtype.bytes


def _bundle(folder: Path, shown: str) -> Bundle:
    where = f"{shown}: {MANIFEST}"
    if not (folder / MANIFEST).is_file():
        hint = "A run that was interrupted, or failed before anything ran, leaves none: there is nothing to replay."
        raise BadInput(f"is no bundle: it has no {MANIFEST}", where=shown, hint=hint)
    data = _json(folder / MANIFEST, where)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BadInput("is of another program: it does not call itself a layerproof bundle", where=where)
    if data.get("version") != VERSION:
        hint = "A newer layerproof wrote it: update, or replay it where it was made."
        raise BadInput(f"version {data.get('version')!r}; this harness reads {VERSION}", where=where, hint=hint)
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise BadInput(f"{key}: {problem['msg']}", where=where, hint=_HINT) from None
    return Bundle(folder, shown, manifest)


def _json(path: Path, where: str) -> Any:
    try:
        if not path.is_file():
            raise BadInput("is missing", where=where, hint=_HINT)
        if path.stat().st_size > MOST_TEXT:
            raise BadInput(f"is larger than {MOST_TEXT:,} bytes, the most that is read", where=where, hint=_HINT)
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", where=where) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"is damaged: {error}", where=where, hint=_HINT) from None


def _digest(folder: Path, name: str) -> str | None:
    """SHA-256 of a file of the bundle; None when the name leads elsewhere."""
    if not _is_inside(name):
        return None
    try:
        return hashlib.sha256(folder.joinpath(*PurePosixPath(name).parts).read_bytes()).hexdigest()
    except OSError:
        return ""


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` but the manifest, by its POSIX path there."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name != MANIFEST}


# ---- one file


def pack(folder: Path, path: Path) -> None:
    """Write all files of `folder` as the zip file `path`, the same bytes for the same files. OSError as they come."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())


def unpack(path: Path, folder: Path) -> Path:
    """Unpack the zip file `path` into the empty `folder`; where the bundle's files are: there, or one folder below.

    BadInput: damaged, encrypted, too large, a name that leads out of the folder, or a link.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_sizes(entries, str(path))
            for entry in entries:
                _extract(archive, entry, folder, str(path))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise BadInput(f"is damaged, or no bundle: {error}", where=str(path), hint=_HINT) from None
    except FileExistsError as error:
        raise BadInput("holds a file twice, or one where it has a folder", where=str(path), hint=_HINT) from error
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(folder)):
            raise BadInput(f"cannot be read: {error.strerror}", where=str(path)) from error
        raise
    inner = list(folder.iterdir())
    if not (folder / MANIFEST).exists() and len(inner) == 1 and inner[0].is_dir():
        return inner[0]  # somebody zipped the folder itself
    return folder


def _check_sizes(entries: list[zipfile.ZipInfo], where: str) -> None:
    """A file is never read further than its entry says, so what the entries say is what there will be."""
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_FILES or total > MOST_BYTES:
        limits = f"{MOST_FILES:,} files of {MOST_BYTES:,} bytes together are the most"
        raise BadInput(f"holds {len(entries):,} files of {total:,} bytes: {limits}", where=where)
    for entry in entries:
        if entry.file_size > max(_SMALL, STRETCH * entry.compress_size):
            raise BadInput(
                f"{entry.filename!r} claims to unpack {entry.compress_size:,} bytes to {entry.file_size:,}: refused",
                where=where,
                hint="No file of a bundle is like that: it was made to fill a disk.",
            )


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, where: str) -> None:
    if not _is_inside(entry.filename):
        raise BadInput(f"the file name {entry.filename!r} leads out of the bundle", where=where)
    mode = entry.external_attr >> 16
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
        raise BadInput(f"{entry.filename!r} is a link or a device", where=where)
    place = folder.joinpath(*PurePosixPath(entry.filename).parts)
    if entry.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, place.open("xb") as target:
        shutil.copyfileobj(source, target)


def _is_inside(name: str) -> bool:
    """Whether a name stays in its folder, on any system."""
    parts = PurePosixPath(name).parts
    plain = not any(c in name for c in "\\:\0") and not name.startswith("/")
    return plain and bool(parts) and ".." not in parts
