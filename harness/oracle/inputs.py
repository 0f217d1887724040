"""What a model is fed: arrays from a file, or values drawn from a seed over the whole range of the dtype."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness.compiler.graph import Graph
from harness.dtypes import DType
from harness.errors import BadInput

FLOAT_RANGE = (-1.0, 1.0)  # drawn float inputs lie in [low, high): the range most models normalise to


MOST_BYTES = 2 << 30  # of the tensors of all samples together, which are held in memory


def draw_inputs(graph: Graph, seed: int, samples: int) -> tuple[np.ndarray, ...]:
    """One array of shape (samples, *input shape) per model input.

    Integers span the whole range of their dtype, floats FLOAT_RANGE. Sample k of input j depends on (seed, k, j) only,
    so that a failure at sample 7 of 100 comes back with fewer samples or more.
    """
    if samples < 1:
        raise BadInput(f"{samples} samples were asked for; at least 1 is needed")
    if seed < 0:
        raise BadInput(f"the seed {seed} is negative")
    check_samples(graph, samples)
    return tuple(
        np.stack([_draw(np.random.default_rng([seed, k, j]), graph.tensor(t).shape, graph.tensor(t).dtype)
                  for k in range(samples)])
        for j, t in enumerate(graph.inputs)
    )  # fmt: skip


def check_samples(graph: Graph, samples: int, where: str = "") -> None:
    """BadInput when the tensors of so many samples would not fit in memory."""
    each = sum(tensor.bytes for tensor in graph.tensors if tensor.data is None)
    if samples * each > MOST_BYTES:
        raise BadInput(
            f"{samples:,} samples of this model's tensors take {samples * each:,} bytes, more than {MOST_BYTES:,}",
            where=where,
            hint=f"at most {MOST_BYTES // each:,} samples at a time",
        )


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    if dtype is DType.F32:
        return rng.uniform(*FLOAT_RANGE, size=shape).astype(np.float32)
    if dtype is DType.BOOL:
        return rng.integers(0, 1, size=shape, endpoint=True).astype(np.bool_)
    return rng.integers(dtype.min, dtype.max, size=shape, dtype=dtype.np, endpoint=True)


def load_inputs(path: Path, graph: Graph) -> tuple[np.ndarray, ...]:
    """The arrays input_0, input_1 … of an .npz file, each (samples, *input shape) in the input's own dtype.

    BadInput names the array, what was expected and what was found: a wrong dtype or shape, one missing, one too many,
    different numbers of samples, or a file that is no .npz.
    """
    wanted = {f"input_{j}": graph.tensor(t) for j, t in enumerate(graph.inputs)}
    with NpzFile(path) as file:
        unknown = sorted(file.names - wanted.keys())
        if unknown:
            raise BadInput(
                f"array {unknown[0]!r} is not an input of the model, which has {_listing(wanted)}", where=str(path)
            )
        arrays = []
        for name, tensor in wanted.items():
            file.expect(name, tensor.shape, tensor.dtype)
            check_samples(graph, file.header(name).shape[0], str(path))
            arrays.append(file.read(name))
    same_samples(path, dict(zip(wanted, arrays, strict=True)))
    return tuple(arrays)


def same_samples(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """BadInput unless all arrays have one leading length."""
    lengths = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise BadInput(f"the arrays hold different numbers of samples: {listing}", where=str(path))


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype


class NpzFile:
    """An .npz file from somebody else: headers are checked before any data is read, objects are never unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_file():  # a pipe may never end
            raise BadInput("is not a file", where=str(path), hint=_HINT)
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise BadInput("no such file", where=str(path)) from None
        except (OSError, zipfile.BadZipFile) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            raise BadInput(f"not a readable .npz file: {words}", where=str(path), hint=_HINT) from None

    def __enter__(self) -> NpzFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self._zip.close()

    @property
    def names(self) -> set[str]:
        return {n.removesuffix(".npy") for n in self._zip.namelist()}

    def expect(self, name: str, shape: tuple[int, ...], dtype: DType) -> None:
        """BadInput unless array `name` is there as (samples, *shape) of `dtype` with at least one sample."""
        expected = f"shape (samples{''.join(f', {d}' for d in shape)}) of {dtype.value}"
        if name not in self.names:
            raise BadInput(f"array {name!r} is missing; expected {expected}", where=str(self.path))
        header = self.header(name)
        found = f"shape {header.shape} of {header.dtype.name}"
        if header.dtype.newbyteorder("=") != dtype.np or header.shape[1:] != shape or len(header.shape) < 1:
            raise BadInput(f"array {name!r}: expected {expected}, found {found}", where=str(self.path))
        if header.shape[0] < 1:
            raise BadInput(f"array {name!r} has no samples: found {found}", where=str(self.path))

    def header(self, name: str) -> _Header:
        return self._member(name, _read_header)

    def read(self, name: str) -> np.ndarray:
        """The array in C order and the machine's byte order."""
        array = self._member(name, lambda stream: np.lib.format.read_array(stream, allow_pickle=False))
        return np.ascontiguousarray(array, array.dtype.newbyteorder("="))

    def _member(self, name: str, read: Callable[[IO[bytes]], Any]) -> Any:
        try:
            with self._zip.open(f"{name}.npy") as stream:
                return read(stream)
        except KeyError:
            raise BadInput(f"{name!r} is not an array (.npy)", where=str(self.path), hint=_HINT) from None
        except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
            words = str(error).partition("\n")[0]  # numpy goes on with how to switch its checks off
            raise BadInput(f"array {name!r} cannot be read: {words}", where=str(self.path), hint=_HINT) from None


def _read_header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"unknown .npy version {version}")
    return _Header(tuple(shape), dtype)


def _listing(names: Sequence[str] | dict[str, Any]) -> str:
    return ", ".join(names) or "none"


_HINT = "write it with numpy.savez(F, input_0=…, input_1=…), each of shape (samples, *input shape)"
