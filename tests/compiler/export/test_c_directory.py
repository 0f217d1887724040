from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.compiler.export.c_directory import MANIFEST, write
from harness.errors import BadInput
from tests.sample_model import sample, with_kernel

KERNEL = "layers/001_double_1.c"


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder).as_posix()): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }


def test_every_file_arrives(tmp_path: Path) -> None:
    source = sample()
    paths = write(source, tmp_path / "new" / "folder")
    assert contents(tmp_path / "new" / "folder") == dict(source.files)
    assert len(paths) == len(source.files)


def test_writing_twice_and_writing_a_later_version_need_no_force(tmp_path: Path) -> None:
    write(sample(), tmp_path)
    write(sample(), tmp_path)
    later = with_kernel(sample(), 1, "    output[0] = input[0];\n")
    write(later, tmp_path)
    assert contents(tmp_path) == dict(later.files)


def test_an_edited_kernel_is_not_lost(tmp_path: Path) -> None:
    write(sample(), tmp_path)
    (tmp_path / KERNEL).write_text("hand-tuned")
    with pytest.raises(BadInput, match=KERNEL):
        write(sample(), tmp_path)
    assert (tmp_path / KERNEL).read_text() == "hand-tuned"
    write(sample(), tmp_path, force=True)
    assert contents(tmp_path) == dict(sample().files)


def test_files_of_somebody_else_are_not_lost(tmp_path: Path) -> None:
    (tmp_path / "model.c").write_text("int main;")
    with pytest.raises(BadInput, match=r"model\.c"):
        write(sample(), tmp_path)


def test_layers_that_are_gone_leave_no_file_behind(tmp_path: Path) -> None:
    write(sample(), tmp_path)
    shorter = replace(sample(), files={name: text for name, text in sample().files.items() if name != KERNEL})
    (tmp_path / "notes.txt").write_text("mine")
    write(shorter, tmp_path)
    assert contents(tmp_path) == {**shorter.files, "notes.txt": "mine"}


def test_an_edited_layer_that_is_gone_is_not_removed(tmp_path: Path) -> None:
    write(sample(), tmp_path)
    (tmp_path / KERNEL).write_text("hand-tuned")
    shorter = replace(sample(), files={name: text for name, text in sample().files.items() if name != KERNEL})
    with pytest.raises(BadInput, match=KERNEL):
        write(shorter, tmp_path)


@pytest.mark.parametrize("name", ["../outside.c", "/tmp/outside.c", "layers/../../outside.c"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="leads out"):
        write(replace(sample(), files={name: "x"}), tmp_path / "inside")
    assert not (tmp_path / "outside.c").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', json.dumps({"files": {"../outside": "x", "a": 1}})])
def test_a_manifest_that_makes_no_sense_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside").write_text("keep")
    (inside / MANIFEST).write_text(text)
    write(sample(), inside)
    assert (tmp_path / "outside").read_text() == "keep"


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("")
    with pytest.raises(BadInput, match="taken: cannot write there"):
        write(sample(), path)


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside.c"
    inside.mkdir()
    outside.write_text("keep")
    for name in ("model.c", MANIFEST):
        (inside / name).symlink_to(outside)
    with pytest.raises(BadInput, match=r"model\.c"):
        write(sample(), inside)
    write(sample(), inside, force=True)
    assert outside.read_text() == "keep"
    assert contents(inside) == dict(sample().files)


def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "layers").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="layers is a link that leads out of the folder"):
        write(sample(), tmp_path / "inside", force=True)
    assert list((tmp_path / "elsewhere").iterdir()) == []
