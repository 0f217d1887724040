"""A directory of C sources: what `harness compile -o DIR` leaves and `harness verify --sources DIR` takes back.

Kernels in it are meant to be edited by hand, so nothing that was edited is ever overwritten unasked: MANIFEST remembers
what was written, and a file that is neither that nor what would be written now is somebody's work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from harness.compiler.csource import CSource
from harness.errors import BadInput

MANIFEST = ".layerproof.json"  # {"files": {relative path: SHA-256 of what was written}}
_LISTED = 3  # files named in a message


def write(source: CSource, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write all files of `source` below `folder`, made if need be; the paths written, in order of their names.

    Files of an earlier compilation that no longer exist are removed. BadInput when files would be lost that were edited
    since, or that something else wrote, unless `force`; and when the folder cannot be written.
    """
    with writing(folder):
        earlier = _manifest(folder)
        theirs = [name for name in sorted({*source.files, *earlier}) if _is_theirs(folder, name, source.files, earlier)]
        if theirs and not force:
            more = " …" if len(theirs) > _LISTED else ""
            raise BadInput(
                f"would overwrite what was not generated or was edited since: {', '.join(theirs[:_LISTED])}{more}",
                where=str(folder),
                hint="choose another folder, or give --force to lose these edits",
            )
        for name in earlier.keys() - source.files.keys():
            _inside(folder, name).unlink(missing_ok=True)
        paths = []
        for name, text in sorted(source.files.items()):
            path = _inside(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            _keep_inside(folder, path)
            path.write_text(text, encoding="utf-8")
            paths.append(path)
        hashes = {name: _hash(text.encode()) for name, text in sorted(source.files.items())}
        _keep_inside(folder, folder / MANIFEST)
        (folder / MANIFEST).write_text(json.dumps({"files": hashes}, indent=1) + "\n", encoding="utf-8")
    return tuple(paths)


def _is_theirs(folder: Path, name: str, files: Mapping[str, str], earlier: Mapping[str, str]) -> bool:
    path = _inside(folder, name)
    if not path.exists():
        return False
    found = _hash(path.read_bytes())
    return found != earlier.get(name) and (name not in files or found != _hash(files[name].encode()))


def _manifest(folder: Path) -> dict[str, str]:
    """What was written here before; empty where nothing was, or where the manifest cannot be made sense of."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return {}
    if not isinstance(files, dict):
        return {}
    return {name: digest for name, digest in files.items() if isinstance(digest, str) and _is_inside(name)}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts != ()


def _inside(folder: Path, name: str) -> Path:
    if not _is_inside(name):
        raise BadInput(f"the file name {name!r} leads out of the folder", where=str(folder))
    return folder.joinpath(*PurePosixPath(name).parts)


def _keep_inside(folder: Path, path: Path) -> None:
    """Replace a link in the place of a file; BadInput for a link in the place of a folder that leads elsewhere."""
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise BadInput(f"{path.parent.name} is a link that leads out of the folder", where=str(folder))
    if path.is_symlink():
        path.unlink()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """With `folder` there, made if need be; BadInput where the file system refuses something."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        where = str(error.filename or folder)
        raise BadInput(f"cannot write there: {error.strerror}", where=where, hint="name another folder") from error
