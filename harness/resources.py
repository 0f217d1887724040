"""Where the files that are not Python live: in the wheel under `harness/_data`, in a checkout beside the package."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_dir

from harness.errors import InfrastructureError

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "_data", _PACKAGE.parent)


def boards_dir() -> Path:
    """The folder of the boards' TOML files."""
    return _folder("boards", "*.toml")


def firmware_stub_dir() -> Path:
    """The folder of the firmware stub: startup, fault entry, UART drivers, RPC server, linker template."""
    return _folder("firmware_stub", "*.c")


def models_dir() -> Path:
    """The folder of the models that come with the harness."""
    return _folder("models", "*.tflite")


def prune(folder: Path, limit: int) -> None:
    """Deletes the files of a cache folder that were used longest ago, until the rest take at most `limit` bytes."""
    entries = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in folder.iterdir()), reverse=True)
    total = 0
    for _, size, path in entries:
        total += size
        if total > limit:
            path.unlink(missing_ok=True)


def _folder(name: str, pattern: str) -> Path:
    """First root whose folder `name` has a file matching `pattern`, at any depth."""
    for root in _ROOTS:
        folder = root / name
        if next(folder.rglob(pattern), None) is not None:
            return folder
    tried = " nor in ".join(str(root / name) for root in _ROOTS)
    raise InfrastructureError(
        f"the harness' own {name} are missing: no {pattern} in {tried}",
        hint="The installation is incomplete; reinstall the package layerproof.",
    )


def cache_dir() -> Path:
    """Where builds, proofs and answers are kept for the next run: `layerproof` in the user's cache (XDG_CACHE_HOME)."""
    return Path(user_cache_dir("layerproof"))
