"""The session: what it checks, what it keeps, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from harness.board import load_board
from harness.errors import BadInput, RunnerFailed
from harness.firmware import Firmware, build
from harness.rpc.messages import LayerDone
from harness.runners import runner_for
from harness.runners.base import Image, Runner, RunningTarget
from harness.runners.serial import SerialRunner
from harness.session import Session, open_session
from harness.verdict import TargetCrashed, TargetTimedOut
from tests import sample_model
from tests.runners import bare_metal
from tests.runners.bridge import Bridge, BridgedRunner
from tests.runners.test_contract import values
from tests.runners.test_process import assert_ends, is_running

ROOT = Path(__file__).parents[1]
BOARD = "qemu_cortex_m3"

pytestmark = [
    pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"),
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"),
]


@dataclass(frozen=True)
class Swapped:
    """A runner on whose board another image is loaded than the one it is told."""

    runner: Runner
    elf: Path

    def start(self, image: Image) -> RunningTarget:
        return self.runner.start(replace(image, elf=self.elf))


@pytest.fixture(scope="module")
def firmware() -> Firmware:
    return build(sample_model.sample(), load_board(BOARD))


@pytest.fixture
def session(firmware: Firmware) -> Iterator[Session]:
    with open_session(firmware, firmware.board) as session:
        yield session


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(15, np.int8), r"int8\[15\] cannot be written to a tensor int8\[16\]"),
        (np.zeros((1, 16), np.int8), r"int8\[1, 16\]"),
        (np.zeros(16, np.uint8), r"uint8\[16\]"),
        (np.zeros(16, np.int32), r"int32\[16\]"),
    ],
)
def test_array_that_is_not_the_tensor(session: Session, array: np.ndarray, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        session.write_tensor(sample_model.INPUT, array)
    assert caught.value.where == "tensor 0 'in'"
    assert session.run_layers()[0].index == 0  # refused before anything was sent


def test_tensor_without_a_place(session: Session) -> None:
    with pytest.raises(BadInput, match=r"tensor 1 'w': .* it is a constant"):
        session.read_tensor(sample_model.WEIGHTS)
    with pytest.raises(BadInput, match="no tensor 5; it has 0 to 4"):
        session.checksum(5)


def test_tensor_that_is_not_contiguous(session: Session) -> None:
    array = np.arange(32, dtype=np.int8)[::2]
    session.write_tensor(sample_model.INPUT, array)
    np.testing.assert_array_equal(session.read_tensor(sample_model.INPUT), array)


def test_session_that_is_not_running(firmware: Firmware) -> None:
    session = open_session(firmware, firmware.board)
    with pytest.raises(RunnerFailed, match="not started"):
        session.run_layers()
    with session:
        pid = session.target.pid
        assert session.hello.layer_count == 3
    with pytest.raises(RunnerFailed, match="has ended"):
        session.run_layers()
    assert_ends(pid)


def test_memory_of_running_firmware(session: Session, firmware: Firmware) -> None:
    address = session.hello.arena_address
    session.write_memory(address, values().tobytes())
    np.testing.assert_array_equal(session.read_tensor(sample_model.INPUT), values())
    assert session.read_memory(address + 4, 5) == values().tobytes()[4:9]
    with pytest.raises(RunnerFailed, match="nothing can be read"):
        session.read_memory(0x60000000, 4)
    assert len(session.run_layers()) == 3


def test_stale_firmware_is_refused_with_both_build_ids(firmware: Firmware) -> None:
    other = build(sample_model.with_kernel(sample_model.sample(), 1, "    output[0] = input[0];\n"), firmware.board)
    assert other.build_id != firmware.build_id
    with pytest.raises(RunnerFailed) as caught, Session(firmware, Swapped(runner_for(firmware.board), other.elf)):
        pass
    assert firmware.build_id.hex() in str(caught.value)
    assert other.build_id.hex() in str(caught.value)


def test_firmware_of_another_board_is_refused(firmware: Firmware) -> None:
    elsewhere = replace(firmware, board=load_board("qemu_cortex_m4"))
    with pytest.raises(RunnerFailed, match=r"qemu_cortex_m3.*qemu_cortex_m4"):
        Session(elsewhere, runner_for(firmware.board)).__enter__()


def test_log_and_transcript_are_complete(firmware: Firmware, tmp_path: Path) -> None:
    with open_session(firmware, firmware.board) as session:
        session.write_tensor(sample_model.INPUT, values())
        session.run_layers()
    frames = [frame for frame in session.uart_log.split(b"\0") if frame]  # of COBS: zeros stand only between frames
    incoming = [entry for entry in session.transcript if entry["direction"] == "from target"]
    assert session.uart_log.endswith(b"\0")
    assert len(incoming) == len(frames)
    session.write_transcript(tmp_path / "transcript.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "transcript.jsonl").read_text().splitlines()]
    assert lines == session.transcript
    assert [entry["time"] for entry in lines] == sorted(entry["time"] for entry in lines)
    spoken = [(entry["direction"], entry["message"]) for entry in lines]
    assert ("to target", "Hello") in spoken
    hello = next(entry for entry in lines if entry["message"] == "Hello answer")
    assert hello["build_id"] == firmware.build_id.hex()
    write = next(entry for entry in lines if entry["message"] == "TensorWrite")
    assert (write["offset"], write["data"]) == (0, values().tobytes().hex())
    assert [entry["index"] for entry in lines if entry["message"] == "LayerDone"] == [0, 1, 2]
    assert spoken[-1] == ("from target", "RunLayers answer")


def test_each_layer_has_the_whole_time() -> None:
    board = load_board("host")
    # Seconds on the wall, not of the processor: on a busy machine a layer then still takes as long as it should.
    slow = """
    struct moment { long seconds, nanoseconds; } now, start;
    extern int clock_gettime(int clock, struct moment *result);
    clock_gettime(1, &start);
    do {
        clock_gettime(1, &now);
    } while ((now.seconds - start.seconds) * 1000 + (now.nanoseconds - start.nanoseconds) / 1000000 < 1000);
    output[0] = input[0];
"""
    source = sample_model.sample("host")
    for layer in range(3):
        source = sample_model.with_kernel(source, layer, slow)
    heard: list[int] = []
    with open_session(build(source, board), board, timeout=2.5) as session:
        done = session.run_layers(on_layer=lambda layer: heard.append(layer.index))
        assert [layer.index for layer in done] == heard == [0, 1, 2]
        with pytest.raises(TargetTimedOut) as caught:
            session.run_layers(timeout=0.3)
        assert caught.value.layer == 0


def test_firmware_that_never_answers_is_halted_where_it_is(firmware: Firmware, tmp_path: Path) -> None:
    deaf = Swapped(runner_for(firmware.board), bare_metal.build(tmp_path, hang_at_once=True))
    with pytest.raises(TargetTimedOut, match="no answer to Hello") as caught:
        Session(firmware, deaf, patience=1.0).__enter__()
    assert caught.value.state is not None
    assert caught.value.state.registers["pc"] in bare_metal.function_range(deaf.elf, "spin")


def test_board_that_never_answers_is_infrastructure(firmware: Firmware, tmp_path: Path) -> None:
    deaf = Swapped(BridgedRunner(runner_for(firmware.board)), bare_metal.build(tmp_path, hang_at_once=True))
    with pytest.raises(RunnerFailed, match="no answer to Hello"):
        Session(firmware, deaf, patience=1.0).__enter__()


def test_board_left_crashed_by_an_earlier_session_is_started_anew() -> None:
    board = load_board(BOARD)
    crash = "    if (input[0] == 1) { __builtin_trap(); }\n    output[0] = input[0];\n"
    firmware = build(sample_model.with_kernel(sample_model.sample(), 1, crash), board)
    with runner_for(board).start(firmware) as device, contextlib.closing(Bridge(device)) as bridge:
        port = SerialRunner(bridge.port)
        with Session(firmware, port) as session:
            assert session.earlier_crash is None
            session.write_tensor(sample_model.INPUT, values(0))
            with pytest.raises(TargetCrashed):
                session.run_layers()
        with Session(firmware, port) as session:
            assert session.earlier_crash is not None
            assert session.earlier_crash.layer == 1
            session.write_tensor(sample_model.INPUT, values(5))
            assert len(session.run_layers()) == 3
        with Session(firmware, port) as session:
            assert session.earlier_crash is None


def test_a_layer_that_resets_the_processor_has_crashed() -> None:
    board = load_board(BOARD)
    request = "*(volatile uint32_t *)0xE000ED0Cu = 0x05FA0004u;"  # AIRCR.SYSRESETREQ
    reset = f"    output[0] = input[0];\n    {request}\n    for (;;) {{ }}\n"
    firmware = build(sample_model.with_kernel(sample_model.sample(), 1, reset), board)
    with open_session(firmware, board) as session:
        session.write_tensor(sample_model.INPUT, values(0))
        with pytest.raises(TargetCrashed, match="restarted by itself") as caught:
            session.run_layers()
    assert caught.value.layer == 1


def test_interrupt_while_a_layer_runs_leaves_no_process(firmware: Firmware) -> None:
    session = open_session(firmware, firmware.board)

    def interrupt(layer: LayerDone) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt), session:
        pid = session.target.pid
        session.run_layers(on_layer=interrupt)
    assert_ends(pid)


HANGING_RUN = """
    from harness.board import load_board
    from harness.firmware import build
    from harness.session import open_session
    from tests import sample_model

    board = load_board("{board}")
    hang = "volatile int8_t spin = 1; while (spin) {{ }} output[0] = input[0];"
    firmware = build(sample_model.with_kernel(sample_model.sample(board.cpu.core), 1, hang), board)
    with open_session(firmware, board) as session:
        session.run_layers(on_layer=lambda layer: print(session.target.pid, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("board", [BOARD, "host"])
def test_signal_in_the_middle_of_a_layer_leaves_nothing(number: signal.Signals, board: str, tmp_path: Path) -> None:
    script = textwrap.dedent(HANGING_RUN.format(board=board))
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as harness:
        assert harness.stdout is not None
        assert harness.stderr is not None
        line = harness.stdout.readline()  # layer 0 is done, layer 1 spins
        assert line, harness.stderr.read().decode()
        pid = int(line)
        assert is_running(pid)
        harness.send_signal(number)
        harness.wait(timeout=20)
        assert_ends(pid)
    assert list(tmp_path.iterdir()) == []
