"""Remembers which schedules the interpreter has already found equal to the loops they were made from.

A proof is an empty file named after a digest of both programs, their constants and the code that compares them: it can
be lost without harm, and cannot be applied to anything else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.compiler import (
    interpret,
    interpreter_arithmetic,
    interpreter_batch,
    interpreter_registers,
    interpreter_state,
    interpreter_sums,
    interpreter_values,
    intrinsics,
    loops,
    render_c,
)
from harness.compiler.loops import Program
from harness.compiler.render_c import render_function

_JUDGES = (
    interpret,
    interpreter_arithmetic,
    interpreter_batch,
    interpreter_registers,
    interpreter_state,
    interpreter_sums,
    interpreter_values,
    loops,
    render_c,
)


@dataclass(frozen=True)
class ProofStore:
    """A folder of proofs. One that cannot be written only costs time: the comparison is made again."""

    folder: Path

    def holds(self, reference: Program, program: Program) -> bool:
        return self._path(reference, program).exists()

    def add(self, reference: Program, program: Program) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._path(reference, program).touch()
        except OSError:
            return

    def _path(self, reference: Program, program: Program) -> Path:
        digest = hashlib.sha256(_judge().encode())
        for one in (reference, program):
            digest.update(render_function(one).encode())
            for b in one.buffers:
                digest.update(f"{b.name} {b.space} {b.dtype.value} {b.shape}".encode())
                digest.update(b"" if b.data is None else b.data.tobytes())
        return self.folder / digest.hexdigest()


@cache
def _judge() -> str:
    """Digest of everything that decides whether two programs are equal."""
    digest = hashlib.sha256()
    (folder,) = intrinsics.__path__
    modules = [Path(str(module.__file__)) for module in _JUDGES]
    for path in (*modules, *sorted(Path(folder).glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()
