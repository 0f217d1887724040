"""A bare-metal program without harness code: echoes each byte plus one; 'H' hangs in a function, 'L' locks up."""

from __future__ import annotations

import subprocess
from pathlib import Path

MACHINE = "mps2-an385"
PROGRAM = r"""
#include <stdint.h>
#define DATA (*(volatile uint32_t *)0x40004000u)   /* CMSDK APB UART 0 */
#define STATE (*(volatile uint32_t *)0x40004004u)
#define CTRL (*(volatile uint32_t *)0x40004008u)
#define VTOR (*(volatile uint32_t *)0xE000ED08u)
volatile uint32_t marker = 0x600DF00Du;
__attribute__((noinline)) void spin(void) { for (;;) { __asm__ volatile(""); } }
__attribute__((noinline)) void lock_up(void) { VTOR = 0x60000000u; __asm__ volatile("udf #0"); }
static void put(uint32_t byte) { while (STATE & 1u) { } DATA = byte; }
void reset(void)
{
    marker = 0x600DF00Du;
    CTRL = 3u;
#ifdef HANG_AT_ONCE
    spin();
#endif
    for (const char *text = "boot"; *text; text++) { put((uint32_t)*text); }
    for (;;) {
        while (!(STATE & 2u)) { }
        uint32_t byte = DATA;
        if (byte == 'H') { spin(); }
        if (byte == 'L') { lock_up(); }
        put(byte + 1u);
    }
}
__attribute__((section(".vectors"), used)) void *const vectors[16] = {(void *)0x20001000, (void *)reset};
"""


def build(folder: Path, *, hang_at_once: bool = False) -> Path:
    """Compile the program; the path of its ELF. `hang_at_once`: it hangs before it says or hears anything."""
    source, elf = folder / "echo.c", folder / "echo.elf"
    source.write_text(PROGRAM)
    flags = ["-mcpu=cortex-m3", "-mthumb", "-O1", "-g", "-nostdlib", "-nostartfiles", "-ereset"]
    flags += ["-DHANG_AT_ONCE"] if hang_at_once else []
    link = ["-Wl,--section-start=.vectors=0,-Ttext=0x400,-Tdata=0x20002000"]
    subprocess.run(["arm-none-eabi-gcc", *flags, *link, str(source), "-o", str(elf)], check=True)
    return elf


def function_range(elf: Path, name: str) -> range:
    """Addresses of a function's code, from binutils."""
    listing = subprocess.run(["arm-none-eabi-nm", "-S", str(elf)], check=True, capture_output=True, text=True).stdout
    for line in listing.splitlines():
        fields = line.split()
        if fields[-1] == name:
            start = int(fields[0], 16) & ~1
            return range(start, start + int(fields[1], 16))
    raise LookupError(f"{elf} has no symbol {name}")
