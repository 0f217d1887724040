"""A bundle holds all that a run was, in a folder or in one file; and no file that pretends to be one does any harm."""

from __future__ import annotations

import json
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.board import load_board
from harness.debug.gdb.core_file import read_core
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.errors import BadInput
from harness.rpc.fault_record import FaultRecord
from harness.verification import bundle as bundles
from harness.verification import verify
from harness.verification.bundle import opened, pack, unpack
from tests.edited_sources import four_layers, insert, sources
from tests.verification.kept import Kept, keep_run

BOARD = "qemu_cortex_m3"


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return keep_run("store", BOARD, tmp_path_factory.mktemp("a place with spaces"))


@pytest.fixture
def copy(crash: Kept, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    return Path(shutil.copytree(crash.bundle, tmp_path / "copy"))


def test_everything_comes_back(crash: Kept) -> None:
    report = crash.report
    with opened(crash.bundle) as bundle:
        board, graph = bundle.board(), bundle.graph()
        firmware = bundle.firmware(board, graph)
        assert board == load_board(BOARD)
        source = replace(firmware.source, graph=report.source.graph)  # graphs have no equality
        assert source == replace(report.source, files=firmware.source.files)
        assert set(report.source.files.items()) <= set(firmware.source.files.items())
        assert firmware.elf.read_bytes() == report.firmware.elf.read_bytes()
        same = {"elf": firmware.elf, "source": firmware.source, "build_dir": firmware.build_dir}
        assert replace(report.firmware, **same) == firmware
        for kept, given_ in zip(bundle.inputs(graph), report.inputs, strict=True):
            np.testing.assert_array_equal(kept, given_)
        expected = bundle.expected(graph)
        assert expected.tensors.keys() == report.expected.tensors.keys()
        for tensor, values in report.expected.tensors.items():
            np.testing.assert_array_equal(expected.tensors[tensor], values)
        assert bundle.report()["crash"] == json.loads((bundle.folder / "crash.json").read_text())
        assert bundle.manifest.settings.seed == 3
        assert bundle.manifest.settings.samples == 2
        assert bundle.changed() == []
    record = FaultRecord.parse((crash.bundle / "crash.bin").read_bytes())
    assert report.crash is not None
    assert record.cpu_state().registers == report.crash.registers
    assert record.build_id == report.firmware.build_id
    core = read_core((crash.bundle / "crash.core").read_bytes(), "crash.core")
    assert core.state.registers == report.crash.registers
    assert core.build_id == report.firmware.build_id
    arena = Image(report.firmware.elf).symbol("harness_arena")
    assert arena is not None
    held = Memory(Image(report.firmware.elf), core.state.memory).read(arena.address, arena.size)
    assert held is not None
    assert any(held)


def test_nothing_of_the_machine_is_in_it(crash: Kept) -> None:
    told = {file for file in crash.bundle.rglob("*") if file.is_file()}
    assert len(told) > 20
    for file in told:
        content = file.read_bytes()
        for place in (crash.bundle.parent, crash.report.firmware.build_dir, Path.home()):
            assert str(place).encode() not in content, f"{file.name} names {place}"


def test_source_files_are_named_as_they_are_in_it(crash: Kept) -> None:
    frames = json.loads((crash.bundle / "report.json").read_text())["crash"]["frames"]
    files = [frame["file"] for frame in frames if frame["file"] is not None]
    assert files[0] == f"sources/{crash.source.layers[1].file}"
    assert files[-1] == "firmware_stub/main.c"
    assert all((crash.bundle / file).is_file() for file in files)


@pytest.mark.parametrize("inner", [False, True], ids=["as we write it", "a zipped folder"])
def test_one_file_holds_the_same(crash: Kept, tmp_path: Path, inner: bool) -> None:
    path = tmp_path / "kept.zip"
    if inner:
        shutil.make_archive(str(tmp_path / "kept"), "zip", crash.bundle.parent, crash.bundle.name)
    else:
        pack(crash.bundle, path)
    with opened(path) as bundle:
        assert bundle.changed() == []
        inside = {file.relative_to(bundle.folder) for file in bundle.folder.rglob("*") if file.is_file()}
        folder = bundle.folder
    assert inside == {file.relative_to(crash.bundle) for file in crash.bundle.rglob("*") if file.is_file()}
    assert not folder.exists()


def test_the_same_run_packs_to_the_same_bytes(crash: Kept, tmp_path: Path) -> None:
    for name in ("one.zip", "other.zip"):
        pack(crash.bundle, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_a_run_that_fails_half_way_leaves_no_bundle_of_an_earlier_one(copy: Path, tmp_path: Path) -> None:
    model = four_layers(tmp_path / "four.tflite")
    edited = tmp_path / "edited"
    insert(sources(model, edited, BOARD), edited, 0, "output[0] = undeclared;")
    with pytest.raises(Exception, match="undeclared"):
        verify(model, BOARD, sources=edited, artifacts=copy)
    with pytest.raises(BadInput, match=r"has no bundle\.json"), opened(copy):
        pass


def test_what_was_changed_is_told(copy: Path) -> None:
    (copy / "uart.log").write_bytes(b"")
    (copy / "crash.bin").unlink()
    with opened(copy) as bundle:
        assert bundle.changed() == ["crash.bin", "uart.log"]


# ---- damaged and foreign


def edit(folder: Path, name: str, change: Callable[[dict], None]) -> None:
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))


SPOILT = {
    "not JSON": (lambda f: (f / "bundle.json").write_text("{"), r"bundle\.json: is damaged"),
    "not an object": (lambda f: (f / "bundle.json").write_text("[]"), "another program"),
    "endless nesting": (lambda f: (f / "bundle.json").write_text("[" * 100_000), "is damaged"),
    "another format": (lambda f: edit(f, "bundle.json", lambda d: d.update(format="crash dump")), "another program"),
    "a later version": (lambda f: edit(f, "bundle.json", lambda d: d.update(version=2)), "version 2; this harness"),
    "unknown key": (lambda f: edit(f, "bundle.json", lambda d: d.update(more=1)), "more: Extra inputs"),
    "a model elsewhere": (lambda f: edit(f, "bundle.json", lambda d: d.update(model="model/../../x")), "model: String"),
    "no samples": (lambda f: edit(f, "bundle.json", lambda d: d["settings"].update(samples=0)), r"settings\.samples"),
    "other samples": (lambda f: edit(f, "bundle.json", lambda d: d["settings"].update(samples=7)), "holds 2 samples"),
    "no plan": (lambda f: (f / "plan.json").unlink(), r"plan\.json: is missing"),
    "no layers": (lambda f: edit(f, "plan.json", lambda d: d.pop("layers")), r"plan\.json: not a compiled source"),
    "a tensor too many": (
        lambda f: edit(f, "plan.json", lambda d: d["layers"][0].update(outputs=[999])),
        "tensor 999, which the model has not",
    ),
    "a tensor's size": (
        lambda f: edit(f, "plan.json", lambda d: [p.__setitem__(1, 3) for p in d["placements"].values()]),
        "another size in the model",
    ),
    "no image": (lambda f: (f / "firmware.elf").write_bytes(b"MZ"), r"firmware\.elf: is missing, or no ELF"),
    "no model": (lambda f: (f / "model" / "four.tflite").unlink(), "no such file"),
    "no board": (lambda f: (f / f"{BOARD}.toml").unlink(), "no such board file"),
    "inputs": (lambda f: (f / "inputs.npz").write_bytes(b"PK"), r"inputs\.npz"),
    "expected tensors": (lambda f: (f / "expected.npz").unlink(), r"expected\.npz"),
    "report": (lambda f: (f / "report.json").write_text('{"verdict": 1}'), r"report\.json: it is not the report"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_damaged_bundle_is_one_clear_error(copy: Path, kind: str) -> None:
    from harness.verification.replay import replay

    spoil, words = SPOILT[kind]
    spoil(copy)
    with pytest.raises(BadInput, match=words) as caught, opened(copy) as bundle:
        replay(bundle)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize("path", ["nothing here", "/dev/null"])
def test_what_is_no_bundle_at_all(path: str) -> None:
    with pytest.raises(BadInput, match="no such file|neither"), opened(Path(path)):
        pass


# ---- zip files from somebody else


def archive(path: Path, entries: dict[str, bytes], **mode: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # as it is: the constructor would make it harmless
            info.external_attr = mode.get("attributes", 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, data)
    return path


@pytest.mark.parametrize(
    "name", ["../outside", "a/../../outside", "/outside", "C:/outside", "..\\outside", "a\\..\\..\\outside", ".."]
)
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "evil.zip", {name: b"x"})
    (tmp_path / "in" / "side").mkdir(parents=True)
    with pytest.raises(BadInput, match="leads out of the bundle"):
        unpack(path, tmp_path / "in" / "side")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["evil.zip", "in", "side"]


@given(name=st.text(st.sampled_from("ab./\\:\0~"), min_size=1, max_size=12))
def test_whatever_the_name_nothing_is_written_outside(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("any")
    inside = root / "x" / "y"
    inside.mkdir(parents=True)
    path = archive(root / "some.zip", {name: b"x"})
    try:
        unpack(path, inside)
    except BadInput:
        assert list(inside.rglob("*")) == []
    assert [p for p in root.rglob("*") if p.is_file() and not p.is_relative_to(inside)] == [path]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_no_links_and_devices(tmp_path: Path, kind: int) -> None:
    path = archive(tmp_path / "evil.zip", {"bundle.json": b"/etc/passwd"}, attributes=kind | 0o644)
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match="is a link or a device"):
        unpack(path, tmp_path / "in")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "bomb.zip", {"bundle.json": b"{}", "weights": bytes(64 << 20)})
    assert path.stat().st_size < 100_000
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match=r"claims to unpack [\d,]+ bytes to 67,108,864: refused"):
        unpack(path, tmp_path / "in")
    assert list((tmp_path / "in").iterdir()) == []


def test_many_small_files_are_a_bomb_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MOST_BYTES", 1000)
    path = archive(tmp_path / "many.zip", {f"f{n}": bytes(100) for n in range(11)})
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match="holds 11 files of 1,100 bytes"):
        unpack(path, tmp_path / "in")
    monkeypatch.setattr(bundles, "MOST_BYTES", 1 << 30)
    monkeypatch.setattr(bundles, "MOST_FILES", 10)
    with pytest.raises(BadInput, match="10 files"):
        unpack(path, tmp_path / "in")


def test_an_entry_that_understates_its_size_gets_no_more_than_it_says(tmp_path: Path) -> None:
    path = archive(tmp_path / "liar.zip", {"bundle.json": bytes(5000)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2") + 24  # uncompressed size in the central directory
    data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match="is damaged"):
        unpack(path, tmp_path / "in")
    assert sum(p.stat().st_size for p in (tmp_path / "in").iterdir()) <= 10


def test_names_twice_and_files_for_folders(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile says that it writes a name twice
        twice = tmp_path / "twice.zip"
        with zipfile.ZipFile(twice, "w") as file:
            file.writestr("a", b"1")
            file.writestr("a", b"2")
    both = archive(tmp_path / "both.zip", {"a": b"", "a/b": b""})
    for number, path in enumerate((twice, both)):
        (tmp_path / f"in{number}").mkdir()
        with pytest.raises(BadInput, match="twice"):
            unpack(path, tmp_path / f"in{number}")


@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=6))
def test_a_damaged_archive_is_an_error_or_a_whole_file(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    content = {"bundle.json": b"{}" * 40, "sources/x.c": b"int x;\n" * 9}
    path = archive(root / "d.zip", content)
    data = bytearray(path.read_bytes())
    for at, by in flips:
        data[at % len(data)] ^= by
    path.write_bytes(data[: len(data) - cut % len(data)])
    (root / "in").mkdir()
    try:
        unpack(path, root / "in")
    except BadInput:
        return  # one clear error; any other one fails the test
    for name, data in content.items():
        place = root / "in" / name
        assert not place.exists() or place.read_bytes() == data


def test_an_encrypted_archive(tmp_path: Path) -> None:
    path = archive(tmp_path / "secret.zip", {"bundle.json": b"{}"})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # "encrypted", in the file's own header
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match="encrypted"):
        unpack(path, tmp_path / "in")


def test_a_folder_with_a_link_in_it_is_refused(crash: Kept, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(crash.bundle, copy)
    (copy / "inputs.npz").unlink()
    (copy / "inputs.npz").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match=r"inputs\.npz: it is a link"), opened(copy):
        pass
