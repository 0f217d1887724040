"""Arguments and local variables as gdb shows them with its default settings, on the core file and behind the remote
stub, against those of the report."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from harness.cpustate import CpuState, MemorySpan
from harness.debug.dwarf.location import NOT_RECORDED, NOT_SAVED
from harness.debug.gdb.core_file import core_file
from harness.debug.gdb.server import GdbServer
from harness.debug.gdb.target import GdbTarget
from harness.debug.image import Image
from tests.debug.conftest import Crashes
from tests.debug.dwarf.test_variables import compared, variables_of
from tests.debug.gdb import sights
from tests.debug.gdb.still import gdb_shows

pytestmark = sights.needs_gdb

# statics of which the report says that they are not known, and gdb what the ELF file has
BESIDE_THE_CORE_FILE = {"null_data: alone", "call_data: no_code"}
# gdb takes for granted that a called function keeps even the registers it need not keep
EXPLAINED = {"same", "unknown to both", f"only gdb: {NOT_RECORDED}", f"only gdb: {NOT_SAVED}"}
# an expression that the report does not evaluate, and says so
BEYOND_THE_REPORT = "interrupted_float: kept"
_BUT_FOR_WHAT_IS_LOST = "same but for what is lost"
_EXCEPTION_RETURN = 0xF0000000  # gdb's frame of an exception has the value of LR as its program counter


def _core_files(states: Sequence[CpuState], folder: Path) -> list[str]:
    opens = []
    for number, state in enumerate(states):
        file = folder / f"{number}.core"
        file.write_bytes(core_file(state))
        opens.append(f"core-file {file}")
    return opens


def _stubs_say(elf: Path, states: Sequence[CpuState], image: Image, folder: Path) -> list[list[dict[str, Any]]]:
    with ExitStack() as stack:
        servers = [GdbServer() for _ in states]

        def serve() -> None:
            for server, state in zip(servers, states, strict=True):
                server.serve(GdbTarget(state, image))

        thread = Thread(target=serve)
        stack.callback(thread.join, 10)
        for server in servers:
            stack.callback(server.close)
        thread.start()
        return gdb_shows(elf, [f"target remote :{server.port}" for server in servers], folder)


def _of_the_report(frames: list[dict[str, Any]], image: Image) -> list[dict[str, Any]]:
    """gdb's frames that the report has too: no exceptions, and not the place that was jumped to."""
    own = [frame for frame in frames if frame["pc"] < _EXCEPTION_RETURN]
    return own[1:] if own and not image.may_run(own[0]["pc"]) else own


def _judge(
    found: Crashes, states: Sequence[CpuState], theirs: list[list[dict[str, Any]]]
) -> tuple[dict[str, list[str]], int]:
    """What is to be said of each variable, by verdict, and how many frames that was in. Asserts that gdb shows all that
    the report knows."""
    ours = [variables_of(state, found.elf) for state in states]
    seen = [_of_the_report(frames, found.image) for frames in theirs]
    verdicts = defaultdict(list)
    for verdict, what in compared(ours, seen):
        apart = verdict in ("differs", "only ours")
        verdicts[_BUT_FOR_WHAT_IS_LOST if apart and _lost_in_part(what) else verdict].append(what)
    assert not verdicts["differs"]
    assert not verdicts["only ours"]
    frames = 0
    for mine, gdbs in zip(ours, seen, strict=True):
        agree = [(place.function, pc) == (x["function"], x["pc"]) for (place, pc, _), x in zip(mine, gdbs)]
        frames += agree.index(False) if False in agree else len(agree)
    return verdicts, frames


def _lost_in_part(what: str) -> bool:
    """Whether of an array or structure the elements that the report knows are those that gdb shows."""
    ours, _, gdbs = what.partition(" is ")[2].partition(", gdb: ")
    return (
        NOT_RECORDED in ours and re.fullmatch(re.escape(ours).replace(re.escape(NOT_RECORDED), ".+?"), gdbs) is not None
    )


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2"])
@pytest.mark.parametrize("core", ["m3", "m4", "m33"])
def test_gdb_shows_the_variables_of_the_report(
    core: str, level: str, captured: Callable[[str, str], Crashes], tmp_path: Path
) -> None:
    """Of records of the fault module: their memory begins right above the exception frame, where the innermost
    variables lie, and mostly within a line of gdb's cache of the stack."""
    found = captured(core, level)
    states = [crash.state for crash in found.found]
    assert {crash.on_process_stack for crash in found.found} == {False, True}
    begins = [state.memory[0].address for state in states if state.memory]
    assert sum(address % 64 != 0 for address in begins) > len(states) / 2
    core_files = gdb_shows(found.elf, _core_files(states, tmp_path), tmp_path)
    stubs = _stubs_say(found.elf, states, found.image, tmp_path)
    for theirs, beside in ((core_files, BESIDE_THE_CORE_FILE), (stubs, set())):
        verdicts, frames = _judge(found, states, theirs)
        assert len(verdicts["same"]) > 100
        assert frames > 2 * len(states)
        assert not verdicts[_BUT_FOR_WHAT_IS_LOST]
        assert {what.partition(" is ")[0] for what in verdicts[f"only gdb: {NOT_RECORDED}"]} == beside
        rest = [what for verdict, all_of_it in verdicts.items() if verdict not in EXPLAINED for what in all_of_it]
        assert {what.partition(" is ")[0] for what in rest} <= {BEYOND_THE_REPORT}


@pytest.mark.parametrize("core", ["m3", "m4", "m33"])
def test_gdb_shows_what_is_known_where_the_memory_is_in_pieces_that_begin_and_end_anywhere(
    core: str, crashes: Callable[[str, str], Crashes], tmp_path: Path
) -> None:
    found = crashes(core, "-O0")
    states = [replace(crash.state, memory=_in_pieces(crash.state)) for crash in found.found if crash.stacked]
    in_core_files, _ = _judge(found, states, gdb_shows(found.elf, _core_files(states, tmp_path), tmp_path))
    behind_stubs, _ = _judge(found, states, _stubs_say(found.elf, states, found.image, tmp_path))
    for verdicts in (in_core_files, behind_stubs):
        assert len(verdicts["same"]) > 80
        assert verdicts[_BUT_FOR_WHAT_IS_LOST]


def _in_pieces(state: CpuState) -> tuple[MemorySpan, ...]:
    """The stack in use from the stack pointer up, of which every 25th word is lost."""
    sp = state.registers["sp"]
    (span,) = (s for s in state.memory if s.address <= sp < s.address + len(s.data))
    above = span.data[sp - span.address :]
    return tuple(MemorySpan(sp + at, above[at : at + 96]) for at in range(0, len(above), 100))
