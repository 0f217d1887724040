"""gdb stops where the report says that it failed. What must stand there comes from the test's own edit, not from us."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.verdict import Verdict
from tests.verification.kept import FAULTS, Kept, keep_run

BOARDS = ("qemu_cortex_m0", "qemu_cortex_m3", "qemu_cortex_m4", "qemu_cortex_m33")
CRASHES = ("store", "undefined", "null_call", "jump", "overflow", "second_sample")
ROOT = Path(__file__).resolve().parents[2]
_FRAME = re.compile(r"^#(\d+) +(?:0x[0-9a-f]+ in )?(\S+) \(.*?\)(?: at (\S+):(\d+))?$", re.MULTILINE)

pytestmark = pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="needs gdb-multiarch")


def gdb(run: Kept, *commands: str) -> subprocess.CompletedProcess[str]:
    """`harness replay --gdb` with gdb's own commands, as a user would give them."""
    arguments = [word for command in commands for word in ("-ex", command)]
    return subprocess.run(
        [sys.executable, "-m", "harness", "replay", str(run.bundle), "--gdb", "--", "-nx", "-batch", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400", "TMPDIR": str(run.bundle.parent)},
        timeout=200,
    )


def words(run: Kept, layer: int, sample: int) -> tuple[str, bytes]:
    """The command that shows the first bytes of a layer's input, and what they are by the oracle."""
    (tensor,) = run.source.layers[layer].inputs
    given = dict(zip(run.source.graph.inputs, run.report.inputs, strict=True))
    values = {**run.report.expected.tensors, **given}[tensor][sample]
    place = run.source.placements[tensor]
    kept = run.source.kept.get(tensor)
    data = np.ascontiguousarray(values if kept is None else kept.project(values)).tobytes()
    assert len(data) == place.bytes
    return f"x/{place.bytes}xb (unsigned char *)&harness_arena + {place.offset}", data


def dumped(text: str) -> bytes:
    lines = re.findall(r"^0x[0-9a-f]+[^:\n]*:((?:\t0x[0-9a-f]{2})+)$", text, re.MULTILINE)
    return bytes(int(byte, 16) for line in lines for byte in line.split())


def backtrace(text: str) -> list[tuple[str, str | None, int | None]]:
    return [(m[2], m[3] and Path(m[3]).name, m[4] and int(m[4])) for m in _FRAME.finditer(text)]


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("kind", CRASHES)
def test_gdb_stands_at_the_fault(kind: str, board: str, tmp_path: Path) -> None:
    layer, sample = (3, 1) if kind == "second_sample" else (1, 0)
    run = keep_run(kind, board, tmp_path, layer=layer)
    crash = run.report.crash
    assert crash is not None
    assert run.report.comparison.last_sample == sample
    dump, data = words(run, layer, sample)
    done = gdb(run, 'printf "pc %x mode %d\\n", (unsigned)$pc, (unsigned)$xpsr & 511', "bt", "x/i $pc", dump)
    assert done.returncode == 3, done.stderr
    assert "reproduced: the same crash as then" in done.stdout
    found = re.search(r"pc ([0-9a-f]+) mode (\d+)", done.stdout)
    assert found is not None, done.stdout
    pc = int(found[1], 16)
    assert int(found[2]) == 0, "a handler is active: this is not the context of the fault"
    # the instruction, from the edit
    shown = re.search(r"=> 0x[0-9a-f]+ <\w+(?:\+\d+)?>:\t(\S+)", done.stdout)
    assert shown is not None, done.stdout
    assert shown[1].startswith(tuple(FAULTS[kind].instruction.split("|")))
    # the chain of calls: the innermost line from the edit, the rest as the report has it
    frames = backtrace(done.stdout)
    function, file = run.source.layers[layer].name, Path(run.source.layers[layer].file).name
    callers = [(f.function, f.file and Path(f.file).name, f.line) for f in crash.frames]
    if kind == "overflow":
        assert [name for name, _, _ in frames[:4]] == [function] * 4
        assert frames[1][2] == run.line
        assert frames[-1][0] == "main"
    else:
        assert frames[0] == (function, file, run.line)
        assert frames == callers[1:]
    # where the report knows the place itself
    if kind in ("store", "undefined", "second_sample"):
        assert pc == crash.registers["pc"]
    elif kind in ("null_call", "jump"):
        assert pc == (crash.registers["lr"] & ~1) - 2
    assert dumped(done.stdout) == data


@pytest.mark.parametrize("board", ["qemu_cortex_m3", "qemu_cortex_m33"])
def test_one_step_further_it_faults_again(board: str, tmp_path: Path) -> None:
    run = keep_run("store", board, tmp_path)
    done = gdb(run, "stepi", "bt 1", 'printf "mode %d\\n", (unsigned)$xpsr & 511', "x/1xw 0xe000ed38")
    assert "fault_entry" in done.stdout
    assert "mode 5" in done.stdout  # BusFault
    assert "0xe000ed38:\t0xf4000000" in done.stdout  # BFAR


@pytest.mark.parametrize("board", ["qemu_cortex_m3", "qemu_cortex_m7", "qemu_cortex_m55"])
def test_the_faulting_instruction_may_have_been_passed_many_times(board: str, tmp_path: Path) -> None:
    run = keep_run("hot_loop", board, tmp_path)
    done = gdb(run, 'printf "i is %u\\n", i', "x/i $pc")
    assert "i is 200000" in done.stdout
    assert re.search(r"=> .*:\tstr", done.stdout)


def test_a_fault_in_the_whole_model(tmp_path: Path) -> None:
    run = keep_run("whole_model", "qemu_cortex_m3", tmp_path, layer=2)
    assert run.report.crash is not None
    done = gdb(run, "bt")
    frames = backtrace(done.stdout)
    assert frames[0] == (run.source.layers[2].name, Path(run.source.layers[2].file).name, run.line)
    assert frames[1][0] == "model_run"


@pytest.mark.parametrize("board", BOARDS)
def test_a_mismatch_stops_at_the_first_wrong_layer_with_its_inputs_in_place(board: str, tmp_path: Path) -> None:
    run = keep_run("mismatch", board, tmp_path)
    assert run.report.verdict is Verdict.MISMATCH
    dump, data = words(run, 1, 0)
    output = run.source.placements[run.source.layers[1].outputs[0]]
    after = f"x/1xb (unsigned char *)&harness_arena + {output.offset}"
    name = run.source.layers[1].name
    done = gdb(run, f'printf "at entry %d\\n", $pc == (void (*)()){name}', dump, "finish", after)
    assert done.returncode == 1
    assert "at entry 1" in done.stdout
    seen = dumped(done.stdout)
    assert seen[:-1] == data
    right = run.report.expected.tensors[run.source.layers[1].outputs[0]][0].tobytes()[0]
    assert seen[-1] == right ^ 1  # what FLIP makes of it


def test_a_timeout_stops_in_the_loop(tmp_path: Path) -> None:
    run = keep_run("timeout", "qemu_cortex_m3", tmp_path)
    done = gdb(run, "bt")
    assert done.returncode == 4
    frames = backtrace(done.stdout)
    assert frames[0] == (run.source.layers[1].name, Path(run.source.layers[1].file).name, run.line)
    assert frames[-1][0] == "main"


def test_a_lockup_stops_at_the_entry_of_the_layer(tmp_path: Path) -> None:
    run = keep_run("lockup", "qemu_cortex_m3", tmp_path)
    assert run.report.verdict is Verdict.LOCKUP
    name = run.source.layers[1].name
    done = gdb(run, f'printf "at entry %d\\n", $pc == (void (*)()){name}', "continue")
    assert done.returncode == 3
    assert "reproduced: the same lockup as then" in done.stdout
    assert "at entry 1" in done.stdout


def test_the_source_is_found_and_nothing_is_left(tmp_path: Path) -> None:
    before = set(psutil.pids())
    long = tmp_path / "a place with spaces, whose name is longer than the path of a socket may be"
    run = keep_run("store", "qemu_cortex_m3", long, zipped=True)
    done = gdb(run, "list", "frame 1", "list")
    assert FAULTS["store"].statement.replace("NOWHERE", "0xF4000000u") in done.stdout
    assert "layer->run(harness_arena);" in done.stdout  # of firmware_stub/model_glue.c
    new = (process for process in psutil.process_iter(["cmdline"]) if process.pid not in before)
    lines = [" ".join(process.info["cmdline"] or []) for process in new]  # None: one that has ended just now
    assert [line for line in lines if str(tmp_path) in line] == []
    assert list(run.bundle.parent.glob("layerproof-*")) == []
