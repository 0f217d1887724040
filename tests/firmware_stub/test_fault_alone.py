"""The two files of the fault module, compiled alone for every kind of Cortex-M; and what they cost."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.board import load_board
from harness.firmware import MAP, build
from harness.resources import firmware_stub_dir
from harness.toolchain.link_map import placed
from harness.toolchain.stack import call_graph
from tests import sample_model

MODULE = firmware_stub_dir() / "fault" / "layerproof_fault.c"
CPUS = (
    *("cortex-m0", "cortex-m0plus", "cortex-m1", "cortex-m3", "cortex-m4 -mfloat-abi=soft"),
    *("cortex-m4 -mfloat-abi=hard", "cortex-m7 -mfloat-abi=softfp", "cortex-m23", "cortex-m23 -mcmse"),
    *("cortex-m33 -mfloat-abi=hard", "cortex-m33+nodsp -mcmse", "cortex-m35p -mfloat-abi=hard"),
    *("cortex-m55 -mfloat-abi=hard", "cortex-m55+nofp -mfloat-abi=soft"),
)
LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os")
STRICT = (
    *("-std=gnu11", "-ffreestanding", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Wundef"),
    *("-Wmissing-prototypes", "-Wstrict-prototypes", "-Wcast-align", "-Werror", "-Wa,--fatal-warnings"),
)
BOARDS = tuple(f"qemu_cortex_{core}" for core in ("m0", "m3", "m4", "m7", "m33", "m55"))

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"
)


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiled(cpu: str, level: str, folder: Path, *flags: str) -> Path:
    made = folder / "module.o"
    run("arm-none-eabi-gcc", *f"-mcpu={cpu}".split(), "-mthumb", level, *STRICT, *flags, "-c", MODULE, "-o", made)
    return made


@pytest.mark.parametrize("level", ["-O0", "-O3", "-Os"])
@pytest.mark.parametrize("cpu", CPUS)
def test_it_compiles_alone_and_needs_nothing(cpu: str, level: str, tmp_path: Path) -> None:
    """No library is called: it may be what crashed. No compiler-made code touches the registers that are evidence."""
    made = compiled(cpu, level, tmp_path)
    undefined = [line.split() for line in run("arm-none-eabi-nm", "-u", made).splitlines()]
    assert {kind for kind, _ in undefined} <= {"w"}
    assert {name for _, name in undefined} == {"_estack", "__StackLimit", "layerproof_build_id"}
    listing = run("arm-none-eabi-objdump", "-d", "--no-show-raw-insn", made)
    floats = re.findall(r"\t(v\w+(?:\.\w+)*)\t", listing)
    with_floats = "hard" in cpu or "softfp" in cpu
    assert sorted(floats) == (["vmrs", "vstmia"] if with_floats and "m55" not in cpu else ["vmrs", "vmrs", "vstmia"]
                              if with_floats else [])  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        "-DLAYERPROOF_FAULT_KEEP_MPU -DLAYERPROOF_FAULT_LOOP -DLAYERPROOF_FAULT_NO_HANDLERS",
        "-DLAYERPROOF_FAULT_LAYER=running_layer -DLAYERPROOF_FAULT_STACK_TOP=__StackTop",
        "-DLAYERPROOF_FAULT_STACK_BYTES=2048 -DLAYERPROOF_FAULT_MEMORY_BYTES=64",
        '-DLAYERPROOF_FAULT_SECTION=".retained"',
    ],
)
def test_settings(settings: str, tmp_path: Path) -> None:
    made = compiled("cortex-m3", "-Os", tmp_path, *settings.split())
    symbols, sections = run("arm-none-eabi-nm", made), run("arm-none-eabi-objdump", "-h", made)
    assert ("HardFault_Handler" in symbols) == ("NO_HANDLERS" not in settings)
    assert ("U running_layer" in symbols) == ("running_layer" in settings)
    assert (".retained.layerproof_record" in sections) == (".retained" in settings)
    stack = next(line.split()[2] for line in sections.splitlines() if "layerproof_stack" in line)
    assert int(stack, 16) == (2048 if "2048" in settings else 640)


def test_the_header_is_c_plus_plus_too(tmp_path: Path) -> None:
    source = tmp_path / "user.cpp"
    source.write_text('#include "layerproof_fault.h"\nvoid start() { layerproof_fault_start(); }\n')
    run("arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-Wall", "-Wextra", "-Werror", "-ffreestanding",
        f"-I{MODULE.parent}", "-fsyntax-only", source)  # fmt: skip


SUFFICES = 512  # bytes of stack, as the header says
FRAME = 36  # bytes of a basic exception frame and the word that may align it
ENTRY = 48  # bytes that the entry pushes


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m3", "cortex-m33 -mfloat-abi=hard", "cortex-m55 -mfloat-abi=hard"])
def test_its_stack_suffices(cpu: str, level: str, tmp_path: Path) -> None:
    """The deepest there is: a probe that faults, or all of it in the handler's place."""
    compiled(cpu, level, tmp_path, "-fcallgraph-info=su")
    graph = call_graph([(tmp_path / "module.ci").read_text()])
    in_place = graph.depth("layerproof_fault_taken")
    below = graph.depth("layerproof_fault_postmortem")
    graph.calls["layerproof_fault_taken"].remove("layerproof_fault_postmortem")
    handler = graph.depth("layerproof_fault_taken")
    assert in_place is not None
    assert below is not None
    assert handler is not None
    assert 100 < below + FRAME + ENTRY + handler <= SUFFICES
    assert in_place + ENTRY <= SUFFICES


@pytest.mark.parametrize("name", BOARDS)
def test_what_it_costs_in_the_harness_firmware(name: str, tmp_path: Path) -> None:
    board = load_board(name)
    firmware = build(sample_model.sample(board.cpu.core), board, cache=tmp_path)
    parts = [
        part
        for part in placed(firmware.build_dir / MAP)
        if part.file.endswith(("fault/layerproof_fault.o", "cortexm/fault.o")) and not part.section.startswith(".debug")
    ]
    code = sum(part.bytes for part in parts if part.section.startswith((".text", ".rodata", ".data")))
    ram = {part.section: part.bytes for part in parts if part.section.startswith((".bss", ".noinit", ".data"))}
    record = ram.pop(".noinit.layerproof_record")
    assert 1000 < code < 3 * 1024
    assert board.stub.fault_stack_bytes < sum(ram.values()) < 1024
    assert record == 368 + board.stub.record_stack_bytes
    print(f"{name}: {code} bytes of flash, {sum(ram.values())} of RAM beside {record} of record")
