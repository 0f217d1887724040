"""The QEMU runner against a small program of the test's own, so that nothing else of the harness can be at fault."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import RunnerFailed, ToolMissing
from harness.runners.base import ExitKind, Transport
from harness.runners.qemu import QemuRunner, QemuTarget, parse_registers
from tests.runners import bare_metal

pytestmark = [
    pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"),
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"),
]


@dataclass(frozen=True)
class Elf:
    elf: Path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Elf:
    return Elf(bare_metal.build(tmp_path_factory.mktemp("bare_metal")))


def receive(transport: Transport, count: int, seconds: float = 20.0) -> bytes:
    data = b""
    deadline = time.monotonic() + seconds
    while len(data) < count and time.monotonic() < deadline:
        data += transport.read(count - len(data), deadline)
    return data


def wait_for_end(target: QemuTarget) -> None:
    with pytest.raises(EOFError):
        receive(target.transport, 1 << 20)


def test_every_byte_from_boot_on_arrives(image: Elf) -> None:
    with QemuRunner(bare_metal.MACHINE).start(image) as target:
        assert receive(target.transport, 4) == b"boot"


def test_bytes_sent_before_the_uart_is_on_are_not_stuck(image: Elf) -> None:
    for _ in range(5):  # without the nudge about half of the starts stall
        with QemuRunner(bare_metal.MACHINE).start(image) as target:
            target.transport.write(b"abc")
            assert receive(target.transport, 7) == b"bootbcd"


def test_echo_of_many_bytes(image: Elf) -> None:
    payload = bytes(range(1, 61)) * 100  # neither 'H' nor 'L'
    with QemuRunner(bare_metal.MACHINE).start(image) as target:
        assert receive(target.transport, 4) == b"boot"
        target.transport.write(payload)
        assert receive(target.transport, len(payload)) == bytes(byte + 1 for byte in payload)


def test_read_returns_nothing_at_its_deadline(image: Elf) -> None:
    with QemuRunner(bare_metal.MACHINE).start(image) as target:
        assert receive(target.transport, 4) == b"boot"
        started = time.monotonic()
        assert target.transport.read(1, started + 0.05) == b""
        assert time.monotonic() - started >= 0.05


def test_hang_is_halted_inside_the_function(image: Elf) -> None:
    with QemuRunner(bare_metal.MACHINE).start(image) as target:
        target.transport.write(b"H")
        assert receive(target.transport, 5, seconds=0.5) == b"boot"
        state = target.halt()
        assert state is not None
        assert state.registers["pc"] in bare_metal.function_range(image.elf, "spin")
        assert state.registers["lr"] - 1 in bare_metal.function_range(image.elf, "reset")
        assert 0x20000000 < state.registers["sp"] <= 0x20001000
        assert state.fault_status == {}
        assert state.reason == "halted"
        assert state.memory[0].address == state.registers["sp"]
        assert target.alive()
        assert target.exit_reason() is None


def test_memory_of_a_halted_processor(image: Elf) -> None:
    marker = bare_metal.function_range(image.elf, "marker").start
    with QemuRunner(bare_metal.MACHINE).start(image) as target:
        assert receive(target.transport, 4) == b"boot"
        with pytest.raises(RunnerFailed, match="only while the processor is halted"):
            target.read_memory(marker, 4)
        target.halt()
        assert target.read_memory(marker, 4) == (0x600DF00D).to_bytes(4, "little")
        assert target.read_memory(0, 4) == (0x20001000).to_bytes(4, "little")
        code = image.elf.read_bytes()
        assert target.read_memory(0x400, 3000)[:64] in code  # over the borders of pages
        with pytest.raises(RunnerFailed, match="nothing readable at 0x60000000"):
            target.read_memory(0x60000000, 8)


def test_lockup_is_told_apart_and_keeps_the_registers(image: Elf) -> None:
    with QemuRunner(bare_metal.MACHINE).start(image) as target:
        target.transport.write(b"L")
        wait_for_end(target)
        gone = target.exit_reason(timeout=10)
        assert gone is not None
        assert gone.kind is ExitKind.LOCKUP
        assert gone.what.startswith("Lockup: ")
        assert gone.state is not None
        assert gone.state.registers["pc"] in bare_metal.function_range(image.elf, "lock_up")
        assert not target.alive()
        assert target.halt() is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_killed_emulator_is_lost_not_locked_up(image: Elf, number: signal.Signals) -> None:
    with QemuRunner(bare_metal.MACHINE).start(image) as target:
        os.kill(target.pid, number)
        wait_for_end(target)
        gone = target.exit_reason(timeout=10)
        assert gone is not None
        assert gone.kind is ExitKind.LOST
        assert number.name in gone.what


def test_no_process_is_left(image: Elf) -> None:
    with pytest.raises(KeyboardInterrupt), QemuRunner(bare_metal.MACHINE).start(image) as target:
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(target.pid, 0)
    assert "has no peer" not in target.stderr


def test_missing_qemu_names_the_package(image: Elf) -> None:
    with pytest.raises(ToolMissing, match="apt install qemu-system-arm"):
        QemuRunner(bare_metal.MACHINE, emulator="qemu-system-no-such").start(image)


def test_qemu_that_refuses_to_start_speaks_for_itself(image: Elf) -> None:
    with pytest.raises(RunnerFailed, match="unsupported machine type"):
        QemuRunner("no-such-machine").start(image)


def test_memory_limit_holds(image: Elf) -> None:
    with pytest.raises(RunnerFailed, match="Cannot allocate memory"):
        QemuRunner(bare_metal.MACHINE, memory_limit=96 << 20).start(image)


def test_register_dump_of_a_core_with_an_fpu() -> None:
    text = (
        "R00=00000001 R01=00000048 R02=00000002 R03=40004000\n"
        "R12=e000e000 R13=20000fe0 R14=fffffff9 R15=00000416\n"
        "XPSR=61000003 -ZC- T S handler\ns00=3f800000 s01=00000000 d00=000000003f800000\nFPSCR: 00000010\n"
    )
    assert parse_registers(text) == {
        "r0": 1, "r1": 0x48, "r2": 2, "r3": 0x40004000, "r12": 0xE000E000, "sp": 0x20000FE0, "lr": 0xFFFFFFF9,
        "pc": 0x416, "xpsr": 0x61000003, "s0": 0x3F800000, "s1": 0, "fpscr": 0x10, "msp": 0x20000FE0,
    }  # fmt: skip
