"""Firmware is built once, and of a change only what depends on it is built anew."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from harness.board import load_board
from harness.compiler.csource import CSource
from harness.errors import ToolFailed
from harness.firmware import Firmware, build
from harness.toolchain import gcc
from tests import sample_model
from tests.firmware.conftest import M3, replaced

pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")


def test_the_second_build_runs_no_compiler(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(sample_model.sample(), load_board(M3), cache=cache)

    def refuse(*arguments: object) -> None:
        raise AssertionError("the compiler ran")

    monkeypatch.setattr(gcc.Gcc, "run", refuse)
    assert build(sample_model.sample(), load_board(M3), cache=cache).elf == first.elf


def test_a_changed_layer_is_the_only_file_compiled_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(sample_model.sample(), load_board(M3), cache=cache)
    compiled = []
    run = gcc.Gcc.run

    def note(self: gcc.Gcc, arguments: list[str], folder: Path, file: str, *made: object) -> None:
        compiled.append(file)
        run(self, arguments, folder, file, *made)

    monkeypatch.setattr(gcc.Gcc, "run", note)
    body = "    output[0] = input[0];\n"
    progress = []
    build(
        sample_model.with_kernel(sample_model.sample(), 1, body), load_board(M3), cache=cache,
        progress=lambda done, total: progress.append((done, total)),
    )  # fmt: skip
    assert compiled == ["layers/001_double_1.c", "the firmware"]
    assert [done for done, _ in progress] == list(range(1, progress[-1][1] + 1))


def _compiled_for(
    changes: dict[str, str], source: CSource, cache: Path, monkeypatch: pytest.MonkeyPatch, *, stub: bool = False
) -> set[str]:
    """The files that are compiled anew after these changes; without `stub` those of the model."""
    build(source, load_board(M3), cache=cache)
    compiled = set()
    run = gcc.Gcc.run

    def note(self: gcc.Gcc, arguments: list[str], folder: Path, file: str, *made: object) -> None:
        compiled.add(file)
        run(self, arguments, folder, file, *made)

    monkeypatch.setattr(gcc.Gcc, "run", note)
    build(replaced(source, changes), load_board(M3), cache=cache)
    return {path for path in compiled if path != "the firmware" and (stub or not path.startswith("firmware_stub/"))}


@pytest.mark.parametrize(
    "include",
    ['#include "map.h"', "  #  include <map.h>", '#include "./map.h" // twice', '#/**/include "map.h"',
     '#define MAP "map.h"\n#include MAP', "#inc\\\nlude <map.h>"],
)  # fmt: skip
def test_a_changed_header_compiles_what_includes_it_anew(
    include: str, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directly or through another; and what includes headers in a way that is not understood is compiled anew."""
    source = sample_model.sample()
    source = replaced(
        source,
        {
            "map.h": "/* first */\n",
            "outer.h": f"{include}\n",
            "model.c": f'#include "outer.h"\n{source.files["model.c"]}',
            "layers/002_sum_2.c": f"{include}\n{source.files['layers/002_sum_2.c']}",
        },
    )
    compiled = _compiled_for({"map.h": "/* second */\n"}, source, shared_cache, monkeypatch)
    assert compiled == {"model.c", "layers/002_sum_2.c"}


def test_what_is_included_is_found_wherever_it_lies_and_whatever_it_is_called(
    shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the file, in its parent, in a file of another kind, and in headers that include each other."""
    source = sample_model.sample()
    layers = {path: text for path, text in source.files.items() if path.startswith("layers/")}
    first, second, _ = sorted(layers)
    source = replaced(
        source,
        {
            "map.h": "/* first */\n",
            "parts.inc": '#include "map.h"\n',
            "one.h": '#ifndef ONE_H\n#define ONE_H\n#include "two.h"\n#endif\n',
            "two.h": '#ifndef TWO_H\n#define TWO_H\n#include "one.h"\n#include "map.h"\n#endif\n',
            "layers/near.h": '#include "../map.h"\n',
            first: f'#include "near.h"\n{layers[first]}',
            second: f'#include "../one.h"\n{layers[second]}',
            "model.c": f'#include "parts.inc"\n{source.files["model.c"]}',
        },
    )
    compiled = _compiled_for({"map.h": "/* second */\n"}, source, shared_cache, monkeypatch)
    assert compiled == {"model.c", first, second}


def test_the_stub_is_compiled_anew_where_it_includes_the_models_headers(
    shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sample_model.sample()
    text = source.files["model_layers.h"]
    compiled = _compiled_for({"model_layers.h": f"{text}/* changed */\n"}, source, shared_cache, monkeypatch, stub=True)
    assert compiled == {"model_layers.c", "firmware_stub/model_glue.c"}


@pytest.mark.parametrize(
    "change",
    [
        lambda source: replaced(source, {"weights.h": source.files["weights.h"] + "\n"}),
        lambda source: replaced(source, {"model.h": source.files["model.h"].replace("64", "80")}),
        lambda source: replaced(source, {"weights.c": source.files["weights.c"].replace("16}", "17}")}),
    ],
    ids=["header", "arena", "weights"],
)
def test_whatever_goes_in_makes_another_firmware(change: object, shared_cache: Path, firmware: Firmware) -> None:
    changed = change(sample_model.sample())  # type: ignore[operator]
    assert build(changed, load_board(M3), cache=shared_cache).build_dir != firmware.build_dir


def test_another_board_makes_another_firmware(shared_cache: Path, firmware: Firmware) -> None:
    board = load_board(M3)
    other = board.model_copy(update={"stub": board.stub.model_copy(update={"stack_bytes": 8192})})
    assert build(sample_model.sample(), other, cache=shared_cache).build_id != firmware.build_id


def test_an_unfinished_entry_is_built_again(cache: Path) -> None:
    first = build(sample_model.sample(), load_board(M3), cache=cache)
    elf = first.elf.read_bytes()
    (first.build_dir / "firmware.json").write_text("{")
    first.elf.unlink()
    assert build(sample_model.sample(), load_board(M3), cache=cache).elf.read_bytes() == elf


def test_many_builds_at_once_make_one(cache: Path) -> None:
    built: list[Firmware] = []
    threads = [
        threading.Thread(target=lambda: built.append(build(sample_model.sample(), load_board(M3), cache=cache)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 4
    assert len(set(map(repr, built))) == 1
    assert list((cache / "work").iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x7fELF and no more"])
def test_a_damaged_cache_mends_itself(damage: bytes, cache: Path) -> None:
    """As a power failure leaves it: files that were written last may be empty or full of something else."""
    first = build(sample_model.sample(), load_board(M3), cache=cache)
    elf = first.elf.read_bytes()
    first.elf.write_bytes(damage[:7])
    (first.build_dir / "firmware.json").unlink()
    for made in cache.glob("objects/*/*.o"):
        made.write_bytes(damage)
    if damage.startswith(b"\x7fELF"):  # only the linker can tell
        with pytest.raises(ToolFailed):
            build(sample_model.sample(), load_board(M3), cache=cache)
    assert build(sample_model.sample(), load_board(M3), cache=cache).elf.read_bytes() == elf
