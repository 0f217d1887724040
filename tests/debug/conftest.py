"""The crash programs: built and run once per core and optimisation level, when a test first asks for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from harness.debug.image import Image
from tests.debug import lab


@dataclass(frozen=True)
class Crashes:
    """The program of one core and level, and all it left behind."""

    core: lab.Core
    elf: Path
    found: tuple[lab.Crashed, ...]

    @cached_property
    def image(self) -> Image:
        """The program, read once for all that look at its crashes."""
        return Image(self.elf)

    def of(self, name: str, on_process_stack: bool = False) -> lab.Crashed:
        return next(c for c in self.found if c.scenario.name == name and c.on_process_stack is on_process_stack)


@pytest.fixture(scope="session")
def toolchain() -> None:
    """Skips where the cross compiler or the emulator is missing."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


@pytest.fixture(scope="session")
def program(toolchain: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`program("m3", "-O2")`: the linked crash programs."""
    built: dict[tuple[str, str, int], Path] = {}

    def get(core: str, level: str, dwarf: int = 4) -> Path:
        key = core, level, dwarf
        if key not in built:
            built[key] = lab.build(lab.CORES[core], level, tmp_path_factory.mktemp("crash_program"), dwarf=dwarf)
        return built[key]

    return get


@pytest.fixture(scope="session")
def captured(toolchain: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Crashes]:
    """As `crashes`, captured by the fault module that everybody can add to a firmware."""
    ran: dict[tuple[str, str], Crashes] = {}

    def get(core: str, level: str) -> Crashes:
        key = core, level
        if key not in ran:
            folder = tmp_path_factory.mktemp("captured")
            elf = lab.build(lab.CORES[core], level, folder, module=True)
            ran[key] = Crashes(lab.CORES[core], elf, tuple(lab.run_with_module(lab.CORES[core], elf, folder)))
        return ran[key]

    return get


@pytest.fixture(scope="session")
def crashes(program: Callable[..., Path]) -> Callable[[str, str], Crashes]:
    """`crashes("m3", "-O2")`: what every scenario left behind."""
    ran: dict[tuple[str, str], Crashes] = {}

    def get(core: str, level: str) -> Crashes:
        key = core, level
        if key not in ran:
            elf = program(core, level)
            ran[key] = Crashes(lab.CORES[core], elf, tuple(lab.run(lab.CORES[core], elf, elf.parent)))
        return ran[key]

    return get
