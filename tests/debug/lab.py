"""Builds the crash programs of `firmware/`, runs them in QEMU and reads what each crash left behind.

Everything here is written apart from the harness's own build, runner and record: it is what the debugger is held to.
The call chains a test expects stand as comments beside the code that makes them; `scenarios()` reads them.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.cpustate import CpuState, MemorySpan
from harness.rpc.fault_record import FaultRecord

FIRMWARE = Path(__file__).parent / "firmware"
MODULE = Path(__file__).parents[2] / "firmware_stub" / "fault" / "layerproof_fault.c"
STACK_BYTES = 1536  # each of the two; the smallest machine has 16 KB of RAM in all
SOURCES = ("startup.c", "program.c", "kinds.c", "assembly.S")


@dataclass(frozen=True)
class Core:
    name: str
    machine: str
    flags: tuple[str, ...]
    flash: int  # address that the vector table is read from at reset
    ram: int
    ram_bytes: int
    unmapped: int = 0x60000000  # the larger machines have memory there
    cfsr: bool = True
    fpu: bool = False
    sfsr: bool = False


CORES = {
    core.name: core
    for core in (
        Core("m0", "microbit", ("-mcpu=cortex-m0",), 0, 0x20000000, 16 << 10, cfsr=False),
        Core("m3", "mps2-an385", ("-mcpu=cortex-m3",), 0, 0x20000000, 4 << 20),
        Core("m4", "mps2-an386", ("-mcpu=cortex-m4", "-mfloat-abi=hard"), 0, 0x20000000, 4 << 20, fpu=True),
        Core(
            "m7",
            "mps2-an500",
            ("-mcpu=cortex-m7", "-mfloat-abi=hard"),
            0,
            0x20000000,
            4 << 20,
            unmapped=0x9FFF0000,
            fpu=True,
        ),
        Core(
            "m33",
            "mps2-an505",
            ("-mcpu=cortex-m33", "-mfloat-abi=hard"),
            0x10000000,
            0x38000000,
            2 << 20,
            fpu=True,
            sfsr=True,
        ),
        Core(
            "m55",
            "mps3-an547",
            ("-mcpu=cortex-m55", "-mfloat-abi=hard"),
            0,
            0x20000000,
            512 << 10,
            unmapped=0x1FFE8000,
            fpu=True,
            sfsr=True,
        ),
    )
}
LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os")


@dataclass(frozen=True)
class Expected:
    function: str
    line: int | None  # None: any
    file: str = ""
    inlined: bool = False
    repeats: bool = False  # any number of times, at least once


@dataclass(frozen=True)
class Scenario:
    index: int
    name: str
    chain: tuple[Expected, ...] | None  # None: only the fault itself is certain
    kind: str | None
    impossible: Mapping[str, str]  # cores that it cannot happen on, and why
    by_module: bool = False  # it takes the fault module

    def expected(self, on_process_stack: bool) -> tuple[Expected, ...]:
        """The whole chain, with the end that depends on the stack the scenario ran on."""
        assert self.chain is not None
        return (*self.chain, *_chain_of("thread@thread" if on_process_stack else "main@main"))

    def differences(self, places: Sequence[tuple[str | None, str | None, int | None, bool]], process: bool) -> str:
        """What a chain of (function, file, line, inlined) has else than it should; empty when it is right."""
        rest = list(places)
        for wanted in self.expected(process):
            count = 0
            while rest and (count == 0 or wanted.repeats) and _is(rest[0], wanted):
                rest.pop(0)
                count += 1
            if count == 0:
                return f"{rest[0] if rest else 'nothing'} where {wanted} should be"
        return f"{rest[0]} after the end" if rest else ""


def _is(place: tuple[str | None, str | None, int | None, bool], wanted: Expected) -> bool:
    function, file, line, inlined = place
    if (function, inlined) != (wanted.function, wanted.inlined):
        return False
    return wanted.line is None or (Path(file or "").name, line) == (wanted.file, wanted.line)


@dataclass(frozen=True)
class Crashed:
    scenario: Scenario
    on_process_stack: bool
    state: CpuState
    stacked: bool  # the processor managed to write the exception frame


@cache
def _markers() -> dict[str, tuple[str, int]]:
    """Where each marker stands: name -> (file name, line)."""
    found = {}
    for name in SOURCES:
        for number, line in enumerate((FIRMWARE / name).read_text().splitlines(), 1):
            for marker in re.findall(r"/\*@(\w+)\*/", line):
                assert marker not in found, marker
                found[marker] = (name, number)
    return found


def _chain_of(text: str) -> tuple[Expected, ...]:
    chain = []
    for part in text.split("<"):
        function, _, marker = part.strip().partition("@")
        if function == "…":
            continue
        file, line = _markers()[marker.rstrip("+")] if marker else ("", None)
        inlined, repeats = function.startswith("~"), marker.endswith("+")
        chain.append(Expected(function.removeprefix("~"), line, file, inlined, repeats))
    return tuple(chain)


@cache
def scenarios() -> tuple[Scenario, ...]:
    """The scenarios in the order the program runs them."""
    text = "".join((FIRMWARE / name).read_text() for name in SOURCES if name.endswith(".c"))
    table = re.search(r"scenarios\[\] = \{(.*?)\};", text, re.S)
    assert table
    order = re.findall(r"\w+", table[1])
    declared = {}
    for name, chain, options in re.findall(r"^//: (\w+) = ([^\[\n]+)(.*)$", text, re.M):
        kind = re.search(r"\[kind (\w+)\]", options)
        without = re.search(r"\[not ([\w ]+): ([^\]]+)\]", options)
        declared[name] = Scenario(
            index=order.index(name),
            name=name,
            chain=None if chain.strip() == "?" else _chain_of(chain),
            kind=kind[1] if kind else None,
            impossible=dict.fromkeys(without[1].split(), without[2]) if without else {},
            by_module="[module]" in options,
        )
    assert set(declared) == set(order)
    return tuple(declared[name] for name in order)


def build(core: Core, level: str, folder: Path, *flags: str, dwarf: int = 4, module: bool = False) -> Path:
    """The linked crash programs of one core and optimisation level. `module`: the fault module captures."""
    elf = folder / f"{core.name}{level}-{dwarf}{'-module' * module}.elf"
    if module:
        flags += (f"-I{MODULE.parent}", f"-DLAYERPROOF_FAULT_MEMORY_BYTES={2 * STACK_BYTES + 512}", str(MODULE))
    command = [
        "arm-none-eabi-gcc", *core.flags, "-mthumb", level, "-g3", f"-gdwarf-{dwarf}", "-Wall", "-Wextra", "-std=gnu11",
        "-ffunction-sections", "-fdata-sections", "-Wno-infinite-recursion", "-mno-unaligned-access",
        f"-DCORE_HAS_CFSR={core.cfsr:d}", f"-DCORE_HAS_FPU={core.fpu:d}", f"-DCORE_HAS_SFSR={core.sfsr:d}",
        f"-DUNMAPPED={core.unmapped:#x}u", f"-DCAPTURE_BY_MODULE={module:d}", *flags,
        f"-DSTACK_BYTES={STACK_BYTES}", "-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-T", "link.ld",
        f"-Wl,--defsym=FLASH_ORIGIN={core.flash:#x},--defsym=RAM_ORIGIN={core.ram:#x},--defsym=RAM_BYTES={core.ram_bytes:#x}",
        *SOURCES, "-o", str(elf),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=FIRMWARE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return elf


def run(core: Core, elf: Path, folder: Path) -> list[Crashed]:
    """Every crash of a program that captures by itself, in order."""
    return list(_records(core, _dump(core, elf, folder)))


def run_with_module(core: Core, elf: Path, folder: Path) -> list[Crashed]:
    """Every crash of a program that the fault module captures, in order."""
    data, crashes = _dump(core, elf, folder), []
    while data:
        progress, _, total = struct.unpack_from("<3I", data)
        record = FaultRecord.parse(data[4 : 4 + total])
        crashes.append(Crashed(scenarios()[progress // 2], bool(progress & 1), record.cpu_state(), record.stacked))
        data = data[4 + total :]
    return crashes


def _dump(core: Core, elf: Path, folder: Path) -> bytes:
    dump = folder / "faults.bin"
    dump.unlink(missing_ok=True)
    command = [
        "qemu-system-arm", "-M", core.machine, "-display", "none", "-serial", "none", "-monitor", "none",
        "-net", "none", "-semihosting-config", "enable=on,target=native", "-kernel", str(elf),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dump.read_bytes()


_WORDS = (
    *("progress", *(f"r{n}" for n in range(4, 12)), "exc_return", "msp", "psp", "control", "ipsr"),
    *("cfsr", "hfsr", "mmfar", "bfar", "shcsr", "sfsr", "sfar", "fpccr", "fpcar"),
    *("main_stack", "process_stack", "stack_bytes"),
)


def _records(core: Core, data: bytes) -> list[Crashed]:
    crashes = []
    size = len(_WORDS) * 4
    while data:
        words = dict(zip(_WORDS, struct.unpack_from(f"<{len(_WORDS)}I", data), strict=True))
        stack_bytes = words["stack_bytes"]
        main = MemorySpan(words["main_stack"], data[size : size + stack_bytes])
        process = MemorySpan(words["process_stack"], data[size + stack_bytes : size + 2 * stack_bytes])
        lazy = [MemorySpan(0xE000EF34, struct.pack("<2I", words["fpccr"], words["fpcar"]))] if core.fpu else []
        crashes.append(_crashed(words, (main, process, *lazy)))
        data = data[size + 2 * stack_bytes :]
    return crashes


def _crashed(words: dict[str, int], memory: tuple[MemorySpan, ...]) -> Crashed:
    on_process_stack = bool(words["exc_return"] & 4)
    frame = words["psp"] if on_process_stack else words["msp"]
    # after an overflow the frame may lie in the neighbouring stack
    span = next((s for s in memory if s.address <= frame < s.address + len(s.data)), None)
    registers = {name: words[name] for name in ("msp", "psp", "control", "exc_return")}
    registers |= {f"r{n}": words[f"r{n}"] for n in range(4, 12)}
    # MSTKERR, STKERR, STKOF: nothing can be believed of a frame that was not written
    stacked = span is not None and not words["cfsr"] & (1 << 4 | 1 << 12 | 1 << 20)
    if span is not None and stacked:
        values = struct.unpack_from("<8I", span.data, frame - span.address)
        registers |= dict(zip(("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr"), values, strict=True))
        size = 32 if words["exc_return"] & 16 else 104
        registers["sp"] = frame + size + (4 if registers["xpsr"] & 1 << 9 else 0)
    else:
        registers["sp"] = frame
    status = {name: words[name] for name in ("cfsr", "hfsr", "mmfar", "bfar", "shcsr", "sfsr", "sfar")}
    reason = {2: "nmi", 3: "hardfault", 4: "memmanage", 5: "busfault", 6: "usagefault", 7: "securefault"}
    state = CpuState(registers, status, memory, reason=reason[words["ipsr"] & 0x1FF])
    return Crashed(scenarios()[words["progress"] // 2], bool(words["progress"] & 1), state, stacked)
