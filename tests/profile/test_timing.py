"""The estimate against examples that the manuals print, and against loops timed by hand from their tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.board import load_board
from harness.errors import BadInput
from harness.profile.timing import NONE, Cycles, Timing
from harness.profile.timing_tables import TIMINGS, timing_for
from harness.toolchain.disassembly import Instruction

M0, M0PLUS, M3, M4 = (TIMINGS[name] for name in ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4"))


def cycles(timing: Timing, *lines: str, jumps: bool = True) -> tuple[int, int] | None:
    """Of instructions one behind the other; `jumps` is about the last of them."""
    total = NONE
    before = None
    for index, line in enumerate(lines):
        mnemonic, _, operands = line.partition(" ")
        instruction = Instruction(2 * index, 2, mnemonic, operands)
        step = timing.step(instruction, before, jumps and index == len(lines) - 1)
        cost = timing.cost(step)
        if cost is None:
            return None
        total, before = total + cost, step
    return total.low, total.high


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [  # DDI 0337I, 3.3.2: "normally three cycles total" and so on
        (["ldr r0, [r1, #0]", "ldr r1, [r2, #0]"], 3),
        (["ldr r0, [r1, r2]", "str r0, [r3, #20]"], 3),
        (["ldr r0, [r1, r2]", "str r1, [r3, r2]"], 3),
        (["ldr r0, [r1, r5]", "ldr r1, [r2, #0]", "ldr r2, [r3, #4]"], 4),
        (["str r0, [r1, #4]"], 1),
    ],
)
@pytest.mark.parametrize("timing", [M3, M4], ids=lambda timing: timing.name)
def test_examples_of_the_manual(timing: Timing, lines: list[str], wanted: int) -> None:
    assert cycles(timing, *lines) == (wanted, wanted)


def test_a_load_through_what_was_just_loaded_does_not_overlap() -> None:
    assert cycles(M3, "ldr r0, [r1, #0]", "ldr r2, [r0, #0]") == (4, 4)


def test_an_address_from_the_instruction_before_may_stall() -> None:
    assert cycles(M3, "add r1, r1, #4", "ldr r0, [r1, #0]") == (3, 4)
    assert cycles(M3, "add r3, r1, #4", "ldr r0, [r1, #0]") == (3, 3)


@pytest.mark.parametrize(
    ("line", "m3", "m4"),
    [
        ("mla r0, r1, r2, r3", (2, 2), (1, 1)),
        ("smull r0, r1, r2, r3", (3, 5), (1, 1)),
        ("smlal r0, r1, r2, r3", (4, 7), (1, 1)),
        ("sdiv r0, r1, r2", (2, 12), (2, 12)),
        ("ldrd r0, r1, [r2, #8]", (3, 3), (3, 3)),
        ("ldmia.w r0!, {r4, r5, r6, r7}", (5, 5), (5, 5)),
        ("pop {r4, r5, pc}", (5, 7), (5, 7)),
        ("push {r4, lr}", (3, 3), (3, 3)),
        ("bl 1234 <f>", (2, 4), (2, 4)),
        ("ittte ne", (0, 1), (0, 1)),
        ("movs.w r0, #7", (1, 1), (1, 1)),
        ("mov pc, r3", (2, 4), (2, 4)),
        ("addls.w r0, r0, r1", (1, 1), (1, 1)),
    ],
)
def test_rows(line: str, m3: tuple[int, int], m4: tuple[int, int]) -> None:
    assert cycles(M3, line) == m3
    assert cycles(M4, line) == m4


@pytest.mark.parametrize(
    ("line", "m0", "m0plus"),
    [
        ("muls r0, r1, r0", 1, 1),
        ("ldrsb r0, [r1, r2]", 2, 2),
        ("pop {r4, pc}", 6, 5),
        ("pop {r4, r5}", 3, 3),
        ("bl 1234 <f>", 4, 3),
        ("bx lr", 3, 2),
        ("bne.n 12", 3, 2),
        ("ldmia r0!, {r1, r2, r3}", 4, 4),
        ("mov pc, lr", 3, 2),
    ],
)
def test_rows_of_armv6m(line: str, m0: int, m0plus: int) -> None:
    assert cycles(M0, line) == (m0, m0)
    assert cycles(M0PLUS, line) == (m0plus, m0plus)


@pytest.mark.parametrize("timing", TIMINGS.values(), ids=lambda timing: timing.name)
def test_a_branch_that_is_not_taken_costs_one(timing: Timing) -> None:
    assert cycles(timing, "beq.n 12", jumps=False) == (1, 1)


def test_floating_point_only_where_there_is_a_unit() -> None:
    assert cycles(M4, "vmla.f32 s0, s1, s2") == (3, 3)
    assert cycles(M4, "vdiv.f32 s0, s1, s2") == (14, 14)
    assert cycles(M4, "vpush {d8}") == (3, 3)
    assert cycles(M4, "vldmia r0!, {s16-s19}") == (5, 5)
    assert cycles(M3, "vmla.f32 s0, s1, s2") is None


def test_what_the_table_does_not_have_is_not_guessed() -> None:
    assert cycles(M3, "nop", "smlad r0, r1, r2, r3", "nop") is None
    assert cycles(M4, "smladx r0, r1, r2, r3") == (1, 1)
    assert cycles(M4, "", "nop") is None


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 50))
def test_the_middle_lies_between_the_ends(low: int, more: int, times: int) -> None:
    cycles = Cycles(low, low + more).times(times)
    assert cycles.low <= cycles.middle <= cycles.high


def test_which_table_fits() -> None:
    assert timing_for(load_board("qemu_cortex_m4")) is M4
    assert timing_for(load_board("qemu_cortex_m0")) is M0
    assert timing_for(load_board("qemu_cortex_m0"), "cortex-m0plus") is M0PLUS
    for board in ("qemu_cortex_m7", "qemu_cortex_m33", "qemu_cortex_m55", "host"):
        assert timing_for(load_board(board)) is None
    with pytest.raises(BadInput, match="Cortex-M4 does not fit code for cortex-m7"):
        timing_for(load_board("qemu_cortex_m7"), "cortex-m4")
    with pytest.raises(BadInput, match="no timing table 'z80'"):
        timing_for(load_board("qemu_cortex_m3"), "z80")


def test_every_table_names_its_source() -> None:
    assert all("Technical Reference Manual" in timing.source for timing in TIMINGS.values())
