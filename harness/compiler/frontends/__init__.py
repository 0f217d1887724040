"""Model files → Graph. One file per format; `load_model` picks by what is in the file, never by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.compiler.frontends import tflite
from harness.compiler.graph import Graph
from harness.errors import ModelError

MAX_FILE_BYTES = 1 << 27  # 128 MiB: no microcontroller holds more, and no read can exhaust memory


@dataclass(frozen=True)
class Frontend:
    """A format: `recognises` looks at the whole file's bytes, `load` takes them with the file's name."""

    name: str
    mark: str  # what `recognises` looks for, in words
    recognises: Callable[[bytes], bool]
    load: Callable[[bytes, str], Graph]


FRONTENDS = (Frontend("TensorFlow Lite (.tflite)", tflite.MARK, tflite.recognises, tflite.load),)

_LOOKALIKES = (
    (b"\x89HDF\r\n\x1a\n", "it is a Keras HDF5 model"),
    (b"PK\x03\x04", "it is a zip archive, as .keras and .pt files are"),
    (b"\x1f\x8b", "it is compressed with gzip"),
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file it stands for"),
)


def load_model(path: str | os.PathLike[str]) -> Graph:
    """Reads a model file. Raises `ModelError` for one that cannot be read, is of no known format, or is malformed."""
    return read_model(path)[0]


def read_model(path: str | os.PathLike[str]) -> tuple[Graph, bytes]:
    """As `load_model`, with the bytes the graph was read from."""
    path = Path(path)
    name = os.fsencode(path.name).decode("utf-8", "backslashreplace")
    try:
        if not path.is_file():  # a pipe or a device may never end
            raise ModelError("is not a file" if path.exists() else "no such file", where=_shown(path))
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=_shown(path)) from error
    return parse_model(data, name), data


def parse_model(data: bytes, name: str) -> Graph:
    """The graph in a model file's bytes. `name` stands for the file in messages and becomes `Graph.name`."""
    if not data:
        raise ModelError("the file is empty", where=name)
    if len(data) > MAX_FILE_BYTES:
        raise ModelError(f"is larger than {MAX_FILE_BYTES} bytes, the most that is read", where=name)
    for frontend in FRONTENDS:
        if frontend.recognises(data):
            return frontend.load(data, name)
    found = next((what for start, what in _LOOKALIKES if data.startswith(start)), f"it begins {data[:8]!r}")
    formats = ", ".join(f"{frontend.name} files have {frontend.mark}" for frontend in FRONTENDS)
    raise ModelError(f"not a model of a known format: {found}", where=name, hint=f"{formats}.")


def _shown(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
