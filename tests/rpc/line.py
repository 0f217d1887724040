"""A line that loses, damages, doubles and joins frames, as it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from harness.runners.base import Transport


@dataclass(frozen=True)
class Flip:
    place: int  # bit, modulo the length of the frame


@dataclass(frozen=True)
class Drop:
    """The frame never arrives."""


@dataclass(frozen=True)
class Twice:
    """The frame arrives, and arrives again."""


@dataclass(frozen=True)
class Join:
    """Both zeros are lost: the frame runs into its neighbours."""


@dataclass(frozen=True)
class Whole:
    """Nothing happens."""


Mishap = Flip | Drop | Twice | Join | Whole

mishaps = st.builds(Flip, st.integers(0, 1 << 16)) | st.sampled_from([Drop(), Twice(), Join(), Whole()])


class BadLine:
    """A transport in front of another: frame n in a direction meets mishap n; when they are used up, none."""

    def __init__(self, inner: Transport, to_target: Sequence[Mishap] = (), from_target: Sequence[Mishap] = ()) -> None:
        self._inner = inner
        self._to_target = list(to_target)
        self._from_target = list(from_target)
        self._pending = b""

    def write(self, data: bytes, deadline: float | None = None) -> None:
        self._inner.write(_suffer(data, self._to_target), deadline)

    def read(self, max_bytes: int, deadline: float) -> bytes:
        while True:
            data = self._inner.read(max_bytes, deadline)
            if not data:
                return b""
            *frames, self._pending = _cut(self._pending + data)
            damaged = b"".join(_suffer(frame, self._from_target) for frame in frames)
            if damaged:
                return damaged


def _suffer(frame: bytes, mishaps: list[Mishap]) -> bytes:
    mishap = mishaps.pop(0) if mishaps else Whole()
    if isinstance(mishap, Drop):
        return b""
    if isinstance(mishap, Twice):
        return frame + frame
    if isinstance(mishap, Join):
        return frame.strip(b"\0")
    if isinstance(mishap, Flip):
        damaged = bytearray(frame)
        damaged[mishap.place // 8 % len(frame)] ^= 1 << mishap.place % 8
        return bytes(damaged)
    return frame


def _cut(data: bytes) -> list[bytes]:
    """Whole frames, each with its zeros, and what is left of the last one."""
    frames = []
    while (end := data.find(b"\0", 1)) > 0:
        frames.append(data[: end + 1])
        data = data[end + 1 :]
    return [*frames, data]
