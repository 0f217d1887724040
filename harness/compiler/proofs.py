"""Remembers which schedules the interpreter has already found equal to the loops they were made from.

A proof is an empty file named after a digest of both programs, their constants and the code that compares them: it can
be lost without harm, and cannot be applied to anything else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.compiler.loops import Program
from harness.compiler.render_c import render_function

_COMPILER = Path(__file__).parent


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


def judges() -> list[Path]:
    """The files that decide whether two programs are equal: the interpreter, and what it and they are made of."""
    apart = (_COMPILER / "loops.py", _COMPILER / "render_c.py", _COMPILER.parent / "dtypes.py")
    return [*apart, *sorted(_COMPILER.glob("interpret*.py")), *sorted((_COMPILER / "intrinsics").glob("*.py"))]


@cache
def _judge() -> str:
    digest = hashlib.sha256()
    for path in judges():
        digest.update(path.read_bytes())
    return digest.hexdigest()
