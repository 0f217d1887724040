"""Finished work on disk, found again by what it was made from.

    <root>/objects/ab/abcdef….o, .ci        one compiled file
    <root>/firmware/abcdef…/                one linked firmware with its sources

A name is the SHA-256 of everything that went in, so an entry never changes and nothing is ever out of date. Entries are
made elsewhere and moved into place whole. What was not used for a month is deleted, unfinished work after a day.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from harness.errors import InfrastructureError
from harness.resources import cache_dir

UNUSED_SECONDS = 30 * 24 * 3600.0
SWEEP_SECONDS = 24 * 3600.0  # between two looks for what is unused


def digest(parts: Iterable[str | bytes]) -> str:
    """SHA-256 of `parts`, each with its length in front, so that no two lists of parts look alike."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


class Store:
    """The cache under `root`; by default the user's. InfrastructureError: it cannot be written."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = cache_dir() if root is None else root
        try:
            for name in ("objects", "firmware", "locks", "work"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InfrastructureError(
                f"cannot write the cache: {error.strerror}",
                where=str(self.root),
                hint="XDG_CACHE_HOME chooses another place.",
            ) from error

    def object(self, key: str, suffix: str) -> Path:
        """Where the compiled file `key` is or will be."""
        return self.root / "objects" / key[:2] / f"{key}{suffix}"

    def firmware(self, key: str) -> Path:
        """The folder where the firmware `key` is or will be."""
        return self.root / "firmware" / key

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold the right to make `key`: others who want it wait, and then find it made.

        Keys share 256 locks, so that lock files do not pile up and never need deleting.
        """
        with FileLock(self.root / "locks" / key[:2]):
            yield

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A new folder to work in, on the same file system; gone afterwards unless it was moved."""
        folder = Path(tempfile.mkdtemp(dir=self.root / "work"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish_file(self, made: Path, place: Path) -> None:
        """Move a finished file into place; whoever was faster made the same."""
        place.parent.mkdir(exist_ok=True)
        os.replace(made, place)

    def publish_folder(self, made: Path, place: Path) -> None:
        """Move a finished folder into place. What stands there is broken, or it would have been used."""
        shutil.rmtree(place, ignore_errors=True)
        os.replace(made, place)

    def forget(self, *entries: Path) -> None:
        """Remove files, so that they are made anew when they are needed."""
        for entry in entries:
            entry.unlink(missing_ok=True)

    def used(self, entry: Path) -> None:
        """Note that an entry is still of use."""
        os.utime(entry)

    def sweep(self, now: Callable[[], float] = time.time) -> None:
        """Delete what was not used for a month; at most once a day."""
        marker = self.root / "swept"
        if marker.exists() and now() - marker.stat().st_mtime < SWEEP_SECONDS:
            return
        marker.touch()
        os.utime(marker, (now(), now()))
        for entry in (*self.root.glob("objects/*/*"), *self.root.glob("firmware/*"), *self.root.glob("work/*")):
            # what a killed harness left of its work is of no use to anybody
            limit = SWEEP_SECONDS if entry.parent.name == "work" else UNUSED_SECONDS
            try:
                if now() - entry.stat().st_mtime < limit:
                    continue
            except FileNotFoundError:
                continue  # another process sweeps, too
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
