"""What every runner owes a session, asked of each of them: natively, in QEMU on every core, behind a serial port, in
Renode where it is installed, and in a program that answers like Renode everywhere.

One firmware a board serves all tests: the middle layer misbehaves in the way that the first input element asks for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from harness.board import load_board
from harness.errors import RunnerFailed
from harness.firmware import Firmware, build
from harness.runners import runner_for
from harness.runners.base import Runner
from harness.runners.renode import VARIABLE, find_renode
from harness.runners.sanitizer import parse_report
from harness.session import Session
from harness.verdict import TargetCrashed, TargetLockedUp, TargetTimedOut
from tests import sample_model
from tests.runners.bridge import BridgedRunner
from tests.runners.renode import stand_in

CRASH, HANG, LOCKUP = 100, 101, 102  # first input element; the layer sees it plus the first weight, 1
QEMU_BOARDS = tuple(f"qemu_cortex_{core}" for core in ("m0", "m3", "m4", "m7", "m33", "m55"))
TRANSFER = 1 << 16  # bytes
NO_VECTORS = {  # statements after which no exception can be taken
    "qemu_cortex_m0": """
        *(volatile uint32_t *)0x4001E504u = 1u;   /* NVMC.CONFIG: flash may be written */
        volatile uint32_t *volatile vectors = (volatile uint32_t *)0;
        vectors[3] = 0u;                          /* HardFault */
    """,
    "host": "",
}
VECTORS_NOWHERE = "*(volatile uint32_t *)0xE000ED08u = 0xF0000000u;   /* VTOR */"


@dataclass(frozen=True)
class Place:
    """A way to run firmware, and what can be expected of it."""

    name: str
    board: str
    runner: Callable[[], Runner]
    record: bool = True  # a crash arrives as a fault record; otherwise in a sanitizer's words
    halts: bool = True  # the processor can be stopped and asked where it is
    locks_up: bool = True  # the processor can
    needs: tuple[str, ...] = ("arm-none-eabi-gcc", "qemu-system-arm")
    overhead: float = 0.03  # of a 64 KB transfer


def _places() -> Iterator[Place]:
    yield Place("host", "host", lambda: runner_for(load_board("host")), record=False, locks_up=False, needs=("gcc",))
    for board in QEMU_BOARDS:
        # 16 KB of RAM leave room for messages of 256 bytes only
        overhead = 0.15 if board == "qemu_cortex_m0" else 0.03
        yield Place(board, board, lambda board=board: runner_for(load_board(board)), overhead=overhead)
    bridged = "qemu_cortex_m3"
    yield Place("serial", bridged, lambda: BridgedRunner(runner_for(load_board(bridged))), halts=False)
    renode = "renode_cortex_m4"
    yield Place("like-renode", renode, lambda: runner_for(load_board(renode)))
    # Renode lets no vector table lie where no memory is, and aborts its processor for other reasons only
    yield Place(
        "renode", renode, lambda: runner_for(load_board(renode)), locks_up=False, needs=("arm-none-eabi-gcc", "renode")
    )


def _firmware(board_name: str) -> Firmware:
    board = load_board(board_name)
    misbehave = f"""
    volatile int8_t spin = 1;
    if (input[0] == {CRASH + 1}) {{ __builtin_trap(); }}
    if (input[0] == {HANG + 1}) {{ while (spin) {{ }} }}
    if (input[0] == {LOCKUP + 1}) {{ {NO_VECTORS.get(board_name, VECTORS_NOWHERE)} __builtin_trap(); }}
    for (int32_t i = 0; i < 16; i++) {{
        output[i] = (int8_t)(input[i] * 2);
    }}
"""
    arena = 64 if board_name == "qemu_cortex_m0" else TRANSFER
    source = sample_model.sample(board.cpu.core, arena_bytes=arena)
    return build(sample_model.with_kernel(source, 1, misbehave), board)


_BUILT: dict[str, Firmware] = {}


@pytest.fixture(params=list(_places()), ids=lambda place: place.name)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    wanted: Place = request.param
    for program in wanted.needs:
        if (find_renode() if program == "renode" else shutil.which(program)) is None:
            pytest.skip(f"{program} is not installed")
    if wanted.name == "like-renode":
        monkeypatch.setenv(VARIABLE, stand_in(tmp_path))
    return wanted


@pytest.fixture
def firmware(place: Place) -> Firmware:
    if place.board not in _BUILT:
        _BUILT[place.board] = _firmware(place.board)
    return _BUILT[place.board]


@pytest.fixture
def session(place: Place, firmware: Firmware) -> Iterator[Session]:
    with Session(firmware, place.runner(), timeout=20) as session:
        yield session


def values(first: int = 0) -> np.ndarray:
    array = np.arange(-40, 40, 5, dtype=np.int8)
    array[0] = first
    return array


def function_range(firmware: Firmware, name: str) -> range:
    """Addresses of a function, from binutils."""
    tool = "nm" if firmware.board.name == "host" else "arm-none-eabi-nm"
    listing = subprocess.run([tool, "-S", str(firmware.elf)], check=True, capture_output=True, text=True).stdout
    (fields,) = (line.split() for line in listing.splitlines() if line.split()[-1] == name)
    start = int(fields[0], 16) & ~1
    return range(start, start + int(fields[1], 16))


def test_hello_is_this_firmware(place: Place, firmware: Firmware, session: Session) -> None:
    assert session.hello.build_id == firmware.build_id
    assert session.hello.board_name == place.board
    assert session.hello.layer_count == 3
    assert session.hello.crashed == 0


def test_tensor_round_trip(session: Session) -> None:
    for tensor, dtype in ((sample_model.INPUT, np.int8), (sample_model.DOUBLED, np.int8), (sample_model.SUM, np.int32)):
        shape = (1,) if tensor == sample_model.SUM else (16,)
        array = np.random.default_rng(tensor).integers(-128, 128, shape).astype(dtype)
        session.write_tensor(tensor, array)
        assert session.checksum(tensor) == zlib.crc32(array.tobytes())
        back = session.read_tensor(tensor)
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, array)


def test_layers_report_and_compute(session: Session) -> None:
    expected = sample_model.expected(values())
    session.write_tensor(sample_model.INPUT, values())
    done = session.run_layers()
    assert [layer.index for layer in done] == [0, 1, 2]
    outputs = (sample_model.ADDED, sample_model.DOUBLED, sample_model.SUM)
    assert [layer.crc32 for layer in done] == [zlib.crc32(expected[tensor].tobytes()) for tensor in outputs]
    for tensor, array in expected.items():
        np.testing.assert_array_equal(session.read_tensor(tensor), array)


def test_range_of_layers_and_whole_model(session: Session) -> None:
    expected = sample_model.expected(values())
    session.write_tensor(sample_model.ADDED, expected[sample_model.ADDED])
    assert [layer.index for layer in session.run_layers(1, 2)] == [1]
    np.testing.assert_array_equal(session.read_tensor(sample_model.DOUBLED), expected[sample_model.DOUBLED])
    session.write_tensor(sample_model.INPUT, values())
    session.run()
    np.testing.assert_array_equal(session.read_tensor(sample_model.SUM), expected[sample_model.SUM])


def test_64_kilobytes_with_little_overhead(place: Place, firmware: Firmware, session: Session) -> None:
    payload = np.random.default_rng(1).bytes(TRANSFER)
    address = session.hello.arena_address
    if firmware.source.arena_bytes < TRANSFER:
        payload, address = session.read_memory(0, TRANSFER), 0  # the flash of a board with too little RAM
    else:
        sent = undisturbed(session, lambda: session.write_memory(address, payload))
        assert TRANSFER < sent <= TRANSFER * (1 + place.overhead)
    back = []
    received = undisturbed(session, lambda: back.append(session.read_memory(address, TRANSFER)))
    assert TRANSFER < received <= TRANSFER * (1 + place.overhead)
    assert set(back) == {payload}


def undisturbed(session: Session, transfer: Callable[[], None]) -> int:
    """Bytes on the wire for one transfer. One in which a busy machine let a frame time out does not count."""
    for _ in range(5):
        before = sum(len(piece.data) for piece in session.traffic), session.repeats
        transfer()
        if session.repeats == before[1]:
            return sum(len(piece.data) for piece in session.traffic) - before[0]
    pytest.fail("frames were repeated in each of five transfers")


def test_crash_names_layer_and_place(place: Place, firmware: Firmware, session: Session) -> None:
    session.write_tensor(sample_model.INPUT, values(CRASH))
    with pytest.raises(TargetCrashed) as caught:
        session.run_layers()
    assert caught.value.layer == 1
    double_1 = function_range(firmware, "double_1")
    if place.record:
        assert caught.value.state is not None
        assert caught.value.state.registers["pc"] in double_1
        header = session.read_memory(double_1.start, 8)
        assert header in firmware.elf.read_bytes()
    else:
        report = parse_report(caught.value.detail)
        assert report is not None
        assert report.frames[0].function == "double_1"
    with pytest.raises(TargetCrashed):
        session.run_layers(0, 1)
    session.reset()
    session.write_tensor(sample_model.INPUT, values())
    assert len(session.run_layers()) == 3


def test_hang_is_a_timeout_inside_the_function(place: Place, firmware: Firmware, session: Session) -> None:
    session.write_tensor(sample_model.INPUT, values(HANG))
    with pytest.raises(TargetTimedOut) as caught:
        session.run_layers(timeout=1.0)
    assert caught.value.layer == 1
    if not place.halts:
        assert caught.value.state is None
        return
    assert caught.value.state is not None
    assert caught.value.state.layer == 1
    assert caught.value.state.registers["pc"] in function_range(firmware, "double_1")
    with pytest.raises(TargetTimedOut):
        session.read_tensor(sample_model.INPUT)
    if place.record:
        arena = session.read_memory(session.hello.arena_address, 16)
        assert arena == values(HANG).tobytes()
        first_vector = session.read_memory(0, 4)  # although the MPU guards what a null pointer points to
        assert first_vector == session.hello.stack_top.to_bytes(4, "little")
    session.reset()
    session.write_tensor(sample_model.INPUT, values())
    assert len(session.run_layers()) == 3


def test_lockup_is_neither_crash_nor_timeout(place: Place, firmware: Firmware, session: Session) -> None:
    if not place.locks_up:
        pytest.skip("nothing that this firmware does locks the processor up here")
    session.write_tensor(sample_model.INPUT, values(LOCKUP))
    if place.halts:
        with pytest.raises(TargetLockedUp, match="Lockup") as caught:
            session.run_layers()
        assert caught.value.layer == 1
        assert caught.value.state is not None
        pc = caught.value.state.registers["pc"]
        # where the vectors can only be overwritten the processor still gets as far as its handler, at address 0
        assert pc in function_range(firmware, "double_1") or (pc == 0 and place.board == "qemu_cortex_m0")
        session.reset()
        session.write_tensor(sample_model.INPUT, values())
        assert len(session.run_layers()) == 3
    else:  # all that can be seen through a port is that it is gone
        with pytest.raises(RunnerFailed):
            session.run_layers()


def test_killed_from_outside_is_infrastructure(session: Session) -> None:
    os.kill(session.target.pid, 9)
    with pytest.raises(RunnerFailed, match=r"SIGKILL|is gone"):
        session.run_layers()
    session.reset()
    session.write_tensor(sample_model.INPUT, values())
    assert len(session.run_layers()) == 3


def test_two_sessions_at_once_do_not_meet(place: Place, firmware: Firmware) -> None:
    seen: dict[int, int] = {}
    ready = threading.Barrier(2, timeout=60)

    def work(shift: int) -> None:
        with Session(firmware, place.runner()) as session:
            session.write_tensor(sample_model.INPUT, values() + np.int8(shift))
            ready.wait()  # both have their input in: one arena for two would show now
            session.run_layers()
            seen[shift] = int(session.read_tensor(sample_model.SUM)[0])

    threads = [threading.Thread(target=work, args=(shift,)) for shift in (1, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {shift: int(sample_model.expected(values() + np.int8(shift))[sample_model.SUM][0]) for shift in (1, 3)}
    assert seen == expected
