"""`harness crash decode`: from what a crash left behind to the report of the live run, with nothing but the ELF."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.cpustate import CpuState
from harness.debug.evidence import read_evidence
from harness.debug.image import Image
from harness.rpc.fault_record import MAGIC
from tests.cli.conftest import Run
from tests.debug.evidence import logs
from tests.edited_sources import READ_NOWHERE, four_layers, insert, sources

BOARD = "qemu_cortex_m3"
LAYER = 2

pytestmark = [
    pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"),
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"),
]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefacts of a run whose third layer touched what is not there."""
    from harness.verification import verify

    folder = tmp_path_factory.mktemp("crashed")
    model = four_layers(folder / "four.tflite")
    source = sources(model, folder / "c", BOARD)
    insert(source, folder / "c", LAYER, READ_NOWHERE)
    report = verify(model, BOARD, sources=folder / "c", artifacts=folder / "artifacts")
    assert report.crash is not None
    return folder / "artifacts"


@pytest.fixture
def elsewhere(crashed: Path, tmp_path: Path) -> Path:
    """The artefacts in another place, as if they had been sent by mail."""
    return Path(shutil.copytree(crashed, tmp_path / "mail"))


def live(crashed: Path) -> Any:
    return json.loads((crashed / "report.json").read_text())["crash"]


def decoded(run: Run, *arguments: str | Path) -> Any:
    """The JSON of a decode where there is no tool of any kind."""
    done = run("crash", "decode", *arguments, "--json", "-", PATH="", HOME="/nonexistent")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _without_folders(crash: Any) -> str:
    """The report as text, with files by their names: they lie in another folder there."""

    def named(entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "file": entry["file"] and Path(entry["file"]).name}

    places = {key: [named(entry) for entry in crash[key]] for key in ("frames", "listings")}
    return json.dumps({**crash, **places}, indent=1)


def test_the_recorded_serial_line_gives_the_report_of_the_live_run(run: Run, crashed: Path, elsewhere: Path) -> None:
    known = ["--sources", elsewhere, "--board", BOARD]
    found = decoded(run, elsewhere / "uart.log", "--elf", elsewhere / "firmware.elf", *known)
    assert _without_folders(found["crash"]) == _without_folders(live(crashed))
    assert found["crash"]["layer"] == LAYER
    assert found["elf"]["match"] == "yes"
    assert found["evidence"]["format"] == "layerproof record"
    assert found["warnings"] == found["notes"] == []
    opened = [frame["file"] for frame in found["crash"]["frames"] if frame["layer"] == LAYER]
    assert opened
    assert all(Path(file).is_relative_to(elsewhere) for file in opened)


def test_the_elf_alone_has_the_names_of_layers_and_tensors(run: Run, crashed: Path, elsewhere: Path) -> None:
    """What is missing without the sources are their lines."""
    found = decoded(run, elsewhere / "uart.log", "--elf", elsewhere / "firmware.elf", "--board", BOARD)["crash"]
    truth = live(crashed)
    for entry in ("kind", "address", "sentence", "layer", "notes", "registers", "fingerprint"):
        assert found[entry] == truth[entry], entry
    own, theirs = ([(f["function"], f["line"], f["label"]) for f in crash["frames"]] for crash in (found, truth))
    assert own == theirs
    assert any(f"layer {LAYER} of 4, " in label for *_, label in own)


def test_sources_of_another_model_do_not_overrule_the_elf(run: Run, crashed: Path, elsewhere: Path) -> None:
    arguments = (elsewhere / "uart.log", "--elf", elsewhere / "firmware.elf", "--sources", elsewhere)
    assert decoded(run, *arguments)["warnings"] == []
    path = elsewhere / "sources" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["model"] = "other.tflite"
    metadata["layers"][LAYER] |= {"op": "SOFTMAX", "outputs": [0]}
    path.write_text(json.dumps(metadata))
    found = decoded(run, *arguments)
    assert len(found["warnings"]) == 1
    assert '"other.tflite"' in found["warnings"][0]
    assert found["crash"]["running_layer"] == live(crashed)["running_layer"]


def _with_comments(elf: Path, *comments: str) -> None:
    text = elf.with_name("comments")
    text.write_bytes(b"".join(comment.encode() + b"\0" for comment in comments))
    subprocess.run(["arm-none-eabi-objcopy", "--update-section", f".comment={text}", str(elf)], check=True)


@pytest.mark.parametrize("comment", ["layerproof.model {", "layerproof.model {'model': 'second'}"])
def test_a_map_that_cannot_be_used_is_told(comment: str, run: Run, elsewhere: Path) -> None:
    elf = elsewhere / "firmware.elf"
    _with_comments(elf, *Image(elf).comments, comment)
    found = decoded(run, elsewhere / "uart.log", "--elf", elf)
    assert any("maps of several models" in note for note in found["notes"])
    assert found["crash"]["layer"] == LAYER
    named = decoded(run, elsewhere / "uart.log", "--elf", elf, "--sources", elsewhere)
    assert named["crash"]["running_layer"]["index"] == LAYER
    assert not any("maps of several models" in note for note in named["notes"])


def test_an_elf_without_code_is_told(run: Run, elsewhere: Path) -> None:
    elf = elsewhere / "firmware.elf"
    subprocess.run(["arm-none-eabi-objcopy", "--only-keep-debug", str(elf)], check=True)
    found = decoded(run, elsewhere / "uart.log", "--elf", elf)
    assert any("has no code" in note for note in found["notes"])


def test_without_any_map_the_layer_is_the_one_that_the_firmware_noted(run: Run, crashed: Path, elsewhere: Path) -> None:
    elf = elsewhere / "firmware.elf"
    subprocess.run(["arm-none-eabi-objcopy", "-R", ".comment", str(elf)], check=True)
    found = decoded(run, elsewhere / "uart.log", "--elf", elf)["crash"]
    truth = live(crashed)
    assert [f["function"] for f in found["frames"]] == [f["function"] for f in truth["frames"]]
    assert found["layer"] == LAYER
    assert (found["kind"], found["address"]) == (truth["kind"], truth["address"])
    assert decoded(run, elsewhere / "uart.log", "--elf", elf, "--sources", elsewhere)["crash"]["sentence"] in (
        truth["sentence"],
    )


@pytest.mark.parametrize("render", [logs.zephyr, logs.cmbacktrace, logs.mbed, logs.nuttx, logs.handler])
def test_a_log_of_the_same_crash_tells_the_same(render: logs.Render, run: Run, crashed: Path, elsewhere: Path) -> None:
    truth = live(crashed)
    record = (elsewhere / "uart.log").read_bytes()
    state = read_evidence(record, "uart.log").state
    assert dict(state.registers) == truth["registers"]
    (elsewhere / "log.txt").write_text(render(CpuState(**vars(state)), lambda address, length: None))
    arguments = ("--elf", elsewhere / "firmware.elf", "--sources", elsewhere)
    found = decoded(run, elsewhere / "log.txt", *arguments)["crash"]
    assert (found["kind"], found["address"], found["layer"]) == (truth["kind"], truth["address"], LAYER)
    own, theirs = ([f for f in crash["frames"] if f["pc"] is not None] for crash in (found, truth))
    assert own[0]["line"] == theirs[0]["line"]
    assert own[0]["label"] == theirs[0]["label"]
    if render in (logs.cmbacktrace, logs.nuttx):  # they print the stack
        assert [(f["function"], f["line"], f["via"]) for f in own] == [
            (f["function"], f["line"], f["via"]) for f in theirs
        ]


def test_what_it_prints(run: Run, crashed: Path, elsewhere: Path) -> None:
    done = run("crash", "decode", elsewhere / "uart.log", "--elf", elsewhere / "firmware.elf", "--sources", elsewhere)
    assert done.returncode == 0
    assert done.stdout.startswith("layerproof record.")
    assert "Traceback (most recent call first):" in done.stdout
    assert f"layer {LAYER} of 4" in done.stdout
    assert "warning" not in done.stdout
    assert done.stderr == ""
    more = run("crash", "decode", elsewhere / "uart.log", "--elf", elsewhere / "firmware.elf", "-v").stdout
    assert "BFSR.PRECISERR" in more
    assert f"pc 0x{live(crashed)['registers']['pc']:08x}" in more


def test_standard_input_and_several_elfs(run: Run, crashed: Path, elsewhere: Path, other: Path) -> None:
    both = ("--elf", other, "--elf", elsewhere / "firmware.elf")
    found = decoded(run, elsewhere / "uart.log", *both)
    assert found["elf"]["path"] == str(elsewhere / "firmware.elf")


@pytest.fixture
def other(elsewhere: Path) -> Path:
    """The ELF with another build ID."""
    data = (elsewhere / "firmware.elf").read_bytes()
    at = data.index(b"GNU\0") + 4
    path = elsewhere / "other.elf"
    path.write_bytes(data[:at] + bytes(b ^ 0xFF for b in data[at : at + 20]) + data[at + 20 :])
    return path


def test_an_elf_with_another_build_id_is_refused_unless_asked_for(run: Run, elsewhere: Path, other: Path) -> None:
    refused = run("crash", "decode", elsewhere / "uart.log", "--elf", other)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.startswith("error: ")
    assert "build ID" in refused.stderr
    assert "--any-elf" in refused.stderr
    taken = run("crash", "decode", elsewhere / "uart.log", "--elf", other, "--any-elf")
    assert taken.returncode == 0
    assert taken.stdout.startswith("warning: This is not the ELF of the firmware that crashed")


@pytest.mark.parametrize("target", ["uart.log", "firmware.elf", "link"])
@pytest.mark.parametrize("option", ["--core", "--json"])
def test_what_is_read_is_never_written(option: str, target: str, run: Run, elsewhere: Path) -> None:
    (elsewhere / "link").hardlink_to(elsewhere / "uart.log")
    before = {path: path.read_bytes() for path in elsewhere.iterdir() if path.is_file()}
    log, elf = elsewhere / "uart.log", elsewhere / "firmware.elf"
    done = run("crash", "decode", log, "--elf", elf, option, elsewhere / target)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "would be overwritten" in done.stderr
    assert {path: path.read_bytes() for path in elsewhere.iterdir() if path.is_file()} == before


def _nothing(folder: Path) -> list[str | Path]:
    (folder / "mail.txt").write_text("it crashed, please help\n")
    return [folder / "mail.txt", "--elf", folder / "firmware.elf"]


def _cut_record(folder: Path) -> list[str | Path]:
    (folder / "cut.bin").write_bytes(MAGIC.to_bytes(4, "little") + bytes(40))
    return [folder / "cut.bin", "--elf", folder / "firmware.elf"]


BAD: dict[str, tuple[Callable[[Path], list[str | Path]], str]] = {
    "no crash in it": (_nothing, "no crash was found in it"),
    "a record cut short": (_cut_record, "the record is cut off: 44 of 368 bytes are here"),
    "the ELF as the log": (lambda f: [f / "firmware.elf", "--elf", f / "firmware.elf"], "an ELF program, not a log"),
    "no such log": (lambda f: [f / "missing", "--elf", f / "firmware.elf"], "cannot be read"),
    "no such ELF": (lambda f: [f / "uart.log", "--elf", f / "missing"], "cannot read the firmware"),
    "no ELF": (lambda f: [f / "uart.log", "--elf", f / "report.json"], "not a usable ELF file"),
    "no sources": (lambda f: [f / "uart.log", "--elf", f / "firmware.elf", "--sources", f / "missing"], "no such file"),
    "another folder": (lambda f: [f / "uart.log", "--elf", f / "firmware.elf", "--sources", f.parent], "metadata"),
    "no second crash": (lambda f: [f / "uart.log", "--elf", f / "firmware.elf", "--crash", "2"], "the log has 1"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_message(what: str, run: Run, elsewhere: Path) -> None:
    arguments, words = BAD[what]
    done = run("crash", "decode", *arguments(elsewhere))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '{"tensors": [{"id": Infinity}]}',
        '{"tensors": [{"id": 1e99}]}',
        '{"tensors": [{"id": -1}], "layers": []}',
        '{"tensors": 3}',
    ],
)
def test_a_damaged_map_is_one_message(damage: str, run: Run, elsewhere: Path) -> None:
    (elsewhere / "sources" / "metadata.json").write_text(damage)
    arguments = ("--elf", elsewhere / "firmware.elf", "--sources", elsewhere)
    done = run("crash", "decode", elsewhere / "uart.log", *arguments)
    assert done.returncode == 2
    assert "cannot be read as the map of a model" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_core_file_has_all_of_the_crash(run: Run, crashed: Path, elsewhere: Path) -> None:
    core, elf = elsewhere / "crash.core", elsewhere / "firmware.elf"
    from_log = decoded(run, elsewhere / "uart.log", "--elf", elf, "--sources", elsewhere, "--core", core)
    from_core = decoded(run, core, "--elf", elf, "--sources", elsewhere)
    assert from_core["crash"] == from_log["crash"]
    assert from_core["elf"]["match"] == "yes"
    assert from_core["evidence"]["format"] == "layerproof core file"
    done = run("crash", "decode", core, "--elf", elf, "--core", elsewhere / "nowhere" / "x.core")
    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_what_a_log_does_not_say_is_told_beside_the_core_file(run: Run, elsewhere: Path) -> None:
    (elsewhere / "log.txt").write_text("R0 = 0x00000001\nPC = 0x00001380\nLR = 0x00000761\nSP = 0x20000e98\n")
    done = run("crash", "decode", elsewhere / "log.txt", "--elf", elsewhere / "firmware.elf", "--core", elsewhere / "c")
    assert done.returncode == 0, done.stderr
    assert "in the core file 0xdeadda7a: r1, r2, r3," in done.stdout


@pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="gdb-multiarch is not installed")
def test_gdb_sees_in_the_log_and_in_the_core_file_what_the_live_run_reported(
    run: Run, crashed: Path, elsewhere: Path
) -> None:
    core, elf = elsewhere / "crash.core", elsewhere / "firmware.elf"
    decoded(run, elsewhere / "uart.log", "--elf", elf, "--core", core)
    truth = [frame["function"] for frame in live(crashed)["frames"] if frame["pc"] is not None]
    assert len(truth) > 5
    for evidence in (elsewhere / "uart.log", core):
        commands = ("--run", "--", "-batch", "-nx", "-ex", "bt", "-ex", "monitor report")
        done = run("crash", "gdb", evidence, "--elf", elf, "--sources", elsewhere, *commands)
        assert done.returncode == 0, done.stderr
        assert re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\w+) \(", done.stdout, re.MULTILINE) == truth
        assert live(crashed)["sentence"].split(".")[0] in done.stderr


def test_an_ide_is_told_where_to_attach_and_the_command_ends_with_it(run: Run, elsewhere: Path) -> None:
    facts = elsewhere / "facts.json"
    arguments = [elsewhere / "uart.log", "--elf", elsewhere / "firmware.elf", "--json", facts]
    with ThreadPoolExecutor() as pool:
        done = pool.submit(run, "crash", "gdb", *arguments)
        deadline = time.monotonic() + 60
        while not (facts.is_file() and facts.read_text().endswith("}\n")):
            assert time.monotonic() < deadline
            assert not done.done(), done.result().stderr
            time.sleep(0.05)
        told = json.loads(facts.read_text())
        with socket.create_connection((told["host"], told["port"]), timeout=20) as connection:
            connection.sendall(b"$?#3f")
            assert connection.recv(100).startswith(b"+$T")
        assert done.result(60).returncode == 0
    assert f"target remote 127.0.0.1:{told['port']}" in done.result().stdout


def test_gdb_arguments_without_gdb_and_a_terminal_for_two_are_refused(run: Run, elsewhere: Path) -> None:
    arguments = ("crash", "gdb", elsewhere / "uart.log", "--elf", elsewhere / "firmware.elf")
    for more, told in ((("--", "-batch"), "no --run"), (("--run", "--json", "-"), "name a file")):
        done = run(*arguments, *more)
        assert done.returncode == 2
        assert told in done.stderr
    done = run(*arguments, "--run", PATH="")
    assert done.returncode == 5
    assert "apt install gdb-multiarch" in done.stderr
