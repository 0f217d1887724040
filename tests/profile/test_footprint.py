"""Bytes by layer against the symbols of the image and the sum of its parts."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.board import load_board
from harness.compiler import compile_model
from harness.compiler.csource import Placement
from harness.debug.image import Image
from harness.firmware import MAP, Firmware, build
from harness.profile.footprint import arena_bytes, footprints, model_code
from tests.edited_sources import four_layers

pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Firmware:
    board = load_board("qemu_cortex_m4")
    return build(compile_model(four_layers(tmp_path_factory.mktemp("m") / "four.tflite"), board.target), board)


def test_code_and_constants_are_those_of_the_symbols(firmware: Firmware) -> None:
    image = Image(firmware.elf)
    for layer, found in zip(firmware.source.layers, footprints(firmware), strict=True):
        symbol = image.symbol(layer.name)
        assert symbol is not None
        assert found.flash_code == (symbol.size + 3) // 4 * 4  # sections are aligned
        constants = sum(o.size for o in image.objects if o.name.startswith(f"{layer.name}_"))
        assert found.flash_constants >= constants
    assert sum(found.flash_constants for found in footprints(firmware)) == firmware.source.constant_bytes


def test_all_of_it_is_part_of_the_whole(firmware: Firmware) -> None:
    found = footprints(firmware)
    assert sum(one.flash for one in found) < firmware.flash_bytes
    assert max(one.arena for one in found) <= firmware.source.arena_bytes
    assert all(one.stack is not None and one.stack <= firmware.stack_bytes for one in found)
    assert max(one.stack or 0 for one in found) > 0


def test_bytes_that_tensors_share_count_once(firmware: Firmware) -> None:
    source = firmware.source
    layer = source.layers[0]
    (x,), (y,) = layer.inputs, layer.outputs
    for place, wanted in ((Placement(100, 10), 20), (Placement(105, 10), 15), (Placement(102, 3), 10)):
        moved = replace(source, placements={x: Placement(100, 10) if wanted != 20 else Placement(0, 10), y: place})
        assert arena_bytes(moved, layer) == wanted


def test_constants_of_layers_whose_names_begin_alike(firmware: Firmware, tmp_path: Path) -> None:
    """weights.c has the constants of all layers; conv2d_1 and conv2d_10 are two of them."""
    first, second, *_ = firmware.source.layers
    layers = (replace(first, index=0, name="conv2d_1"), replace(second, index=1, name="conv2d_10"))
    (tmp_path / MAP).write_text(
        "Discarded input sections\n"
        " .rodata.conv2d_1_old\n                0x00000000      0x999 objects/weights.o\n"
        "Linker script and memory map\n"
        " .rodata.conv2d_10_weights\n                0x00001000       0x40 objects/weights.o\n"
        " .rodata.conv2d_1_bias\n                0x00001040        0x8 objects/weights.o\n"
        " .debug_info    0x00000000       0x77 objects/weights.o\n"
    )
    found = footprints(replace(firmware, source=replace(firmware.source, layers=layers), build_dir=tmp_path))
    assert [one.flash_constants for one in found] == [8, 64]


def test_code_of_the_model_is_that_of_its_functions(firmware: Firmware) -> None:
    """Every function that the generated files define, as the symbols have it; sections end on multiples of 4."""
    image = Image(firmware.elf)
    text = "".join(body for name, body in firmware.source.files.items() if name.endswith(".c"))
    names = set(re.findall(r"^(?:KERNEL )?void (\w+)\(", text, re.MULTILINE))
    wanted = sum((s.size + 3) // 4 * 4 for s in image.functions if s.name in names)
    found = model_code(firmware)
    assert "model_run" in names
    assert found.own == wanted
    assert found.own + found.library < firmware.flash_code_bytes
    assert found.own > sum(one.flash_code for one in footprints(firmware))  # and model_run, and shared kernels


def test_nothing_but_the_arena_is_known_of_a_native_build(tmp_path: Path) -> None:
    board = load_board("host")
    native = build(compile_model(four_layers(tmp_path / "four.tflite"), board.target), board)
    assert all((one.flash, one.stack) == (0, 0) for one in footprints(native))
    assert all(one.arena > 0 for one in footprints(native))
