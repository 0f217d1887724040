"""Exact instruction counts of one function call on an emulated Cortex-M, by the plugin in insn_count.c."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.errors import BadInput, ToolFailed, ToolMissing
from harness.resources import cache_dir

SOURCE = Path(__file__).with_name("insn_count.c")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-fvisibility=hidden", "-shared", "-fPIC")


def plugin() -> Path:
    """The plugin as a shared object, built with the host's gcc when its source is new. ToolMissing, ToolFailed."""
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    built = cache_dir() / "plugins" / f"insn_count-{key}.so"
    if built.exists():
        return built
    compiler = shutil.which("gcc")
    if compiler is None:
        raise ToolMissing("gcc for this machine is not installed", hint="apt-get install gcc libc6-dev")
    built.parent.mkdir(parents=True, exist_ok=True)
    fresh = built.with_suffix(".new")
    command = [compiler, *FLAGS, "-o", str(fresh), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ToolFailed(
            "the QEMU plugin does not build", where=str(SOURCE), hint=f"{' '.join(command)}\n{done.stderr}"
        )
    fresh.replace(built)
    return built


def options(elf: Path, function: str, counts: Path) -> tuple[str, ...]:
    """Arguments for QEMU that append one line to `counts` for each call of `function` that returns."""
    stops = "".join(f",stop={address:#x}" for address in return_addresses(elf, function))
    return ("-plugin", f"{plugin()},start={entry(elf, function):#x}{stops},out={counts}")


def read(counts: Path) -> list[int]:
    """Instructions of each call so far, in order."""
    return [int(line) for line in counts.read_text().split()] if counts.exists() else []


def entry(elf: Path, function: str) -> int:
    """Address of the function's first instruction, without the Thumb bit."""
    with elf.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        symbols = table.get_symbol_by_name(function) if isinstance(table, SymbolTableSection) else None
    if not symbols:
        raise BadInput(f"there is no function {function}", where=str(elf))
    return int(symbols[0]["st_value"]) & ~1


def return_addresses(elf: Path, function: str) -> list[int]:
    """Addresses after every `bl function`. BadInput: nothing calls it, or something jumps to it and has none."""
    disassembler = shutil.which("arm-none-eabi-objdump")
    if disassembler is None:
        raise ToolMissing("arm-none-eabi-objdump is not installed", hint="apt-get install binutils-arm-none-eabi")
    done = subprocess.run(
        [disassembler, "-d", "--no-show-raw-insn", str(elf)], capture_output=True, text=True, check=True
    )
    name = re.escape(function)
    if re.search(rf"\tb(\.[nw])?\t[0-9a-f]+ <{name}>", done.stdout):
        raise BadInput(f"{function} is reached by a jump and returns to its caller's caller", where=str(elf))
    calls = re.findall(rf"^\s*([0-9a-f]+):\tbl\t[0-9a-f]+ <{name}>", done.stdout, re.MULTILINE)
    if not calls:
        raise BadInput(f"nothing calls {function}", where=str(elf))
    return [int(address, 16) + 4 for address in calls]  # BL is four bytes long
