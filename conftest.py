"""What the project's own tests need; the plugin that users get is `harness.pytest_plugin`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("layerproof", deadline=None)
settings.load_profile("layerproof")

pytest_plugins = ["pytester"]

# Folders whose tests build no firmware and start no emulator, but for files that call themselves slow: all of them
# together take less than a minute.
_FAST = {"compiler", "oracle", "rpc", "report"}
_SHARED_MODELS = Path(__file__).resolve().parent.parent / "shared" / "models"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write generated text that is compared anew")


def pytest_configure(config: pytest.Config) -> None:
    """Lets the processes that tests start have the signals of a terminal.

    `nohup`, or `&` in a script, has some ignored, which a process passes on to those it starts. One that is handled it
    does not pass on.
    """
    for name in ("SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks every test outside the fast folders `slow`."""
    tests = config.rootpath / "tests"
    for item in items:
        folder = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        if folder not in _FAST:
            item.add_marker("slow")


@pytest.fixture(scope="session")
def shared_model() -> Callable[[str], Path]:
    """shared_model(name) -> path of that real-world model; skips the test where the models are not."""
    folder = Path(os.environ.get("LAYERPROOF_MODELS") or _SHARED_MODELS)

    def find(name: str) -> Path:
        path = folder / (name if name.endswith(".tflite") else f"{name}.tflite")
        if not path.is_file():
            pytest.skip(f"{path.name} is not in {folder}: put it there or name another folder in LAYERPROOF_MODELS")
        return path

    return find
