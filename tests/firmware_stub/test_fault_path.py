"""The fault path on every emulated core: what the record says of a crash whose cause the test chose itself.

One firmware a board: its middle layer crashes in the way that the first input element asks for.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from harness.board import load_board
from harness.cpustate import CpuState
from harness.errors import RunnerFailed
from harness.firmware import Firmware, build
from harness.rpc import messages as m
from harness.rpc.client import RpcClient
from harness.rpc.exchange import Refused
from harness.runners import runner_for
from harness.verdict import TargetCrashed
from tests import sample_model
from tests.rpc.line import BadLine, Drop, Flip

BOARDS = tuple(f"qemu_cortex_{core}" for core in ("m0", "m3", "m4", "m7", "m33", "m55"))
MAINLINE = BOARDS[1:]
LIMITED = ("qemu_cortex_m33", "qemu_cortex_m55")  # have a register for the limit of the stack
WITH_FPU = ("qemu_cortex_m4", "qemu_cortex_m7", "qemu_cortex_m33", "qemu_cortex_m55")
TIMEOUT = 20.0  # seconds

pytestmark = [
    pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"),
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"),
]

# A bad address of each machine; those of the larger ones have memory almost everywhere.
NOWHERE = {"qemu_cortex_m55": 0x1FFE8000} | dict.fromkeys(BOARDS[:5], 0xC0000000)

# fault_site is where the processor must say it was, except after a jump.
KERNEL = """
#include "layers.h"
#include "weights.h"
void *fault_address;
void (*fault_function)(void);
int fault_number;
void fault_sites(volatile int8_t *place);
__attribute__((noinline)) static int8_t recurse(const int8_t *restrict input, int8_t *restrict output)
{
    int8_t (*volatile again)(const int8_t *restrict, int8_t *restrict) = recurse;
    volatile int8_t some[64];
    some[0] = input[0];
    return (int8_t)(again(input, output) + some[0]);
}
void double_1(const int8_t *restrict input, int8_t *restrict output)
{
    volatile uint32_t *place = fault_address;
    __asm volatile("mov r7, %0" ::"r"(0x777) : "r7");
    switch (input[0]) {
    case 2:
        __asm volatile(".global site_load\\nsite_load: ldr r0, [%0]" ::"l"(place) : "r0", "memory");
        break;
    case 3:
        __asm volatile(".global site_store\\nsite_store: str r0, [%0]" ::"l"(place) : "r0", "memory");
        break;
    case 4:
        __asm volatile(".global site_udf\\nsite_udf: udf #1");
        break;
    case 5:
        fault_function();
        output[1] = 0; /* so that it is a call and no jump */
        break;
    case 6:
#if __ARM_ARCH >= 7
        __asm volatile(".global site_divide\\nsite_divide: udiv r0, %0, %1" ::"r"(7), "r"(fault_number) : "r0");
#endif
        break;
    case 7:
#ifdef __ARM_FP
        __asm volatile("vmov.f32 s0, #1.0\\nvmov.f32 s5, #2.0\\nvmov.f32 s20, #3.0\\n"
                       "vmrs r0, fpscr\\norr r0, #0x400000\\nvmsr fpscr, r0\\n"
                       ".global site_float\\nsite_float: udf #2" ::: "r0", "s0", "s5", "s20");
#endif
        break;
    case 8:
        output[0] = recurse(input, output);
        break;
    default:
        output[0] = input[0];
        break;
    }
}
"""
LOAD, STORE, UDF, JUMP, DIVIDE, FLOAT, RECURSE = range(2, 9)


@cache
def firmware(board: str) -> Firmware:
    target = load_board(board)
    source = sample_model.sample(target.cpu.core)
    source = sample_model.with_kernel(source, 1, "")
    files = {**source.files, "layers/001_double_1.c": KERNEL}
    return build(type(source)(**{**source.__dict__, "files": files}), target)


@cache
def symbols(board: str) -> dict[str, int]:
    text = subprocess.run(["arm-none-eabi-nm", firmware(board).elf], capture_output=True, text=True, check=True).stdout
    return {name: int(value, 16) for value, _, name in (line.split() for line in text.splitlines())}


@dataclass
class Device:
    board: str
    client: RpcClient
    hello: m.HelloReply

    def poke(self, name: str, value: int) -> None:
        self.client.memory_write(symbols(self.board)[name], struct.pack("<I", value))

    def crash(self, kind: int) -> CpuState:
        values = np.zeros(16, np.int8)
        values[0] = kind - 1  # the first layer adds 1
        self.client.tensor_write(0, values.tobytes())
        with pytest.raises(TargetCrashed) as crashed:
            self.client.run_layers(0, 3, timeout=TIMEOUT)
        assert crashed.value.layer == 1
        assert crashed.value.state is not None
        return crashed.value.state

    def restart(self) -> None:
        self.client.reset()
        self.hello = self.client.connect()


@pytest.fixture(scope="module", params=BOARDS)
def machine(request: pytest.FixtureRequest) -> Iterator[Device]:
    board = request.param
    with runner_for(load_board(board)).start(firmware(board)) as target:
        client = RpcClient(target.transport)
        yield Device(board, client, client.connect())


@pytest.fixture
def device(machine: Device) -> Device:
    machine.restart()
    machine.poke("fault_address", NOWHERE[machine.board])
    return machine


def only(device: Device, boards: tuple[str, ...], why: str) -> None:
    if device.board not in boards:
        pytest.skip(f"{device.board} {why}")


def test_a_load_and_a_store(device: Device) -> None:
    for kind, site in ((LOAD, "site_load"), (STORE, "site_store")):
        state = device.crash(kind)
        assert state.registers["pc"] == symbols(device.board)[site]
        assert state.registers["r7"] == 0x777
        assert device.hello.stack_bottom < state.registers["sp"] <= device.hello.stack_top
        assert not state.partial
        if device.board in MAINLINE:
            assert state.reason == "busfault"
            assert state.fault_status["bfar"] == NOWHERE[device.board]
            assert state.fault_status["cfsr"] & 0xFF00 == 0x8200  # BFARVALID, PRECISERR
        else:
            assert state.reason == "hardfault"
            assert state.fault_status == {}
        device.restart()
        device.poke("fault_address", NOWHERE[device.board])


def test_an_undefined_instruction(device: Device) -> None:
    state = device.crash(UDF)
    assert state.registers["pc"] == symbols(device.board)["site_udf"]
    assert state.reason == ("usagefault" if device.board in MAINLINE else "hardfault")
    if device.board in MAINLINE:
        assert state.fault_status["cfsr"] == 1 << 16  # UNDEFINSTR


def test_a_jump_into_nowhere(device: Device) -> None:
    device.poke("fault_function", NOWHERE[device.board] | 1)
    state = device.crash(JUMP)
    assert state.registers["pc"] == NOWHERE[device.board]
    inside = symbols(device.board)["double_1"] & ~1
    assert inside < state.registers["lr"] < inside + 200


def test_data_is_not_run(device: Device) -> None:
    only(device, MAINLINE, "has no MPU")
    address = device.hello.arena_address + 32
    device.poke("fault_function", address | 1)
    state = device.crash(JUMP)
    assert state.reason == "memmanage"
    assert state.registers["pc"] == address
    assert state.fault_status["cfsr"] & 1  # IACCVIOL


@pytest.mark.parametrize("offset", [0, 4, 252])
def test_null_is_guarded(device: Device, offset: int) -> None:
    only(device, MAINLINE, "has no MPU")
    device.poke("fault_address", offset)
    state = device.crash(LOAD)
    assert state.reason == "memmanage"
    assert state.registers["pc"] == symbols(device.board)["site_load"]
    assert state.fault_status["mmfar"] == offset
    assert state.fault_status["cfsr"] == 0x82  # MMARVALID, DACCVIOL


def test_a_call_through_null(device: Device) -> None:
    device.poke("fault_function", 0)
    state = device.crash(JUMP)
    assert state.registers["pc"] == 0


def test_division_by_zero(device: Device) -> None:
    only(device, MAINLINE, "divides in software")
    state = device.crash(DIVIDE)
    assert state.registers["pc"] == symbols(device.board)["site_divide"]
    assert state.fault_status["cfsr"] == 1 << 25  # DIVBYZERO


def test_floating_point_registers(device: Device) -> None:
    """S0-S15 are in the frame only once lazy stacking was completed."""
    only(device, WITH_FPU, "has no FPU")
    state = device.crash(FLOAT)
    assert state.registers["pc"] == symbols(device.board)["site_float"]
    assert state.registers["exc_return"] & 0x10 == 0  # an extended frame
    values = {name: struct.unpack("<f", struct.pack("<I", state.registers[name]))[0] for name in ("s0", "s5", "s20")}
    assert values == {"s0": 1.0, "s5": 2.0, "s20": 3.0}
    assert state.registers["fpscr"] & 0xC00000 == 0x400000  # rounding up, and not the default that a handler begins with
    frame = state.memory[0]
    assert len(frame.data) == 26 * 4
    assert device.client.memory_read(frame.address, 26 * 4)[: 25 * 4] == frame.data[: 25 * 4]  # in memory, too
    assert device.hello.stack_bottom < state.registers["sp"] <= device.hello.stack_top


def test_a_stack_overflow_does_no_harm_before_it_is_seen(device: Device) -> None:
    """The processor has no room left for its own frame, so the registers in it are lost; the stack is not."""
    state = device.crash(RECURSE)
    assert not {"pc", "lr", "r0"} & set(state.registers)
    assert state.registers["sp"] <= device.hello.stack_bottom
    deepest = state.memory[-1]
    assert device.hello.stack_bottom <= deepest.address < device.hello.stack_bottom + 128
    inside = symbols(device.board)["recurse"]
    words = struct.unpack(f"<{len(deepest.data) // 4}I", deepest.data)
    assert sum(inside < word < inside + 80 for word in words) >= 2  # return addresses of the recursion
    if device.board in LIMITED:
        assert state.fault_status["cfsr"] == 1 << 20  # STKOF
    elif device.board in MAINLINE:
        assert state.fault_status["cfsr"] & 0x10  # MSTKERR
        assert state.reason == "memmanage"


def test_the_dead_firmware_still_answers(device: Device) -> None:
    device.client.tensor_write(16, bytes(range(16)))
    state = device.crash(UDF)
    assert device.client.hello().crashed
    written = device.client.memory_read(device.hello.arena_address + 16, 16)
    assert written == bytes([UDF, *range(2, 17)])  # what the layer before the crash computed
    stack = device.client.memory_read(state.registers["sp"], device.hello.stack_top - state.registers["sp"])
    assert stack.startswith(state.memory[-1].data)
    with pytest.raises(Refused) as refusal:
        device.client.memory_read(NOWHERE[device.board], 4)
    assert refusal.value.status == m.Status.BAD_ADDRESS
    for command in (m.TensorRead(0, 4), m.RunModel(), m.MemoryWrite(device.hello.arena_address, b"abcd")):
        with pytest.raises(Refused) as refusal:
            device.client.call(command)
        assert refusal.value.status == m.Status.CRASHED


def test_the_record_survives_a_reset_and_is_kept_until_it_was_read(device: Device) -> None:
    state = device.crash(UDF)
    hello = device.client.reset()
    assert not hello.crashed
    assert hello.record_bytes
    device.hello = device.client.connect()
    assert device.client.earlier_crash is not None
    assert device.client.earlier_crash.cpu_state() == state
    assert device.client.earlier_crash.build_id == firmware(device.board).build_id
    assert device.client.hello().record_bytes == 0
    assert device.client.fault_record() is None


def test_the_first_crash_is_not_overwritten(device: Device) -> None:
    first = device.crash(UDF)
    device.client.reset()  # and not connect, which would read the record and clear it
    device.poke("fault_address", NOWHERE[device.board])
    assert device.crash(LOAD) == first


def test_bad_addresses_are_refused_while_the_firmware_lives(device: Device) -> None:
    with pytest.raises(Refused) as refusal:
        device.client.memory_read(NOWHERE[device.board], 3)
    assert refusal.value.status == m.Status.BAD_ADDRESS
    assert device.client.hello().crashed == 0
    assert device.client.run_layers(0, 1, timeout=TIMEOUT)


def test_a_record_whose_pieces_were_lost_is_asked_for(device: Device) -> None:
    whole = device.client._exchange._transport
    # Layer 0 is reported, then come the pieces: the first is damaged, the second lost.
    device.client._exchange._transport = BadLine(whole, from_target=[Flip(100), Flip(333), Drop(), Drop()])
    try:
        state = device.crash(UDF)
    finally:
        device.client._exchange._transport = whole
    assert state.registers["pc"] == symbols(device.board)["site_udf"]


def test_a_layer_may_use_most_of_the_stack(device: Device) -> None:
    """What is told as the stack's bottom is its bottom: a byte above it can be written, a byte below cannot."""
    device.client.memory_write(device.hello.stack_bottom, b"abcd")
    assert device.client.memory_read(device.hello.stack_bottom, 4) == b"abcd"
    if device.board not in LIMITED:
        with pytest.raises(Refused):
            device.client.memory_write(device.hello.stack_bottom - 4, b"abcd")
