"""Takes a TinyML model from file to microcontroller and proves, layer by layer, that what runs there is right.

    harness.verify(path, board) -> Report                    the whole way, and a verdict
    harness.compile_model(path, target) -> CSource           model file to C
    harness.build(source, board) -> Firmware                 C to an ELF for a board
    harness.open_session(firmware, board) -> Session         the firmware, running, with its tensors in reach

Each is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.compiler import compile_model
    from harness.firmware import build
    from harness.session import open_session
    from harness.verification import verify

__all__ = ["build", "compile_model", "open_session", "verify"]

_HOMES = {
    "build": "harness.firmware",
    "compile_model": "harness.compiler",
    "open_session": "harness.session",
    "verify": "harness.verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
