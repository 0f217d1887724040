"""Caches for the firmware of the toy model, and one that many tests only look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.board import load_board
from harness.compiler.csource import CSource
from harness.firmware import Firmware, build
from tests import sample_model

M3 = "qemu_cortex_m3"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def firmware(shared_cache: Path) -> Firmware:
    return build(sample_model.sample(), load_board(M3), cache=shared_cache)


def replaced(source: CSource, files: Mapping[str, str]) -> CSource:
    return replace(source, files={**source.files, **files})
