"""The short name of a bug: the same wherever the bug is the same, another one wherever it is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.board import load_board
from harness.debug.crash import explain
from harness.debug.fingerprint import Site, fingerprint
from harness.debug.image import Image
from harness.debug.stops import explain_stop
from harness.firmware import build
from harness.session import open_session
from harness.verdict import TargetStopped
from tests.debug import lab
from tests.debug.conftest import Crashes
from tests.sample_model import sample, with_kernel

Bug = tuple[str, bool]  # scenario, whether on the process stack


@pytest.fixture(scope="module")
def named(crashes: Callable[[str, str], Crashes]) -> Callable[[str, str], dict[Bug, str | None]]:
    """`named("m3", "-O2")`: the fingerprint of each scenario that crashes there."""
    known: dict[tuple[str, str], dict[Bug, str | None]] = {}

    def get(core: str, level: str) -> dict[Bug, str | None]:
        if (core, level) not in known:
            found = crashes(core, level)
            known[core, level] = {
                (crash.scenario.name, crash.on_process_stack): explain(crash.state, found.image).fingerprint
                for crash in found.found
                if core not in crash.scenario.impossible
            }
        return known[core, level]

    return get


@pytest.mark.parametrize("core", lab.CORES)
def test_a_bug_has_one_name_at_every_optimisation_level(
    core: str, named: Callable[[str, str], dict[Bug, str | None]]
) -> None:
    names = [named(core, level) for level in lab.LEVELS]
    assert all(names[0] == other for other in names[1:])
    assert len(names[0]) > 40
    assert None not in names[0].values()


def test_a_bug_has_one_name_on_every_core(named: Callable[[str, str], dict[Bug, str | None]]) -> None:
    together: dict[Bug, set[str | None]] = {}
    for core in lab.CORES:
        for bug, name in named(core, "-O2").items():
            together.setdefault(bug, set()).add(name)
    assert {bug for bug, names in together.items() if len(names) > 1} == set()


def _bug(scenario: lab.Scenario) -> object:
    """What makes two scenarios one bug: the same mistake in the same interrupt handler, whatever it interrupted."""
    chain = [(e.function, e.line) for e in scenario.chain or ()]
    handler = next((i for i, (function, _) in enumerate(chain) if function.endswith("_Handler")), None)
    return scenario.name if handler is None else tuple(chain[: handler + 1])


@pytest.mark.parametrize("core", lab.CORES)
def test_different_bugs_have_different_names(core: str, named: Callable[[str, str], dict[Bug, str | None]]) -> None:
    bugs: dict[object, set[str | None]] = {}
    for (scenario, _), name in named(core, "-O2").items():
        which = _bug(next(s for s in lab.scenarios() if s.name == scenario))
        bugs.setdefault(which, set()).add(name)
    every = [name for names in bugs.values() for name in names]
    assert len(set(every)) == len(every)
    assert len(bugs) > 18


def _edited(folder: Path, edit: Callable[[str], str]) -> dict[Bug, str | None]:
    """The names of the crash programs after `program.c` was changed, built in another folder."""
    copy = folder / "elsewhere" / "deeper"
    shutil.copytree(lab.FIRMWARE, copy)
    program = copy / "program.c"
    program.write_text(edit(program.read_text()))
    original, lab.FIRMWARE = lab.FIRMWARE, copy
    try:
        elf = lab.build(lab.CORES["m3"], "-O2", folder)
        crashes = lab.run(lab.CORES["m3"], elf, folder)
    finally:
        lab.FIRMWARE = original
    image = Image(elf)
    found = {(c.scenario.name, c.on_process_stack): explain(c.state, image).fingerprint for c in crashes}
    there = {s.name for s in lab.scenarios() if "m3" not in s.impossible and not s.by_module}
    return {bug: name for bug, name in found.items() if bug[0] in there}


_PADDING = """/* new */

FUNCTION int32_t padding(int32_t x)
{
    return x * 31 + sink;
}
"""


def test_moved_addresses_lines_and_folders_change_no_name(
    named: Callable[[str, str], dict[Bug, str | None]], tmp_path: Path
) -> None:
    def moved(text: str) -> str:
        before = '#include "lab.h"\n'
        assert before in text
        text = text.replace(before, before + _PADDING)
        call = "sink = (int32_t)outer(UNMAPPED, zero);"
        return text.replace(call, "sink = padding(1); " + call)

    assert _edited(tmp_path, moved) == named("m3", "-O2")


def test_another_line_of_the_same_function_is_another_bug(
    named: Callable[[str, str], dict[Bug, str | None]], tmp_path: Path
) -> None:
    line = "    *(volatile uint32_t *)address = 42; /*@poke*/\n"
    changed = _edited(tmp_path, lambda text: text.replace(line, "    sink++;\n" + line))
    before = named("m3", "-O2")
    innermost = {s.name: s.chain[0].function for s in lab.scenarios() if s.chain}
    for (scenario, on_process_stack), name in changed.items():
        same = before[scenario, on_process_stack] == name
        assert same is (innermost.get(scenario) != "poke"), scenario


# ---- null pointers: what compilers make of them differs most

NULLS = {
    "load": "    const int32_t *pointer = 0;\n    output[0] = (int8_t)(input[0] + *pointer);\n",
    "store": "    int32_t *pointer = 0;\n    output[0] = input[0];\n    *pointer = input[0];\n",
}


@pytest.mark.parametrize("board_name", ["qemu_cortex_m3", "qemu_cortex_m33"])
@pytest.mark.parametrize("which", NULLS)
def test_a_null_pointer_in_a_layer_has_one_name_whatever_gcc_makes_of_it(
    which: str, board_name: str, toolchain: None, tmp_path: Path
) -> None:
    board = load_board(board_name)
    source = with_kernel(sample(board.target.core), 1, NULLS[which])
    names, kinds = set(), set()
    for level in lab.LEVELS:
        firmware = build(source, board, level=level, cache=tmp_path)
        for layers in (True, False):
            with open_session(firmware, board) as session:
                with pytest.raises(TargetStopped) as stopped:
                    session.run_layers() if layers else session.run()
                for model in (source, None):
                    crash = explain_stop(stopped.value, firmware.elf, source=model)
                    assert crash is not None
                    names.add(crash.fingerprint)
                    kinds.add(crash.kind)
    assert len(names) == 1, kinds
    assert None not in names


# ---- the rules one by one

SITES = (
    Site("memcpy", "/build/newlib-4/newlib/libc/machine/arm/memcpy.S", 114, 100),
    Site("kernel", "/home/a/layers/003_kernel.c", 20, 12),
    Site("model_run", "/home/a/model.c", 7, 3),
    Site("main", "/home/a/main.c", 9, 5),
)


def _changed(index: int, **changes: object) -> tuple[Site, ...]:
    return tuple(replace(site, **changes) if i == index else site for i, site in enumerate(SITES))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sites",
    [
        SITES[1:],  # the copy was made inline
        _changed(0, function="__aeabi_memcpy", file=None, line=None, start=None),
        _changed(1, file="/tmp/b/layers/003_kernel.c"),
        _changed(1, line=120, start=112),
        _changed(1, function="kernel.constprop.0"),
        _changed(2, function="rpc_run_layers", file="rpc_run_layers.c"),
        _changed(2, guessed=True),
        (*SITES[:2], SITES[1], *SITES[2:]),  # one more turn of a recursion
        (*SITES[:2], Site("interrupted", "a.c", 5, 1, interrupted=True), *SITES[2:]),
    ],
)
def test_what_changes_no_name(sites: tuple[Site, ...]) -> None:
    assert fingerprint("precise_bus_fault", sites) == fingerprint("data_fault", SITES)


@pytest.mark.parametrize(
    ("kind", "sites"),
    [
        ("unaligned_access", SITES),
        ("null_pointer", SITES),
        ("data_fault", _changed(1, line=21)),
        ("data_fault", _changed(1, function="other")),
        ("data_fault", _changed(1, file="/home/a/layers/004_kernel.c")),
        ("data_fault", (Site("helper", "nn.h", 3, 1), *SITES)),
    ],
)
def test_what_changes_the_name(kind: str, sites: tuple[Site, ...]) -> None:
    assert fingerprint(kind, sites) != fingerprint("data_fault", SITES)


def test_the_trap_of_a_compiler_is_the_null_pointer_it_stands_for() -> None:
    assert fingerprint("trap", SITES) == fingerprint("null_pointer", SITES) == fingerprint("divide_by_zero", SITES)
    assert fingerprint("undefined_instruction", SITES) != fingerprint("trap", SITES)


def test_an_imprecise_fault_does_not_hang_on_its_line() -> None:
    late = _changed(1, line=25)
    assert fingerprint("imprecise_bus_fault", SITES, False) == fingerprint("imprecise_bus_fault", late, False)


def test_a_stack_overflow_is_named_by_what_recurs() -> None:
    def overflow(turns: int, guessed: bool, leaf: tuple[Site, ...] = ()) -> str | None:
        pair = (Site("ping", "a.c", 9, 1, guessed), Site("pong", "a.c", 19, 11, guessed))
        return fingerprint("stack_overflow", (*leaf, *(pair * turns), Site("start", "a.c", 30, 25)))

    name = overflow(5, False)
    assert name == overflow(40, True) == overflow(4, True, (Site("leaf", "a.c", 50, 45),))
    assert name != fingerprint("stack_overflow", (Site("ping", "a.c", 9, 1),) * 5)
    # none recurs: a large frame, of which the certain functions are what there is
    assert fingerprint("stack_overflow", SITES[1:]) != fingerprint("stack_overflow", _changed(1, function="other")[1:])


def test_what_is_no_bug_or_nowhere_has_no_name() -> None:
    assert fingerprint("halted", SITES) is None
    assert fingerprint("data_fault", ()) is None
    assert fingerprint("data_fault", (Site(None, None, None, None),)) is None
    assert fingerprint("data_fault", (replace(SITES[1], guessed=True),)) is None
