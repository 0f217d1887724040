"""Seeded faults change one line of one layer, and the C stays as clean as it was."""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness import seeding
from harness.board import core_target
from harness.compiler import compile_model
from harness.compiler.csource import CSource, Layer
from harness.compiler.export import c_directory
from harness.errors import BadInput
from harness.resources import models_dir

CONVOLUTIONS = range(7)  # layers of the bundled model whose output has a zero point other than 0


@pytest.fixture(scope="module")
def source() -> CSource:
    return compile_model(models_dir() / "keywords_int8.tflite", core_target("cortex-m3"), check=False)


def changes(source: CSource, edit: seeding.Edit) -> list[str]:
    before, after = source.files[edit.layer.file], edit.source.files[edit.layer.file]
    assert {name for name in source.files if source.files[name] != edit.source.files[name]} == {edit.layer.file}
    delta = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in delta if line.startswith(("- ", "+ "))]


@pytest.mark.parametrize("index", CONVOLUTIONS)
def test_miscompile_adds_one_to_the_zero_point(source: CSource, index: int) -> None:
    edit = seeding.miscompile(source, source.layers[index])
    removed, added = changes(source, edit)
    assert (removed[2:], added[2:]) == (edit.before, edit.after)
    (more,) = re.findall(r"addend_\w+ \+ (\d+)\)", added)
    (shift,) = re.findall(r"nn_saturate_i8_asr_(\d+)", added)
    assert int(more) == 1 << int(shift)  # one more behind the shift
    assert removed[2:] == added[2:].replace(f" + {more})", ")")
    assert edit.source.files[edit.layer.file].splitlines()[edit.line - 1] == edit.after


@pytest.mark.parametrize("index", range(10))
def test_crash_inserts_one_line(source: CSource, index: int) -> None:
    edit = seeding.crash(source, source.layers[index])
    (added,) = changes(source, edit)
    assert "0x60000000" in added
    assert edit.source.files[edit.layer.file].splitlines()[edit.line - 1] == added[2:] == edit.after


def test_the_number_is_not_taken_from_an_index(source: CSource) -> None:
    layer = source.layers[2]
    text = (
        f"void {layer.name}(const int8_t *restrict input, int8_t *restrict output)\n{{\n    output[i - 128] = x;\n}}\n"
    )
    with pytest.raises(BadInput, match="zero point 128"):
        seeding.miscompile(replace(source, files={**source.files, layer.file: text}), layer)


@pytest.mark.parametrize("seed", [seeding.miscompile, seeding.crash])
def test_a_layer_without_a_place_is_refused(source: CSource, seed: Callable[[CSource, Layer], seeding.Edit]) -> None:
    layer = source.layers[2]
    with pytest.raises(BadInput, match="output"):
        seed(replace(source, files={**source.files, layer.file: "/* rewritten by hand */\n"}), layer)


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
@pytest.mark.parametrize("seed", [seeding.miscompile, seeding.crash])
def test_edited_c_is_clean(source: CSource, tmp_path: Path, seed: Callable[[CSource, Layer], seeding.Edit]) -> None:
    edit = seed(source, source.layers[3])
    c_directory.write(edit.source, tmp_path)
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wconversion"]
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-std=c11", *warnings, "-fsyntax-only", "-I."]
    subprocess.run([*command, edit.layer.file], cwd=tmp_path, check=True)
