"""The command line as a user meets it: a process, its two streams and its exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import ROOT, Run
from tests.edited_sources import FLIP, READ_NOWHERE, SPIN, four_layers, insert, sources


@pytest.mark.parametrize(
    "command",
    [
        *([], ["verify"], ["replay"], ["compile"], ["profile"], ["boards"], ["doctor"], ["demo"]),
        *(["crash", "decode"], ["crash", "gdb"]),
    ],
)
def test_every_command_explains_itself(run: Run, command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage: harness" in done.stdout
    assert done.stderr == ""
    if command:
        assert "--verbose" in done.stdout
        assert "--json" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["verfy", "x"],
        ["verify"],
        ["verify", "x.tflite", "--samples", "0"],
        ["verify", "x.tflite", "--samples", "many"],
        ["verify", "x.tflite", "--timeout", "0"],
        ["verify", "x.tflite", "-O", "-wrapper"],
        ["compile", "x.tflite"],
        ["verify", "x.tflite", "--json", "no/such/folder/report.json"],
    ],
)
def test_usage_errors(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Usage" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "missing.tflite"], ["missing.tflite", "no such file"]),
        (["verify", "empty.tflite"], ["empty.tflite", "empty"]),
        (["verify", "text.tflite"], ["text.tflite", "not a model"]),
        (["verify", "tiny.tflite", "--board", "qemu_cortex_m9"], ["qemu_cortex_m9", "qemu_cortex_m3"]),
        (["verify", "tiny.tflite", "--board", "./mine.toml"], ["mine.toml", "no such board file"]),
        (["verify", "tiny.tflite", "--inputs", "missing.npz"], ["missing.npz", "no such file"]),
        (["verify", "tiny.tflite", "--inputs", "text.tflite"], ["text.tflite", ".npz"]),
        (["verify", "tiny.tflite", "--oracle", "onnx"], ["onnx", "tflite-ref"]),
        (["verify", "tiny.tflite", "--sources", "nowhere"], ["nowhere"]),
        (["verify", "tiny.tflite", "--artifacts", "text.tflite"], ["text.tflite", "cannot write"]),
        (["compile", "text.tflite", "-o", "out"], ["text.tflite"]),
        (["compile", "tiny.tflite", "-o", "text.tflite"], ["text.tflite", "cannot write"]),
        (["compile", "tiny.tflite", "-o", "out", "--target", "z80"], ["z80", "cortex-m3"]),
    ],
)
def test_bad_input_is_one_message(run: Run, model: Path, arguments: list[str], words: list[str]) -> None:
    (model.parent / "empty.tflite").write_bytes(b"")
    (model.parent / "text.tflite").write_bytes(b"this is no model at all")
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_verbose_shows_where_an_error_arose(run: Run) -> None:
    done = run("verify", "missing.tflite", "-v")
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.count("error: ") == 1


def test_an_error_as_json(run: Run) -> None:
    done = run("verify", "missing.tflite", "--json", "-")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["verdict"] is None
    assert "missing.tflite" in found["error"]["where"]


def test_names_cannot_reach_the_terminal(run: Run) -> None:
    done = run("verify", "\x1b[31m[bold]\u202eevil\n.tflite")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr
    assert r"\x1b[31m[bold]\u202eevil" in done.stderr


def test_compile_writes_the_sources(run: Run, model: Path) -> None:
    done = run("compile", model, "-o", "out", "--target", "cortex-m4", "--json", "-")
    assert done.returncode == 0
    assert "softmax_1" in done.stderr
    found = json.loads(done.stdout)
    assert found["target"] == "cortex-m4"
    assert [layer["op"] for layer in found["layers"]] == ["FULLY_CONNECTED", "SOFTMAX"]
    out = model.parent / "out"
    assert all((out / name).is_file() for name in found["files"])
    assert (out / found["layers"][1]["file"]).read_text().count("softmax_1") > 0
    assert run("compile", model, "-o", "out", "--target", "cortex-m4").returncode == 0


def test_compile_does_not_lose_edits(run: Run, model: Path) -> None:
    run("compile", model, "-o", "out")
    (model.parent / "out" / "model.c").write_text("/* mine */")
    done = run("compile", model, "-o", "out")
    assert done.returncode == 2
    assert "model.c" in done.stderr
    assert "--force" in done.stderr
    assert run("compile", model, "-o", "out", "--force").returncode == 0


def test_boards(run: Run) -> None:
    done = run("boards", "--json", "boards.json")
    assert done.returncode == 0
    assert "qemu_cortex_m3" in done.stdout
    assert "mps2-an385" in done.stdout


def test_boards_as_json_say_what_is_missing(run: Run) -> None:
    here = {board["name"]: board for board in json.loads(run("boards", "--json", "-").stdout)["boards"]}
    assert (here["qemu_cortex_m0"]["flash_bytes"], here["qemu_cortex_m0"]["ram_bytes"]) == (256 << 10, 16 << 10)
    elsewhere = run("boards", "--json", "-", PATH="/nowhere", RENODE="/bin/sh")
    nowhere = {board["name"]: board for board in json.loads(elsewhere.stdout)["boards"]}
    assert nowhere["qemu_cortex_m3"]["runs_here"] is False
    assert "qemu-system-arm" in nowhere["qemu_cortex_m3"]["missing"]
    assert nowhere["host"]["missing"] == ["gcc"]
    assert nowhere["renode_cortex_m4"]["missing"] == ["arm-none-eabi-gcc"]  # Renode is where its variable says


def test_a_reader_that_stops_reading_is_no_verdict() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "boards"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    process.stdout.close()
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGPIPE
    assert complaint == b""


# ---- verify ------------------------------------------------------------------------------------------------------

BOARD = "qemu_cortex_m3"


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[int, str], Path]:
    """edited(layer, statement): a folder `c` beside four.tflite whose layer begins with that statement."""
    model = four_layers(tmp_path / "four.tflite")

    def make(layer: int, statement: str) -> Path:
        insert(sources(model, tmp_path / "c", BOARD), tmp_path / "c", layer, statement, at_end=statement == FLIP)
        return model

    return make


def test_verify_matches(run: Run, model: Path) -> None:
    done = run("verify", model, "--board", BOARD, "--samples", "2", "-v")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "match: tiny.tflite on qemu_cortex_m3 against tflite-ref, 2 samples; 0 of 8 elements differ" in done.stdout
    assert "lower bound" in done.stdout
    assert "seconds: load" in done.stdout


def test_json_alone_on_standard_output(run: Run, model: Path) -> None:
    done = run("verify", model, "--json", "-")
    found = json.loads(done.stdout)
    assert (done.returncode, found["verdict"], found["board"]) == (0, "match", "qemu_cortex_m3")
    assert "match: tiny.tflite" in done.stderr


def test_json_in_a_file_beside_the_report(run: Run, model: Path) -> None:
    done = run("verify", model, "--json", "report.json")
    assert "match: tiny.tflite" in done.stdout
    assert json.loads((model.parent / "report.json").read_text())["verdict"] == "match"


def test_a_mismatch(run: Run, edited: Callable[[int, str], Path]) -> None:
    done = run("verify", edited(1, FLIP), "--sources", "c", "--json", "report.json")
    assert done.returncode == 1
    report = json.loads((Path(done.args[4]).parent / "report.json").read_text())
    assert [layer["status"] for layer in report["layers"]][:2] == ["match", "local"]
    assert "wrong by itself: layer 1 (depthwise_conv2d_1)" in done.stdout
    kept = Path(report["artifacts"])
    assert {"firmware.elf", "report.json", "uart.log", "transcript.jsonl", "inputs.npz"} <= set(os.listdir(kept))
    assert report["rerun"] in done.stdout


def test_a_crash(run: Run, edited: Callable[[int, str], Path]) -> None:
    done = run("verify", edited(1, READ_NOWHERE), "--sources", "c", "--json", "-")
    assert done.returncode == 3
    assert json.loads(done.stdout)["verdict"] == "crash"
    for words in ("Traceback (most recent call first):", "layer 1 of 4, DEPTHWISE_CONV_2D", "0x60000000", "main.c"):
        assert words in done.stderr
    assert "Traceback (most recent call last)" not in done.stderr


def test_a_timeout(run: Run, edited: Callable[[int, str], Path]) -> None:
    done = run("verify", edited(0, SPIN), "--sources", "c", "--timeout", "1")
    assert done.returncode == 4
    assert "timeout: four.tflite" in done.stdout
    assert "000_conv2d_0.c" in done.stdout


@pytest.mark.parametrize("missing", ["arm-none-eabi-gcc", "qemu-system-arm"])
def test_no_toolchain_no_emulator(run: Run, model: Path, tmp_path: Path, missing: str) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            if program.name.startswith(("arm-none-eabi-", "qemu-system-arm")) and program.name != missing:
                link = tools / program.name
                link.exists() or link.symlink_to(program)
    done = run("verify", model, "--json", "-", PATH=str(tools), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 5
    assert json.loads(done.stdout)["verdict"] == "infrastructure"
    assert missing in done.stderr
    assert "apt" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("where", ["file", "standard output"])
def test_json_that_cannot_be_written_is_one_message(run: Run, where: str) -> None:
    done = run("boards", "--json", "/dev/full") if where == "file" else run("boards", "--json", "-", stdout="/dev/full")
    assert done.returncode == 2
    assert "the JSON cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_output(run: Run) -> None:
    done = run("boards", stdout="/dev/full")
    assert done.returncode == 5
    assert done.stderr.splitlines()[0] == "error: the system refuses: No space left on device"
    assert "Traceback" not in done.stderr


def test_a_bad_model_and_a_full_disk(run: Run) -> None:
    done = run("verify", "none.tflite", "--json", "/dev/full")
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "error"]


def closing(streams: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line begun with some of its streams closed, as some daemons begin their children."""
    command = ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_json_on_a_closed_standard_output(model: Path) -> None:
    done = closing(">&-", "boards", "--json", "-")
    assert done.returncode == 2
    assert "error: standard output: the JSON cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_pipes_do_not_take_the_place_of_closed_streams(model: Path) -> None:
    assert closing("<&- >&- 2>&-", "verify", str(model)).returncode == 0


def test_a_terminal_that_knows_ascii_only(run: Run, model: Path) -> None:
    done = run("verify", model, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 0
    assert "1?8" in done.stdout or "1?4" in done.stdout


@pytest.mark.parametrize("place", [".", ""])
def test_json_into_a_folder_is_refused_before_anything_is_run(run: Run, place: str) -> None:
    done = run("verify", "none.tflite", "--json", place)
    assert done.returncode == 2
    assert "is a folder" in done.stderr
    assert "none.tflite" not in done.stderr


def test_what_ctrl_c_does_inside_an_import_is_still_an_interruption(tmp_path: Path) -> None:
    """numpy's C modules turn the KeyboardInterrupt into an ImportError."""
    code = """if True:
        import os, signal
        import click
        from harness.cli import cli, main
        @cli.command()
        def unlucky():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("a C module failed to import") from None
        raise SystemExit(main(["unlucky"]))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
def test_nohup_is_respected() -> None:
    code = """if True:
        import os, signal
        from harness.cli import cli, main
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        @cli.command()
        def busy():
            os.kill(os.getpid(), signal.SIGHUP)
            return 7
        raise SystemExit(main(["busy"]))
    """
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 7


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(
    edited: Callable[[int, str], Path], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, "-m", "harness", "verify", str(edited(0, SPIN)), "--sources", "c"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    started = wait_for_emulator(process)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == status
    assert [other for other in started if other.is_running() and other.status() != psutil.STATUS_ZOMBIE] == []
    assert os.listdir(tmp_path / "tmp") == []


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def wait_for_emulator(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All descendants of `process`, once QEMU is among them."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        found = psutil.Process(process.pid).children(recursive=True)
        if any("qemu" in _name(child) for child in found):
            return found
    raise AssertionError("no emulator was started")
