"""Hand-written assembly whose instructions are known, run in QEMU under the plugin, without the firmware stub."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.debug.image import Image
from harness.profile import tcg

PROLOGUE = """
    .syntax unified
    .thumb
    .section .vectors, "a"
    .word harness_stack_top, reset + 1, hang + 1, hang + 1
    .global harness_stack_bottom, harness_stack_top
    .set harness_stack_bottom, 0x20000800
    .set harness_stack_top, 0x20001000
    .text
    .macro function name
    .global \\name
    .thumb_func
    .type \\name, %function
\\name:
    .endm
    .macro over name
    .size \\name, . - \\name
    .endm
    function reset
        {start}
    movs    r0, #0x18           @ semihosting: SYS_EXIT
    ldr     r1, =0x20026        @ ADP_Stopped_ApplicationExit
    bkpt    0xab
    .ltorg
    over reset
    function hang
        b hang
    over hang
"""
TWICE = "bl known\n    nop\n    bl known"  # what lies between must not be counted


def link(folder: Path, functions: str, start: str = TWICE) -> Path:
    """An ELF for a Cortex-M3 that runs `start` after reset and ends."""
    elf = folder / "bare.elf"
    layout = ("-Wl,-Ttext=0x40", "-Wl,--section-start=.vectors=0", "-Wl,-e,reset")
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-nostdlib", *layout, "-x", "assembler", "-", "-o", str(elf)]
    text = PROLOGUE.replace("{start}", start) + functions
    subprocess.run(command, input=text, text=True, check=True)
    return elf


def run(elf: Path, out: Path, function: str = "known") -> subprocess.CompletedProcess[str]:
    machine = ["qemu-system-arm", "-M", "mps2-an385", "-display", "none", "-semihosting", "-nic", "none"]
    command = [*machine, "-kernel", str(elf), *tcg.options(Image(elf), function, out)]
    return subprocess.run(command, timeout=60, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def executions(folder: Path, functions: str, start: str = TWICE) -> tuple[Path, list[tcg.Execution]]:
    """The ELF, and what each call of `known` executed."""
    elf, out = link(folder, functions, start), folder / "counts"
    done = run(elf, out)
    assert done.returncode == 0, done.stderr
    return elf, tcg.read(out)
