"""Where the user can open a source file that debug information names by the path it was compiled under."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath


class SourceFiles:
    """Finds files in `search`, the first folder first: the user's own copies, then the folder of the build.

    A file is the one whose path ends like the compiled one, the longest such end first. One that is in none of the
    folders keeps its compiled path. Answers are kept.
    """

    def __init__(self, search: Sequence[Path] = ()) -> None:
        self._search = tuple(search)
        self._known: dict[str, str] = {}

    def openable(self, compiled: str) -> str:
        if compiled not in self._known:
            self._known[compiled] = self._found(compiled)
        return self._known[compiled]

    def _found(self, compiled: str) -> str:
        parts = [part for part in PurePath(compiled).parts if part not in ("/", "..")]
        for folder in self._search:
            for first in range(len(parts)):
                candidate = folder.joinpath(*parts[first:])
                if candidate.is_file():
                    return str(candidate)
        return compiled
