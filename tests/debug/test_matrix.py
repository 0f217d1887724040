"""The fault matrix: every kind of fault, on every core, on both stacks, at every level of optimisation.

What is true of a cell stands beside the code that crashes (firmware/*.c); a cell that the emulator or the architecture
cannot give says there why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.debug.crash import explain
from tests.debug import lab
from tests.debug.conftest import Crashes

# the kinds a firmware engineer meets, and the scenario that stands for each; the lab has more of some
ROWS = {
    "undefined instruction": "undefined_instruction",
    "division by zero": "division",
    "unaligned access": "misaligned",
    "load": "load_in_leaf",
    "store": "store",
    "jump to nowhere": "call_nowhere",
    "execute never": "execute_never",
    "call through NULL": "call_null",
    "NULL data": "null_data",
    "inside libc": "libc",
    "floating-point unit off": "no_fpu",
    "stack overflow": "overflow",
    "in an interrupt": "interrupt",
    "assertion": "assertion",
}
IMPOSSIBLE = {
    ("division by zero", "m0"),
    ("execute never", "m0"),
    ("NULL data", "m0"),
    ("floating-point unit off", "m0"),
    ("floating-point unit off", "m3"),
}
_UNCERTAIN = ("corrupted_return", "smashed_stack", "quiet")  # no chain is the truth; see test_unwind


def test_what_cannot_be_raised_is_no_more_than_this() -> None:
    declared = {scenario.name: scenario for scenario in lab.scenarios()}
    found = {(row, core) for row, name in ROWS.items() for core in declared[name].impossible}
    assert found == IMPOSSIBLE
    cells = (len(ROWS) * len(lab.CORES) - len(IMPOSSIBLE)) * 2 * len(lab.LEVELS)
    documented = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
    assert f"{cells} cells" in documented
    for row, name in ROWS.items():
        for core, reason in declared[name].impossible.items():
            assert any(row in line and core.upper() in line and reason in line for line in documented.splitlines()), row


@pytest.mark.parametrize("level", lab.LEVELS)
@pytest.mark.parametrize("core", lab.CORES)
def test_kind_function_line_and_whole_chain(core: str, level: str, captured: Callable[[str, str], Crashes]) -> None:
    found = captured(core, level)
    image = found.image
    cells, wrong = set(), []
    for crash in found.found:
        scenario = crash.scenario
        if core in scenario.impossible or scenario.name in _UNCERTAIN:
            continue
        told = explain(crash.state, image)
        where = f"{scenario.name} on the {'process' if crash.on_process_stack else 'main'} stack"
        kind = scenario.kind or ("data_fault" if core == "m0" else "precise_bus_fault")
        if told.kind != kind:
            wrong.append(f"{where}: {told.kind}, not {kind}")
        handlers = [frame.function for frame in told.frames if frame.pc is None]
        assert len(handlers) == (kind != "assertion"), where  # an assertion is no fault
        frames = told.frames[len(handlers) :]
        places = [(frame.function, frame.file, frame.line, frame.inlined) for frame in frames]
        if difference := scenario.differences(places, crash.on_process_stack):
            wrong.append(f"{where}: {difference}")
        guessed = {frame.via for frame in frames} >= {"scan"}
        if guessed is crash.stacked:
            wrong.append(f"{where}: {'guessed' if guessed else 'claimed'} frames")
        if any((frame.via == "scan") is not ("guessed" in frame.label) for frame in frames):
            wrong.append(f"{where}: a guess without its label")
        if kind == "assertion" and f'"kinds.c:{scenario.expected(False)[2].line}"' not in told.sentence:
            wrong.append(f"{where}: the assertion's place is not in {told.sentence!r}")
        cells.add((scenario.name, crash.on_process_stack))
    assert not wrong
    for row, name in ROWS.items():
        assert ((row, core) in IMPOSSIBLE) is not (cells >= {(name, False), (name, True)}), row
