"""gdb-multiarch against the report, on the core file and behind the remote stub, for every crash program.

Truth is gdb's own unwinder, reading of ELF and DWARF: nothing of it is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest

from harness.cpustate import FAULT_STATUS_ADDRESSES
from harness.debug.crash import Crash, explain
from harness.debug.gdb.core_file import core_file
from harness.debug.gdb.server import GdbServer
from harness.debug.gdb.target import GdbTarget
from harness.debug.gdb.view import CORE_REGISTERS, UNKNOWN
from harness.debug.image import Image
from tests.debug import lab
from tests.debug.conftest import Crashes
from tests.debug.gdb import sights

pytestmark = sights.needs_gdb


@dataclass(frozen=True)
class Limit:
    """Where gdb cannot go on: it must agree up to the function named, and what it says then does not count."""

    scenarios: frozenset[str]
    last: str | None  # the last function gdb knows of; None: not even the first
    why: str
    on_main_stack: bool = True
    cores: frozenset[str] = frozenset(lab.CORES)
    always: bool = True  # False: on other cores than the M3, what lies on the stack may happen to lead it on


_NO_CFI = "it has no call frame information, and of assembly gdb takes the first line for the whole prologue"
_NO_FRAME = "the exception frame was not written, and the program counter is lost"
_AT_NULL = "the vector table lies there, which gdb takes for code, and code below 0x20 for the start of the program"
_NO_PSP = "the interrupted code ran on the process stack, and gdb takes no PSP from a core file"
# gdb's complaint of functions that the linker discarded, whose debug information stands at 0
_DISCARDED = "warning: (Internal error: pc 0x0 in read in CU, but not in symtab.)"
LIMITS = (
    Limit(frozenset({"bare_assembly"}), "bare_store", _NO_CFI, always=False),
    Limit(frozenset({"through_assembly"}), "bare_call", _NO_CFI),
    # newlib has memcpy in assembly for Armv7-M, and in C for the others
    Limit(frozenset({"libc"}), "memcpy", _NO_CFI, cores=frozenset({"m3", "m4", "m7", "m55"})),
    # where the linker discarded a function that had a frame at 0 in its debug information, gdb goes on by that
    Limit(frozenset({"call_null"}), None, _AT_NULL, cores=frozenset({"m0", "m3", "m4", "m7", "m55"}), always=False),
    Limit(frozenset({"overflow"}), None, _NO_FRAME),
)
OF_CORE_FILES = (
    Limit(
        frozenset({"interrupt", "interrupt_misaligned", "interrupt_float", "supervisor"}),
        "PendSV_Handler",
        _NO_PSP,
        on_main_stack=False,
    ),
)


def _limit(core: str, crash: lab.Crashed, limits: Sequence[Limit]) -> Limit | None:
    for limit in limits:
        applies = crash.scenario.name in limit.scenarios and core in limit.cores
        written = limit.why != _NO_FRAME or not crash.stacked
        if applies and written and (limit.on_main_stack or crash.on_process_stack):
            return limit
    return None


def _agrees(seen: sights.Seen, report: Crash, image: Image, limit: Limit | None) -> bool:
    """Whether gdb's frames are those of the report. Asserts what must hold even where it cannot go on."""
    ours = [
        lab.Expected(f.function, f.line, Path(f.file).name if f.file else "", f.inlined)
        for f in report.frames
        if f.pc is not None
    ]
    theirs = [frame for frame in seen.frames if frame.kind != "exception"]
    if theirs and not image.may_run(theirs[0].pc):
        theirs.pop(0)  # gdb has a frame for the place that was jumped to; the report begins with who jumped
    equal = len(theirs) >= len(ours) and all(map(sights.Frame.is_at, theirs, ours))
    beyond = theirs[len(ours) :]
    if equal and beyond and limit is None:
        # nothing called the thread's entry: gdb goes on with what its return address points at
        follows = image.symbol("next_scenario")
        equal = not _complete(report) or (follows is not None and beyond[0].pc == follows.address)
    if limit is not None and not equal:
        known = 0 if limit.last is None else [place.function for place in ours].index(limit.last) + 1
        assert len(theirs) >= known
        assert known or not theirs, "gdb has frames where it cannot know any"
        assert all(map(sights.Frame.is_at, theirs, ours[:known]))
    return equal


def _complete(report: Crash) -> bool:
    return not any("may be incomplete" in note for note in report.notes)


def _check_registers(seen: sights.Seen, crash: lab.Crashed, unknown: int | None) -> None:
    for name in CORE_REGISTERS:
        known = crash.state.registers.get(name, {"pc": UNKNOWN, "xpsr": unknown and 1 << 24}.get(name, unknown))
        assert seen.register(name) == known, name


def _check_memory(seen: sights.Seen, crash: lab.Crashed) -> None:
    spans = crash.state.memory
    assert len(spans) >= 2
    assert seen.memory[: len(spans)] == tuple(span.data for span in spans)
    status = [value.to_bytes(4, "little") for value in crash.state.fault_status.values()]
    assert list(seen.memory[len(spans) :]) == status


def _wanted(crash: lab.Crashed) -> tuple[tuple[int, int], ...]:
    spans = tuple((span.address, len(span.data)) for span in crash.state.memory)
    return spans + tuple((FAULT_STATUS_ADDRESSES[name], 4) for name in crash.state.fault_status)


@pytest.mark.parametrize("level", lab.LEVELS)
@pytest.mark.parametrize("core", lab.CORES)
def test_the_core_file_of_every_crash_gives_what_the_report_says(
    core: str, level: str, crashes: Callable[[str, str], Crashes], tmp_path: Path
) -> None:
    found = crashes(core, level)
    image = found.image
    targets, reports = [], []
    for number, crash in enumerate(found.found):
        reports.append(explain(crash.state, image))
        file = tmp_path / f"{number}.core"
        file.write_bytes(core_file(crash.state, report=reports[-1].to_json()))
        targets.append(sights.Target(f"core-file {file}", _wanted(crash)))
    views = sights.look(found.elf, targets, tmp_path)
    for crash, report, seen in zip(found.found, reports, views, strict=True):
        assert "warning" not in seen.said.replace(_DISCARDED, "")
        name = f"{crash.scenario.name}, process stack: {crash.on_process_stack}"
        limit = _limit(core, crash, (*LIMITS, *OF_CORE_FILES))
        agrees = _agrees(seen, report, image, limit)
        assert agrees or limit is not None, f"{name}: {report.lines()}, gdb: {seen.frames} {seen.error}"
        certain = limit is not None and (limit.always or core == "m3")
        assert not (agrees and certain), f"{name}: gdb goes on, although {limit and limit.why}"
        _check_registers(seen, crash, UNKNOWN)
        _check_memory(seen, crash)


@pytest.mark.parametrize(("core", "level"), [("m0", "-Os"), ("m3", "-O1"), ("m4", "-O0"), ("m33", "-O2")])
def test_the_remote_stub_gives_what_the_report_says_also_across_both_stacks(
    core: str, level: str, crashes: Callable[[str, str], Crashes], tmp_path: Path
) -> None:
    found = crashes(core, level)
    image = found.image
    targets, reports, servers = [], [], []
    for crash in found.found:
        reports.append(explain(crash.state, image))
        servers.append(GdbServer())
        targets.append(sights.Target(f"target remote :{servers[-1].port}", _wanted(crash), ("detach",)))

    def serve() -> None:
        for server, crash, report in zip(servers, found.found, reports, strict=True):
            server.serve(GdbTarget(crash.state, image, kind=report.kind))

    thread = Thread(target=serve)
    thread.start()
    try:
        views = sights.look(found.elf, targets, tmp_path)
    finally:
        for server in servers:
            server.close()
        thread.join(10)
    assert not thread.is_alive()
    for crash, report, seen in zip(found.found, reports, views, strict=True):
        name = f"{crash.scenario.name}, process stack: {crash.on_process_stack}"
        limit = _limit(core, crash, LIMITS)
        agrees = _agrees(seen, report, image, limit)
        assert agrees or limit is not None, f"{name}: {report.lines()}, gdb: {seen.frames} {seen.error}"
        _check_registers(seen, crash, None)
        _check_memory(seen, crash)
        for register in ("control", "exc_return"):
            assert seen.register(register) == crash.state.registers[register]
        on_process_stack = bool(crash.state.registers["exc_return"] & 4)
        assert seen.register("psp" if on_process_stack else "msp") == crash.state.registers["sp"]
        idle = "msp" if on_process_stack else "psp"
        assert seen.register(idle) == crash.state.registers[idle]
        for register, value in crash.state.fault_status.items():
            assert seen.register(register) == value
