"""A kept run comes out the same when it is run again; whatever does not is named."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import BadInput
from harness.verdict import Verdict
from harness.verification import replay as replaying
from harness.verification import verify
from harness.verification.bundle import opened
from harness.verification.replay import Replay, differences
from tests.edited_sources import four_layers
from tests.verification.kept import Kept, keep_run

BOARD = "qemu_cortex_m3"
VERDICTS = {
    "store": Verdict.CRASH,
    "overflow": Verdict.CRASH,
    "lockup": Verdict.LOCKUP,
    "mismatch": Verdict.MISMATCH,
    "timeout": Verdict.TIMEOUT,
}


def replay(bundle: Path, **options: Any) -> Replay:
    with opened(bundle) as kept:
        return replaying.replay(kept, **options)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kept]:
    """kept(kind) -> that run, made once."""
    runs: dict[str, Kept] = {}

    def get(kind: str) -> Kept:
        if kind not in runs:
            runs[kind] = keep_run(kind, BOARD, tmp_path_factory.mktemp(kind), zipped=kind == "store")
        return runs[kind]

    return get


@pytest.mark.parametrize("kind", VERDICTS)
def test_it_is_reproduced(kept: Callable[[str], Kept], kind: str) -> None:
    then = kept(kind).report
    found = replay(kept(kind).bundle)
    assert found.deviations == ()
    assert found.reproduced
    assert found.versions == ()
    assert found.report.verdict is then.verdict is VERDICTS[kind]
    assert [r.status for r in found.report.comparison.layers] == [r.status for r in then.comparison.layers]
    assert found.report.comparison.last_sample == then.comparison.last_sample
    if found.report.verdict is Verdict.CRASH:
        assert then.crash is not None
        assert found.report.crash is not None
        assert found.report.crash.registers == then.crash.registers
        assert found.report.crash.sentence == then.crash.sentence


def test_the_very_image_is_run_and_nothing_is_compiled(
    kept: Callable[[str], Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(shutil.which("qemu-system-arm") or "").parent))
    for place in (
        "harness.compiler.pipeline.compile_graph",
        "harness.firmware.build",
        "harness.compiler.compile_model",
    ):
        monkeypatch.setattr(place, lambda *a, **k: pytest.fail("something was compiled"))
    found = replay(kept("store").bundle)
    assert found.reproduced
    assert found.report.firmware.build_id == kept("store").report.firmware.build_id


def test_a_right_run_is_reproduced_too(tmp_path: Path) -> None:
    verify(four_layers(tmp_path / "four.tflite"), BOARD, artifacts=tmp_path / "kept", isolated=True)
    found = replay(tmp_path / "kept")
    assert (found.reproduced, found.report.verdict) == (True, Verdict.MATCH)
    assert found.report.settings.isolated


def test_a_program_of_this_machine_needs_trust(tmp_path: Path) -> None:
    run = keep_run("store", "host", tmp_path)
    assert run.report.verdict is Verdict.CRASH
    with pytest.raises(BadInput, match="with all your rights"):
        replay(run.bundle)
    found = replay(run.bundle, trust=True)
    assert found.deviations == ()
    assert "--trust" in (run.report.replay or "")


def test_a_board_behind_a_port_wants_to_be_told_which(kept: Callable[[str], Kept], tmp_path: Path) -> None:
    with opened(kept("mismatch").bundle) as bundle:
        folder = Path(shutil.copytree(bundle.folder, tmp_path / "kept"))
    file = folder / f"{BOARD}.toml"
    serial = '[runner]\nkind = "serial"\nbaud = 115200\n'
    file.write_text(file.read_text().partition("[runner]")[0] + serial)
    with pytest.raises(BadInput, match="behind a serial port"):
        replay(folder)


# ---- what is different is told


def test_an_edited_expectation_is_told(kept: Callable[[str], Kept], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(kept("mismatch").bundle, tmp_path / "kept"))
    report = json.loads((folder / "report.json").read_text())
    report["layers"][1]["mismatches"] = 2
    report["outputs"][0]["crc32"] = "0x00000000"
    (folder / "report.json").write_text(json.dumps(report))
    found = replay(folder)
    assert not found.reproduced
    assert found.changed == ("report.json",)
    told = [str(deviation) for deviation in found.deviations]
    assert told[0] == "layer 1 (depthwise_conv2d_1), mismatches: then 2, now 1"
    assert len(told) == 2
    assert told[1].startswith("output ")
    assert "then 0x00000000, now 0x" in told[1]


def test_other_versions_are_told_and_do_not_count(kept: Callable[[str], Kept], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(kept("mismatch").bundle, tmp_path / "kept"))
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["versions"] |= {"qemu": "QEMU emulator version 5.2.0", "gcc": "another"}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    found = replay(folder)
    assert found.reproduced
    assert [each.what for each in found.versions] == ["qemu"]
    assert str(found.versions[0]).startswith("qemu: then QEMU emulator version 5.2.0, now QEMU")
    assert [each.what for each in found.other_versions] == ["gcc"]


def test_another_image_comes_out_differently(kept: Callable[[str], Kept], tmp_path: Path) -> None:
    """Somebody puts the repaired firmware into the bundle: the crash is gone, and that is what is said."""
    run = kept("timeout")
    repaired = verify(run.report.settings.model, BOARD, samples=2, seed=3)
    folder = Path(shutil.copytree(run.bundle, tmp_path / "kept"))
    shutil.copyfile(repaired.firmware.elf, folder / "firmware.elf")
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["firmware"]["build_id"] = repaired.firmware.build_id.hex()
    (folder / "bundle.json").write_text(json.dumps(manifest))
    found = replay(folder)
    assert found.report.verdict is Verdict.MATCH
    assert str(found.deviations[0]) == "verdict: then timeout, now match"
    assert found.changed == ("firmware.elf",)


CHANGES: dict[str, tuple[Callable[[dict], Any], str]] = {
    "verdict": (lambda r: r.update(verdict="match"), "verdict: then match, now crash"),
    "a layer's status": (lambda r: r["layers"][0].update(status="local"), "layer 0 (conv2d_0), status: then local"),
    "a layer less": (lambda r: r["layers"].pop(), "number of layers: then 3, now 4"),
    "layer": (lambda r: r["crash"].update(layer=3), "crash, layer: then 3, now 1"),
    "kind": (lambda r: r["crash"].update(kind="lockup"), "crash, kind: then lockup, now precise_bus_fault"),
    "address": (lambda r: r["crash"].update(address=1), "crash address: then 1, now 0xf4000000"),
    "a register": (lambda r: r["crash"]["registers"].update(pc=7), "registers, pc: then 7, now "),
    "a register less": (lambda r: r["crash"]["registers"].pop("pc"), "registers, pc: then nothing, now "),
    "status": (lambda r: r["crash"]["fault_status"].update(cfsr=0), "fault status, cfsr: then 0, now 33280"),
    "line": (lambda r: r["crash"]["frames"][1].update(line=1), "frame 1, line: then 1, now"),
    "a frame more": (lambda r: r["crash"]["frames"].append({"function": "_start"}), "then _start, now nothing"),
    "no crash": (lambda r: r.update(crash=None), "crash: then nothing, now precise_bus_fault"),
    "sample": (lambda r: r["stopped"].update(sample=1), "stopped, sample: then 1, now 0"),
    "nonsense": (lambda r: r["crash"].update(registers=3, frames="x"), "registers, lr: then nothing"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_thing_that_must_be_the_same(kept: Callable[[str], Kept], change: str) -> None:
    with opened(kept("store").bundle) as bundle:
        now = bundle.report()
    then = copy.deepcopy(now)
    assert list(differences(then, now, addresses=True)) == []
    make, words = CHANGES[change]
    make(then)
    assert any(words in str(deviation) for deviation in differences(then, now, addresses=True))


def test_what_a_host_program_has_elsewhere_each_time_does_not_count(kept: Callable[[str], Kept]) -> None:
    with opened(kept("store").bundle) as bundle:
        now = bundle.report()
    then = copy.deepcopy(now)
    then["crash"]["registers"]["sp"] = 1
    then["crash"]["frames"][1]["pc"] = 1
    assert list(differences(then, now, addresses=False)) == []
    assert len(list(differences(then, now, addresses=True))) == 2
