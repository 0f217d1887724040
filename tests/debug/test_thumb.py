"""Decoded calls, jumps and accesses, against objdump and against what the hardware says it touched."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.thumb import access, call_before, exists_on_v6m, fetch, is_undefined, jump_target
from tests.debug.conftest import Crashes


def _disassembly(elf: Path) -> dict[int, tuple[int, str, str]]:
    """address -> (bytes, mnemonic, operands), as objdump prints them."""
    text = subprocess.run(["arm-none-eabi-objdump", "-d", str(elf)], capture_output=True, text=True, check=True).stdout
    pattern = r"^ *([0-9a-f]+):\t([0-9a-f]{4}(?: [0-9a-f]{4})?) +\t(\S+)(?:\t([^@\n<]*))?"
    return {
        int(m[1], 16): (len(m[2]) // 2 if len(m[2]) == 4 else 4, m[3], (m[4] or "").strip())
        for m in re.finditer(pattern, text, re.M)
        if not m[3].startswith(".")
    }


@pytest.mark.parametrize(("core", "level"), [("m0", "-O0"), ("m4", "-O2"), ("m33", "-Os")])
def test_calls_and_jumps_are_those_that_objdump_sees(
    core: str, level: str, program: Callable[[str, str], Path]
) -> None:
    elf = program(core, level)
    code = Memory(Image(elf)).code
    calls = jumps = 0
    for address, (size, mnemonic, operands) in _disassembly(elf).items():
        end = address + size
        call = call_before(code, end | 1)
        if mnemonic in ("bl", "blx"):
            assert call is not None
            assert call.address == address
            assert (call.register == operands) if mnemonic == "blx" else (call.target == int(operands, 16))
            calls += 1
        else:
            assert call is None or call.address != address, hex(address)
        instruction = fetch(code, address)
        assert instruction is not None
        assert (instruction[1] is None) == (size == 2)
        target = jump_target(*instruction, address)
        if mnemonic in ("b.n", "b.w"):
            assert target == int(operands, 16)
            jumps += 1
        else:
            assert target is None, (hex(address), mnemonic)
    assert calls > 50
    assert jumps > 20


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize("core", ["m3", "m4", "m33"])
def test_a_decoded_access_is_the_one_that_the_hardware_refused(
    core: str, level: str, crashes: Callable[[str, str], Crashes]
) -> None:
    found = crashes(core, level)
    code = Memory(found.image).code
    checked = 0
    for crash in found.found:
        status = crash.state.fault_status
        if status["cfsr"] >> 9 & 1 and status["cfsr"] >> 15 & 1:  # PRECISERR, BFARVALID
            instruction = fetch(code, crash.state.registers["pc"])
            assert instruction is not None
            decoded = access(*instruction, crash.state.registers)
            assert decoded is not None, crash.scenario.name
            assert decoded.address <= status["bfar"] < decoded.address + decoded.bytes
            assert decoded.store == (crash.scenario.name != "load_in_leaf")
            checked += 1
    assert checked >= 30


REGISTERS = {f"r{n}": 0x1000 * (n + 1) for n in range(13)} | {"sp": 0x20000100, "lr": 0x301, "pc": 0x200}


@pytest.mark.parametrize(
    ("assembly", "store", "address", "size"),
    [
        ("ldr r1, [r2, #8]", False, 0x3008, 4),
        ("ldrh r1, [r2, #8]", False, 0x3008, 2),
        ("strb r1, [r2, #3]", True, 0x3003, 1),
        ("str r1, [r2, r3]", True, 0x7000, 4),
        ("ldrsh r1, [r2, r3]", False, 0x7000, 2),
        ("ldrsb r1, [r2, r3]", False, 0x7000, 1),
        ("str r1, [sp, #16]", True, 0x20000110, 4),
        ("ldr r1, [pc, #4]", False, 0x208, 4),
        ("push {r0, r1, lr}", True, 0x200000F4, 12),
        ("pop {r0, pc}", False, 0x20000100, 8),
        ("stmia r2!, {r0, r1}", True, 0x3000, 8),
        ("ldmia r2, {r0, r1, r3}", False, 0x3000, 12),
        ("ldr.w r1, [r9, #0x123]", False, 0xA123, 4),
        ("ldrb.w r1, [r9, #-3]", False, 0x9FFD, 1),
        ("ldr r1, [r9, #-16]!", False, 0x9FF0, 4),
        ("ldr r1, [r9], #16", False, 0xA000, 4),
        ("strh.w r1, [r2, #0x100]", True, 0x3100, 2),
        ("str.w r1, [r2, r10, lsl #2]", True, 0x3000 + 4 * 0xB000, 4),
        ("ldrsb.w r1, [r2, #0x10]", False, 0x3010, 1),
        ("ldr.w r1, [pc, #-16]", False, 0x1F4, 4),
        ("ldrd r0, r1, [r2, #-8]", False, 0x2FF8, 8),
        ("strd r0, r1, [r2], #8", True, 0x3000, 8),
        ("ldrex r1, [r2, #4]", False, 0x3004, 4),
        ("push.w {r4, r8, r9, lr}", True, 0x200000F0, 16),
        ("ldmdb r2!, {r0, r1, r3, r4}", False, 0x2FF0, 16),
        ("vldr s0, [r2, #4]", False, 0x3004, 4),
        ("vstr d0, [r2, #-8]", True, 0x2FF8, 8),
        ("vpush {d8, d9}", True, 0x200000F0, 16),
        ("vldmia r2!, {s0-s3}", False, 0x3000, 16),
        ("add r0, r1", None, 0, 0),
        ("movw r0, #0x1234", None, 0, 0),
        ("bl .+8", None, 0, 0),
        ("mrs r0, msp", None, 0, 0),
        ("vadd.f32 s0, s1, s2", None, 0, 0),
    ],
)
def test_accesses_as_the_assembler_encodes_them(
    assembly: str, store: bool | None, address: int, size: int, toolchain: None, tmp_path: Path
) -> None:
    code = _assembled(assembly, "cortex-m4", tmp_path)
    decoded = access(*_halfwords(code), REGISTERS)
    assert (None if decoded is None else (decoded.store, decoded.address, decoded.bytes)) == (
        None if store is None else (store, address, size)
    )


@pytest.mark.parametrize(
    ("assembly", "core", "exists"),
    [
        ("bl .+8", "cortex-m0", True),
        ("dmb", "cortex-m0", True),
        ("mrs r0, msp", "cortex-m0", True),
        ("msr msp, r0", "cortex-m0", True),
        ("nop", "cortex-m0", True),
        ("uxtb r0, r1", "cortex-m0", True),
        ("push {r4, lr}", "cortex-m0", True),
        ("udf #3", "cortex-m0", False),
        ("cbz r0, .+8", "cortex-m3", False),
        ("it eq", "cortex-m3", False),
        ("movw r0, #1", "cortex-m3", False),
        ("sdiv r0, r1, r2", "cortex-m3", False),
        ("ldr.w r1, [r9, #0x123]", "cortex-m3", False),
    ],
)
def test_what_an_armv6m_core_has(assembly: str, core: str, exists: bool, toolchain: None, tmp_path: Path) -> None:
    halfwords = _halfwords(_assembled(assembly, core, tmp_path))
    assert exists_on_v6m(*halfwords) is exists
    assert is_undefined(*halfwords) is assembly.startswith("udf")


def _assembled(assembly: str, core: str, folder: Path) -> bytes:
    fpu = ["-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"] if core == "cortex-m4" else []
    command = ["arm-none-eabi-as", f"-mcpu={core}", "-mthumb", *fpu, "-o", "a.o", "-"]
    subprocess.run(command, input=f".syntax unified\n{assembly}\n", text=True, cwd=folder, check=True, timeout=20)
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", "-j", ".text", "a.o", "a.bin"], cwd=folder, check=True)
    return (folder / "a.bin").read_bytes()


def _halfwords(code: bytes) -> tuple[int, int | None]:
    head = int.from_bytes(code[:2], "little")
    return head, int.from_bytes(code[2:4], "little") if head >= 0xE800 else None
