"""What becomes of a crash when the fault path itself is broken.

The code of these machines is in RAM that QEMU calls flash, so it can be broken; a reset mends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.board import load_board
from harness.cpustate import CpuState
from harness.rpc.client import RpcClient
from harness.runners import runner_for
from harness.verdict import TargetCrashed
from tests.firmware_stub.test_fault_path import TIMEOUT, UDF, Device, firmware, symbols
from tests.firmware_stub.test_fault_path import pytestmark as pytestmark

UDF_CODE = bytes([0x00, 0xDE])
LOSE_THE_STACK = bytes([0x00, 0x20, 0x85, 0x46, 0x03, 0xB4])  # movs r0, #0; mov sp, r0; push {r0, r1}
READ_NOTHING = bytes([0x00, 0x20, 0xC0, 0x43, 0x00, 0x68])  # movs r0, #0; mvns r0, r0; ldr r0, [r0]
BOARDS = ["qemu_cortex_m3", "qemu_cortex_m4", "qemu_cortex_m7"]


@contextmanager
def broken(board: str, function: str, code: bytes) -> Iterator[Device]:
    with runner_for(load_board(board)).start(firmware(board)) as target:
        client = RpcClient(target.transport)
        device = Device(board, client, client.connect())
        client.memory_write(symbols(board)[function] & ~1, code)
        yield device


def first_registers(state: CpuState, device: Device) -> None:
    """The record is of the first crash, not of what came after it."""
    assert state.registers["r7"] == 0x777
    assert state.fault_status["cfsr"] == 1 << 16  # UNDEFINSTR
    assert device.hello.stack_bottom < state.registers["sp"] <= device.hello.stack_top
    assert state.layer == 1


@pytest.mark.parametrize("code", [UDF_CODE, LOSE_THE_STACK, READ_NOTHING], ids=["undefined", "no stack", "bad load"])
@pytest.mark.parametrize("board", BOARDS)
def test_a_copy_of_the_stack_that_faults_leaves_a_partial_record(board: str, code: bytes) -> None:
    """Also where the stack pointer of the fault path is lost with it."""
    with broken(board, "layerproof_fault_probe", code) as device:
        state = device.crash(UDF)
        assert state.partial
        assert "pc" not in state.registers
        first_registers(state, device)
        assert device.client.reset().record_bytes


@pytest.mark.parametrize("code", [UDF_CODE, LOSE_THE_STACK], ids=["undefined", "no stack"])
@pytest.mark.parametrize("board", BOARDS)
def test_a_record_that_cannot_be_sent_is_sent_after_the_reset(board: str, code: bytes) -> None:
    with broken(board, "layerproof_fault_finished", code) as device:
        device.client.tensor_write(0, bytes([UDF - 1]))
        with pytest.raises(TargetCrashed) as crashed:
            device.client.run_layers(0, 3, timeout=TIMEOUT)
        state = crashed.value.state
        assert state is not None
        assert not state.partial
        assert state.registers["pc"] == symbols(board)["site_udf"]
        first_registers(state, device)


def test_a_fault_path_that_never_comes_to_its_end_resets_the_processor() -> None:
    with broken("qemu_cortex_m3", "layerproof_fault_postmortem", UDF_CODE) as device:
        device.client.tensor_write(0, bytes([UDF - 1]))
        with pytest.raises(TargetCrashed, match="the firmware restarted by itself"):
            device.client.run_layers(0, 3, timeout=TIMEOUT)
        assert device.client.hello().board_name == device.board
