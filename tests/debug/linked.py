"""Programs of a few lines, linked for a Cortex-M3 to see what the debugger makes of them."""

from __future__ import annotations

import subprocess
from pathlib import Path


def linked(folder: Path, text: str, *flags: str, script: str | None = None) -> Path:
    """The ELF file of the C program `text`, which begins at `entry`; `script` is the linker's, where it matters."""
    (folder / "a.c").write_text(text)
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-nostdlib", "-Wl,-e,entry", *flags]
    if script is not None:
        (folder / "a.ld").write_text(script)
        command += ["-T", "a.ld"]
    subprocess.run([*command, "a.c", "-o", "a.elf"], cwd=folder, check=True, timeout=60)
    return folder / "a.elf"
