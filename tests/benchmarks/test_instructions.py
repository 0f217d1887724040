"""The instruction counter against a loop whose count is known."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import instructions
from harness.errors import BadInput

PROGRAM = """
    .syntax unified
    .thumb
    .section .vectors, "a"
    .word 0x20001000, reset + 1, hang + 1, hang + 1
    .text
    .global known, reset
    .thumb_func
    .type known, %function
known:                          @ 1 + 1 + 1000 * 4 + 1 = 4,003 instructions
    push    {r4, lr}
    mov     r4, #1000
1:  nop
    nop
    subs    r4, #1
    bne     1b
    pop     {r4, pc}
    .thumb_func
    .type reset, %function
reset:
    bl      known
    nop                         @ outside: must not be counted
    bl      known
    movs    r0, #0x18           @ semihosting: SYS_EXIT
    ldr     r1, =0x20026        @ ADP_Stopped_ApplicationExit
    bkpt    0xab
    .thumb_func
hang:
    b       hang
"""

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm", "gcc"))),
    reason="needs arm-none-eabi-gcc, qemu-system-arm and gcc",
)


def link(folder: Path, text: str) -> Path:
    elf = folder / "loop.elf"
    layout = ("-Wl,-Ttext=0x40", "-Wl,--section-start=.vectors=0", "-Wl,-e,reset")
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-nostdlib", *layout, "-x", "assembler", "-", "-o", str(elf)]
    subprocess.run(command, input=text, text=True, check=True)
    return elf


def test_known_loop_is_counted_exactly(tmp_path: Path) -> None:
    elf = link(tmp_path, PROGRAM)
    counts = tmp_path / "counts"
    machine = ["qemu-system-arm", "-M", "mps2-an385", "-display", "none", "-semihosting", "-nic", "none"]
    command = [*machine, "-kernel", str(elf), *instructions.options(elf, "known", counts)]
    subprocess.run(command, check=True, timeout=30, stdin=subprocess.DEVNULL)
    assert instructions.read(counts) == [4003, 4003]


def test_tail_call_has_no_return_address(tmp_path: Path) -> None:
    elf = link(tmp_path, PROGRAM.replace("bl      known\n    nop", "b       known\n    nop"))
    with pytest.raises(BadInput, match="jump"):
        instructions.return_addresses(elf, "known")


def test_unknown_function(tmp_path: Path) -> None:
    elf = link(tmp_path, PROGRAM)
    with pytest.raises(BadInput, match="no function"):
        instructions.entry(elf, "absent")
    with pytest.raises(BadInput, match="nothing calls"):
        instructions.return_addresses(elf, "hang_")
