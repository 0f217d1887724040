"""The QEMU plugin against programs whose instructions are counted by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.debug.image import Image
from harness.debug.symbolise import Symboliser
from harness.errors import BadInput, InfrastructureError, ToolFailed
from harness.profile import tcg
from harness.profile.call_tree import Node, call_tree
from harness.profile.tcg_counter import functions
from harness.profile.timing_tables import TIMINGS
from harness.toolchain.disassembly import disassemble
from tests.profile import bare

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm", "gcc"))),
    reason="needs arm-none-eabi-gcc, qemu-system-arm and gcc",
)

LOOP = """
    function known                  @ 1 + 1 + 1000 * 4 + 1 = 4,003 instructions
        push    {r4, lr}
        mov     r4, #1000
    1:  nop
        nop
        subs    r4, #1
        bne     1b
        pop     {r4, pc}
    over known
"""
# known: 7 of its own and two leaves, one by a pointer; middle: 4 and a leaf; last, reached by a jump: 3 and a leaf
CALLS = """
    function known
        push    {r4, lr}
        bl      leaf
        bl      middle
        ldr     r3, =leaf
        blx     r3
        pop     {r4, lr}
        b       last
    over known
    function leaf
        movs    r0, #1
        adds    r0, #1
        bx      lr
    over leaf
    function middle
        push    {r4, lr}
        bl      leaf
        nop
        pop     {r4, pc}
    over middle
    function last
        push    {r4, lr}
        bl      leaf
        ldmia   sp!, {r4, pc}
    over last
"""
# Calls itself four times: 4 * 6 + 4 (the innermost returns at once), of it 1 skipped and 1 taken branch
RECURSION = """
    function known
        push    {r4, lr}
        movs    r0, #4
        bl      again
        pop     {r4, pc}
    over known
    function again
        cbz     r0, 1f
        push    {r4, lr}
        subs    r0, #1
        bl      again
        pop     {r4, pc}
    1:  bx      lr
    over again
"""
# A jump through a table is no return, although it goes by a value
TABLE = """
    function known
        push    {r4, lr}
        bl      choose
        pop     {r4, pc}
    over known
    function choose
        movs    r1, #2
        tbb     [pc, r1]
        .byte   2, 3, 4, 0
        nop
        nop
        nop
        bx      lr
    over choose
"""


def tree_of(elf: Path, execution: tcg.Execution) -> Node:
    return call_tree(execution, Image(elf), disassemble(elf), TIMINGS["cortex-m3"]).root


def flat(root: Node) -> dict[str, tuple[int, int]]:
    """Own instructions and calls of each chain of functions, by their names joined with /."""
    return {"/".join(n.function for n in chain): (chain[-1].instructions, chain[-1].calls) for chain in root.walk()}


def test_known_loop_is_counted_exactly_in_each_call(tmp_path: Path) -> None:
    elf, runs = bare.executions(tmp_path, LOOP)
    assert [run.instructions for run in runs] == [4003, 4003]
    assert runs[0] == runs[1]
    assert flat(tree_of(elf, runs[0])) == {"known": (4003, 1)}


def test_calls_jumps_and_pointers_go_to_the_function_that_executed_them(tmp_path: Path) -> None:
    elf, runs = bare.executions(tmp_path, CALLS)
    root = tree_of(elf, runs[0])
    assert flat(root) == {
        "known": (7, 1),
        "known/leaf": (6, 2),
        "known/middle": (4, 1),
        "known/middle/leaf": (3, 1),
        "known/last": (3, 1),
        "known/last/leaf": (3, 1),
    }
    assert root.total == runs[0].instructions == 26
    assert list(root.children) == ["leaf", "middle", "last"]


def test_recursion(tmp_path: Path) -> None:
    elf, runs = bare.executions(tmp_path, RECURSION)
    assert runs[0].instructions == 4 + 4 * 5 + 2
    root = tree_of(elf, runs[0])
    assert flat(root)["known/again/again/again/again/again"] == (2, 1)
    (again,) = [one for one in functions(root, Symboliser(Image(elf))) if one.name == "again"]
    assert (again.own.instructions, again.calls, again.inclusive) == (22, 5, 22)


def test_recursion_through_a_pointer(tmp_path: Path) -> None:
    """BLX is a call like BL; taken for a jump it would leave one frame of five."""
    inner = "subs    r0, #1\n        bl      again"
    assert inner in RECURSION
    elf, runs = bare.executions(tmp_path, RECURSION.replace(inner, "subs r0, #1\n ldr r3, =again\n blx r3"))
    assert flat(tree_of(elf, runs[0]))["known/again/again/again/again/again"] == (2, 1)


def test_a_jump_through_a_table_ends_no_call(tmp_path: Path) -> None:
    elf, runs = bare.executions(tmp_path, TABLE)
    assert flat(tree_of(elf, runs[0])) == {"known": (3, 1), "known/choose": (4, 1)}


def test_branches_taken_and_not_taken_are_told_apart(tmp_path: Path) -> None:
    """By the table of the Cortex-M3: push 3, mov 1, 1000 × (nop, nop, subs), 999 taken and 1 not, pop 3 + P."""
    elf, runs = bare.executions(tmp_path, LOOP)
    cycles = tree_of(elf, runs[0]).total_cycles
    assert cycles is not None
    rest = 3 + 1 + 3000 + 1 + 3
    assert (cycles.low, cycles.high) == (rest + 999 * 2 + 1, rest + 999 * 4 + 3)


def test_the_stack_that_was_written(tmp_path: Path) -> None:
    _, runs = bare.executions(tmp_path, CALLS)
    top = 0x20001000
    assert [top - run.lowest for run in runs] == [16, 16]  # two frames of two registers


def test_what_runs_outside_the_call_is_not_counted(tmp_path: Path) -> None:
    _, once = bare.executions(tmp_path, LOOP, start="bl hop\n bl known\n bl hop")
    assert [run.instructions for run in once] == [4003]


@pytest.fixture(autouse=True)
def hop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program has a function that is not asked for."""
    monkeypatch.setattr(bare, "PROLOGUE", bare.PROLOGUE + "\n function hop\n movs r4, #9\n bx lr\n over hop\n")


def test_a_function_that_is_jumped_to_has_no_end(tmp_path: Path) -> None:
    done = bare.run(bare.link(tmp_path, LOOP, start="b known"), tmp_path / "counts")
    assert done.returncode != 0
    assert "reached by a jump" in done.stderr
    assert tcg.read(tmp_path / "counts") == []


def test_unknown_function(tmp_path: Path) -> None:
    elf = bare.link(tmp_path, LOOP)
    with pytest.raises(BadInput, match="no absent"):
        tcg.options(Image(elf), "absent", tmp_path / "counts")


def test_text_that_ends_in_the_middle(tmp_path: Path) -> None:
    out = tmp_path / "counts"
    out.write_text("run 5 0\ncontext 0 0 0 64 1\n")
    with pytest.raises(InfrastructureError, match="did not finish"):
        tcg.read(out)
    out.write_text("run 5 0\nnonsense\n")
    with pytest.raises(InfrastructureError, match="nonsense"):
        tcg.read(out)


def test_contexts_that_a_later_call_does_not_enter_leave_no_gap(tmp_path: Path) -> None:
    out = tmp_path / "counts"
    out.write_text("run 5 0\ncontext 0 0 0 64 1\ncontext 7 0 64 80 1\nblock 7 80 5 1 0\nend\n")
    (execution,) = tcg.read(out)
    assert [context.parent for context in execution.contexts] == [0, 0]
    assert [block.context for block in execution.blocks] == [1]


def test_a_comma_in_a_path_is_part_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    _, runs = bare.executions(folder, LOOP)
    assert [run.instructions for run in runs] == [4003, 4003]


def test_a_plugin_that_does_not_build_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.c"
    broken.write_text("int f(void) { return nonsense; }\n")
    monkeypatch.setattr(tcg, "SOURCE", broken)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ToolFailed, match="nonsense"):
        tcg.plugin()


def test_the_plugin_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = tcg.plugin()
    written = first.stat().st_ino
    assert tcg.plugin() == first
    assert first.stat().st_ino == written
