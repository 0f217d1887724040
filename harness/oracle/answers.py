"""Keeps what an oracle answered: the same model, inputs and interpreter give the same tensors on every board.

An entry is an .npz named after a digest of all that decides the answer. One that is missing, damaged or cannot be
written costs a run of the interpreter and nothing else; the oldest go when the folder grows past its limit.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from harness.compiler.graph import TensorId
from harness.resources import prune

PACKAGES = {"tflite-ref": "tflite-runtime", "litert-ref": "ai-edge-litert"}
LIMIT_BYTES = 256 << 20  # of the whole folder

Answers = dict[TensorId, np.ndarray]  # each (samples, *shape)


@dataclass(frozen=True)
class AnswerStore:
    folder: Path
    limit: int = LIMIT_BYTES

    def load(self, key: str) -> Answers | None:
        path = self.folder / f"{key}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                answers = {int(name.removeprefix("tensor_")): file[name] for name in file.files}
            os.utime(path)  # used just now: among the last to go
        except (OSError, ValueError, zipfile.BadZipFile, EOFError):
            return None
        return answers

    def save(self, key: str, answers: Answers) -> None:
        if sum(values.nbytes for values in answers.values()) > self.limit // 4:
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **{f"tensor_{t}": values for t, values in answers.items()})
            os.replace(temporary, self.folder / f"{key}.npz")  # a reader sees the whole entry or none
            prune(self.folder, self.limit)


def key_of(kind: str, model: bytes, inputs: Sequence[np.ndarray], tensors: Sequence[TensorId]) -> str:
    """Digest of the interpreter, the model, every input and which tensors were asked for."""
    digest = hashlib.sha256(f"{kind} {_version(kind)} {list(tensors)} {len(model)}".encode())
    digest.update(model)
    for values in inputs:
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


@cache
def _version(kind: str) -> str:
    """What the answer depends on beside the question: the package's version, or this project's own source."""
    if kind in PACKAGES:
        try:
            return f"{metadata.version(PACKAGES[kind])} numpy {np.__version__}"
        except metadata.PackageNotFoundError:
            return "missing"
    digest = hashlib.sha256(np.__version__.encode())
    root = Path(__file__).resolve().parent.parent
    for path in (root / "dtypes.py", *sorted((root / "compiler").rglob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()
