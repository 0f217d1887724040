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
    [  # section 3.3.2 of either manual: "normally three cycles total" and so on
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


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["add r1, r1, #4", "ldr r0, [r1, #0]"], (4, 4)),
        (["mul r3, r1, r2", "ldr r0, [r1, r3]"], (4, 4)),
        (["udiv r3, r1, r2", "ldrd r0, r1, [r3, #8]"], (6, 16)),
        (["add r1, r1, #4", "strb r0, [r1, r2]"], (4, 4)),
        (["add r1, r1, #4", "str r0, [r1, #4]"], (2, 3)),  # "any store" stalls, but "is always one cycle"
        (["adds r0, #4", "ldmia r0!, {r1, r2}"], (5, 5)),
        (["add sp, #8", "pop {r4, r5}"], (5, 5)),
        (["add r3, r1, #4", "ldr r0, [r1, #0]"], (3, 3)),
        (["cmp r1, #4", "ldr r0, [r1, #0]"], (3, 3)),  # reads its first operand only
        (["add r1, r1, #4", "nop", "ldr r0, [r1, #0]"], (4, 4)),
    ],
)
@pytest.mark.parametrize("timing", [M3, M4], ids=lambda timing: timing.name)
def test_an_address_from_the_instruction_before_stalls(
    timing: Timing, lines: list[str], wanted: tuple[int, int]
) -> None:
    assert cycles(timing, *lines) == wanted


def test_an_address_from_the_instruction_before_costs_nothing_on_armv6m() -> None:
    for timing in (M0, M0PLUS):
        assert cycles(timing, "adds r1, r1, #4", "ldr r0, [r1, #0]") == (3, 3)
        assert cycles(timing, "add sp, #8", "pop {r4, r5}") == (4, 4)


def test_it_is_folded_onto_16_bits_only() -> None:
    wide, narrow = (M3.step(Instruction(0, size, "add", "r0, r1, r2"), None, False) for size in (4, 2))
    it = Instruction(4, 2, "ite", "eq")
    assert M3.cost(M3.step(it, wide, False)) == Cycles(1, 1)
    assert M3.cost(M3.step(it, narrow, False)) == Cycles(0, 1)


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
        ("ldr.w pc, [r3, r2, lsl #2]", (5, 5), (5, 5)),  # 3.3.2: "this operation takes at least five cycles"
        ("tbb [pc, r0]", (6, 6), (6, 6)),  # "at least six cycles"
        ("strexh r0, r1, [r2]", (2, 2), (2, 2)),
        ("cpsid i", (1, 2), (1, 2)),
        ("mrs r0, PRIMASK", (1, 2), (1, 2)),
        ("dsb sy", None, None),  # 1 + B, of which only the least is published
        ("addls.w r0, r0, r1", (1, 1), (1, 1)),
    ],
)
def test_rows(line: str, m3: tuple[int, int] | None, m4: tuple[int, int] | None) -> None:
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
        ("blx r3", 3, 2),
        ("mrs r0, PRIMASK", 4, 3),
        ("dsb sy", 4, 3),
        ("cpsid i", 1, 1),
        ("stmia r0!, {r1, r2, r3}", 4, 4),
        ("push {r4, lr}", 3, 3),
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
    assert cycles(M4, "vdiv.f32 s0, s1, s2") == (1, 14)  # one "if no more floating-point instructions are executed"
    assert cycles(M4, "vpush {d8}") == (3, 3)
    assert cycles(M4, "vldmia r0!, {s16-s19}") == (5, 5)
    assert cycles(M3, "vmla.f32 s0, s1, s2") is None


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("vmov.f32 s0, s1", 1),
        ("vmov.f32 s0, #112", 1),
        ("vmov s0, r1", 2),
        ("vmov r1, s0", 2),
        ("vmov r0, r1, d4", 2),
        ("vmov.32 r0, d4[1]", 1),
        ("vldr s0, [r1, #4]", 2),
        ("vstr d0, [r1, #4]", 3),
    ],
)
def test_moves_of_floats(line: str, wanted: int) -> None:
    assert cycles(M4, line) == (wanted, wanted)


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [  # the note below Table 7-1: "one cycle longer if their result is consumed by the following instruction"
        (["vadd.f32 s0, s1, s2", "vmul.f32 s3, s0, s4"], 3),
        (["vadd.f32 s0, s1, s2", "vmul.f32 s0, s3, s4"], 2),
        (["vcvt.f32.s32 s0, s0", "vstr s0, [r1]"], 4),
        (["vmul.f32 s0, s1, s2", "vcmpe.f32 s0, #0.0"], 3),
        (["vmul.f32 s0, s1, s2", "vmov r0, s0"], 4),
        (["vmla.f32 s0, s1, s2", "vmla.f32 s0, s3, s4"], 6),  # which adds to it a cycle later
        (["vmla.f32 s0, s1, s2", "vmla.f32 s3, s0, s4"], 7),
        (["vneg.f32 s0, s1", "vadd.f32 s3, s0, s4"], 2),  # moves a sign: no arithmetic in section 7.2.6
        (["vdiv.f32 s0, s1, s2", "vadd.f32 s3, s4, s5"], 15),
        (["vdiv.f32 s0, s1, s2", "vstr s0, [r1]"], 17),
        (["add r1, r1, #4", "vldr s0, [r1, #4]"], 4),
    ],
)
def test_floats_needed_at_once(lines: list[str], wanted: int) -> None:
    assert cycles(M4, *lines) == (wanted, wanted)


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
