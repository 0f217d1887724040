"""The Renode runner on a program that answers like Renode (see test_fake_renode.py), and on broken ones."""

from __future__ import annotations

import os
import re
import shutil
import socket
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.board import load_board
from harness.errors import InfrastructureError, RunnerFailed, ToolMissing
from harness.firmware import Firmware, build
from harness.resources import boards_dir
from harness.runners import renode, runner_for
from harness.runners.base import ExitKind
from harness.runners.renode import VARIABLE, RenodeRunner, find_renode
from harness.runners.robot import RenodeRefused
from harness.session import Session
from harness.verdict import TargetLockedUp, Verdict
from harness.verification import verify
from tests import sample_model
from tests.edited_sources import READ_NOWHERE, four_layers, insert, sources
from tests.runners import repl
from tests.runners.renode import recording, shape, stand_in
from tests.runners.test_process import assert_ends
from tests.runners.test_qemu import receive

BOARD = "renode_cortex_m4"
INSTALLED = find_renode()
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)


@pytest.fixture(scope="module")
def firmware() -> Firmware:
    board = load_board(BOARD)
    return build(sample_model.sample(board.cpu.core), board)


@pytest.fixture
def runner() -> RenodeRunner:
    found = runner_for(load_board(BOARD))
    assert isinstance(found, RenodeRunner)
    return found


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what the stand-in for Renode was asked, a line each."""
    path = tmp_path / "requests"
    monkeypatch.setenv(VARIABLE, stand_in(tmp_path, FAKE_RENODE_REQUESTS=path))
    return path


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a stand-in with this change, a piece of Python, in the place of Renode. Temporary files go to `tmp_path`."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return lambda change: monkeypatch.setenv(VARIABLE, stand_in(tmp_path, change))


# ---- requests and platform, against the recording


def test_every_request_has_a_form_that_renode_was_seen_to_take(
    firmware: Firmware, runner: RenodeRunner, requests: Path
) -> None:
    with Session(firmware, runner) as session:
        session.write_tensor(sample_model.INPUT, np.zeros(16, np.int8))
        session.run_layers()
        assert session.target.halt() is not None
    asked = requests.read_text().splitlines()
    events = recording("robot_xmlrpc.json")["events"]
    commands = [event["command"] for event in events if "command" in event and event["response"]["status"] == "PASS"]
    prepared = asked[: asked.index("start") + 1]
    assert list(map(shape, prepared)) == list(map(shape, commands[1 : commands.index("start") + 1]))  # but `version`
    typed = [event["send"] for event in recording("monitor_plain.json")["events"] if "send" in event]
    assert set(map(shape, asked)) <= {shape(command) for command in (*commands, *typed)}
    assert len(asked) > len(prepared) + 6


def test_the_platform_is_the_recorded_one_and_the_boards() -> None:
    text = (boards_dir() / f"{BOARD}.repl").read_text(encoding="utf-8")
    board = load_board(BOARD)
    assert repl.memories(text) == {range(region.address, region.end) for region in board.memory}
    line = board.uart.options["interrupt"]
    assert repl.uart(text, "uart0") == ("UART.CMSDK_APB_UART", board.uart.address, line, line + 1)
    theirs = repl.peripherals(recording("mps2_cortex_m4.repl"))
    assert sorted(repl.peripherals(text).values()) == sorted(theirs.values())


# ---- a whole job


@pytest.mark.usefixtures("requests")
def test_verify(tmp_path: Path) -> None:
    report = verify(four_layers(tmp_path / "four.tflite"), BOARD, samples=2)
    assert report.verdict is Verdict.MATCH
    assert [layer["status"] for layer in report.to_json()["layers"]] == ["match"] * 4


@pytest.mark.usefixtures("requests")
def test_a_crash_is_explained(tmp_path: Path) -> None:
    model = four_layers(tmp_path / "four.tflite")
    insert(sources(model, tmp_path / "c", BOARD), tmp_path / "c", 2, READ_NOWHERE)
    report = verify(model, BOARD, sources=tmp_path / "c")
    assert report.verdict is Verdict.CRASH
    assert report.crash is not None
    assert report.crash.layer == 2


# ---- memory


@pytest.mark.usefixtures("requests")
def test_memory_of_a_halted_processor(firmware: Firmware, runner: RenodeRunner) -> None:
    with runner.start(firmware) as target:
        with pytest.raises(RunnerFailed, match="only while the processor is halted"):
            target.read_memory(0, 4)
        state = target.halt()
        assert state is not None
        assert target.read_memory(0, 256) in firmware.elf.read_bytes()
        assert target.read_memory(0xE000ED00, 4) == (0x410FC240).to_bytes(4, "little")  # CPUID of a Cortex-M4
        for address, length in ((0x60000000, 4), (0x400000 - 2, 4), (0xE000ED01, 4), (0xE000EFFC, 8)):
            with pytest.raises(RunnerFailed, match=f"nothing readable at {address:#010x}"):
                target.read_memory(address, length)


# ---- what goes wrong


def test_no_renode(firmware: Firmware, runner: RenodeRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ToolMissing, match="renode is not on PATH") as missing:
        runner.start(firmware)
    assert "portable" in missing.value.hint
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(ToolMissing, match="RENODE names .*/nothing, which is no program"):
        runner.start(firmware)


def test_renode_by_path_and_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = stand_in(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert find_renode() == program
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "./renode")
    assert find_renode() == program


def replacing(method: str, body: str) -> str:
    """A change of the stand-in: a method of its monitor with another body, in which `was()` is what it did before."""
    lines = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    name = f"fake_renode.Monitor.{method}"
    head = f"old = {name}\ndef new(self, *words):\n    was = lambda: old(self, *words)\n"
    return f"{head}{lines}\nnew.__doc__ = old.__doc__\n{name} = new\n"


@pytest.fixture
def told_pid(tmp_path: Path) -> Iterator[str]:
    """A change by which the stand-in tells its process id. Neither it nor its folder may be there after the test."""
    yield f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    assert_ends(int((tmp_path / "pid").read_text()))
    assert not list(tmp_path.glob("*renode-*"))


BROKEN = {  # change, words of the error, words of its hint
    "ends at once": ('print("libgdiplus is missing", flush=True); sys.exit(3)', "exited with status 3", "libgdiplus"),
    "never listens": ('print("so slow", flush=True); time.sleep(600)', "does not listen after 3 s", "so slow"),
    "ends when asked": (
        replacing("do_load", 'print("out of memory", flush=True)\nos._exit(134)'),
        "exited with status 134",
        "out of memory",
    ),
    "does not answer": (replacing("do_start", "time.sleep(600)"), "did not answer `start` within 2 s", "listening on"),
    "refuses": (
        replacing("do_connect", 'raise fake_renode.No("no such thing")'),
        "Renode refuses `connector Connect sysbus.uart0 term`: no such thing",
        "",
    ),
    "has no terminal": (replacing("do_terminal", 'return ""'), "cannot connect to the UART that Renode gives", ""),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_start_that_fails_is_one_error_in_renodes_words(
    case: str,
    firmware: Firmware,
    runner: RenodeRunner,
    changed: Callable[[str], None],
    told_pid: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change, what, words = BROKEN[case]
    monkeypatch.setattr(renode, "START_SECONDS", 3)
    monkeypatch.setattr(renode, "ANSWER_SECONDS", 2)
    changed(told_pid + change)
    with pytest.raises(RunnerFailed) as caught:
        runner.start(firmware)
    assert isinstance(caught.value, InfrastructureError)
    assert what in caught.value.what
    assert words in caught.value.hint


def test_a_wrong_platform_is_refused_by_renode(firmware: Firmware, runner: RenodeRunner, requests: Path) -> None:
    wrong = RenodeRunner(runner.platform.replace("0x40004000", "0x40005000"), runner.uart, runner.memory)
    command = re.escape("machine LoadPlatformDescription $CWD/board.repl")
    with pytest.raises(
        RenodeRefused, match=f"^Renode refuses `{command}`: There was an error .* describes no mps2-an386"
    ):
        wrong.start(firmware)
    assert "start" not in requests.read_text().splitlines()


def test_a_port_that_was_taken_meanwhile_is_another(
    firmware: Firmware, runner: RenodeRunner, requests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("", 0)) as taken:
        ports = [renode.free_port(), int(taken.getsockname()[1]), int(taken.getsockname()[1])]
        monkeypatch.setattr(renode, "free_port", ports.pop)
        with runner.start(firmware) as target:
            assert receive(target.transport, 1)
    assert sum("CreateServerSocketTerminal" in line for line in requests.read_text().splitlines()) == 3


def test_no_process_and_no_folder_is_left(
    firmware: Firmware, runner: RenodeRunner, changed: Callable[[str], None], told_pid: str, tmp_path: Path
) -> None:
    changed(told_pid)
    with pytest.raises(KeyboardInterrupt), runner.start(firmware):
        interrupt(len(list(tmp_path.glob("layerproof-renode-*"))))


def interrupt(folders: int) -> None:
    assert folders == 1
    raise KeyboardInterrupt


def test_the_end_of_renode_is_told_with_the_tail_of_its_log(
    firmware: Firmware, runner: RenodeRunner, changed: Callable[[str], None]
) -> None:
    changed(
        replacing(
            "do_start",
            """
            answer = was()
            print(*range(100), "Unhandled exception", sep="\\n", flush=True)
            fake_renode.threading.Timer(0.3, lambda: os._exit(70)).start()
            return answer
            """,
        )
    )
    with runner.start(firmware) as target:
        with pytest.raises(EOFError):
            receive(target.transport, 1 << 20)
        gone = target.exit_reason(timeout=10)
    assert gone is not None
    assert (gone.kind, gone.what) == (ExitKind.LOST, "Renode exited with status 70")
    assert gone.detail.splitlines() == [*map(str, range(101 - renode.LOG_TAIL, 100)), "Unhandled exception"]


def test_an_aborted_processor_is_a_lockup_while_renode_lives(
    firmware: Firmware, runner: RenodeRunner, changed: Callable[[str], None]
) -> None:
    words = "CPU abort [PC=0x60000000]: Trying to execute code outside RAM or ROM at 0x60000000"
    changed(
        replacing(
            "do_start",
            f"""
            answer = was()
            self.machine.pause()
            fake_renode.log("ERROR", "cpu: {words}\\n    .")
            return answer
            """,
        )
    )
    with pytest.raises(TargetLockedUp) as caught, Session(firmware, runner):
        pass
    assert caught.value.what == words
    assert words in caught.value.detail
    assert caught.value.state is not None
    assert caught.value.state.reason == "lockup"
    assert caught.value.state.memory[0].address == caught.value.state.registers["sp"]


def test_a_log_without_end_is_told(
    firmware: Firmware, runner: RenodeRunner, changed: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renode, "LARGEST_LOG", 10_000)
    changed(
        replacing(
            "do_start",
            """
            for n in range(200):
                fake_renode.log("WARNING", f"sysbus: write to 0x{n:08X}, which is not there")
            return was()
            """,
        )
    )
    with runner.start(firmware) as target:
        with pytest.raises(EOFError):
            receive(target.transport, 1 << 20)
        assert not target.alive()
        gone = target.exit_reason()
    assert gone is not None
    assert gone.kind is ExitKind.LOST
    assert gone.what == "Renode's log has grown beyond 10,000 bytes"
    assert gone.detail.count("which is not there") >= renode.LOG_TAIL - 1


# ---- a real Renode


@pytest.mark.skipif(INSTALLED is None, reason="Renode is not installed: see `harness doctor`")
def test_a_jump_outside_memory_in_a_real_renode() -> None:
    board = load_board(BOARD)
    jump = "    ((void (*)(void))0x60000001u)();\n    output[0] = input[0];\n"
    source = sample_model.with_kernel(sample_model.sample(board.cpu.core), 1, jump)
    with Session(build(source, board), runner_for(board), timeout=5) as session:
        session.write_tensor(sample_model.INPUT, np.zeros(16, np.int8))
        with pytest.raises(TargetLockedUp, match="CPU abort") as caught:
            session.run_layers()
    assert caught.value.layer == 1
