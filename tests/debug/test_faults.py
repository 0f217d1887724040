"""What fault status registers mean: each bit alone, together, stale, absent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.debug.fault_bits import BITS, FaultBit, set_bits
from harness.debug.faults import diagnose
from tests.debug import lab
from tests.debug.conftest import Crashes

# every defined bit, as the manuals list them: DDI 0403E B3.2.15, B3.2.16, C1.6.1; DDI 0553 for STKOF, PMU and SFSR
DEFINED = {
    "cfsr": {
        0: "IACCVIOL", 1: "DACCVIOL", 3: "MUNSTKERR", 4: "MSTKERR", 5: "MLSPERR", 7: "MMARVALID",
        8: "IBUSERR", 9: "PRECISERR", 10: "IMPRECISERR", 11: "UNSTKERR", 12: "STKERR", 13: "LSPERR", 15: "BFARVALID",
        16: "UNDEFINSTR", 17: "INVSTATE", 18: "INVPC", 19: "NOCP", 20: "STKOF", 24: "UNALIGNED", 25: "DIVBYZERO",
    },
    "hfsr": {1: "VECTTBL", 30: "FORCED", 31: "DEBUGEVT"},
    "dfsr": {0: "HALTED", 1: "BKPT", 2: "DWTTRAP", 3: "VCATCH", 4: "EXTERNAL", 5: "PMU"},
    "sfsr": {
        0: "INVEP", 1: "INVIS", 2: "INVER", 3: "AUVIOL", 4: "INVTRAN", 5: "LSPERR", 6: "SFARVALID", 7: "LSERR",
    },
}  # fmt: skip

NOWHERE = {"pc": 0x1000, "xpsr": 1 << 24}


def test_the_table_has_every_defined_bit_once_with_sentence_and_section() -> None:
    table = {(bit.word, bit.bit): bit.name for bit in BITS}
    assert len(table) == len(BITS)
    assert table == {(word, bit): name for word, bits in DEFINED.items() for bit, name in bits.items()}
    assert all(bit.sentence.endswith(".") and bit.section for bit in BITS)


@pytest.mark.parametrize("bit", [bit for bit in BITS if bit.kind], ids=lambda bit: f"{bit.register}.{bit.name}")
@pytest.mark.parametrize("forced", [0, 1 << 30])
def test_each_bit_alone_gives_its_own_kind_whether_the_fault_escalated_or_not(bit: FaultBit, forced: int) -> None:
    status = {"cfsr": 0, "hfsr": forced, "mmfar": 0xAAAA0000, "bfar": 0xBBBB0000}
    status[bit.word] = status.get(bit.word, 0) | 1 << bit.bit
    found = diagnose(status, NOWHERE, reason="hardfault", code=lambda address, length: b"\x00\xbf")
    expected = "hard_fault" if bit.name == "FORCED" else bit.kind
    assert found.kind == expected
    assert bit in found.bits
    assert found.precise == bit.precise
    assert found.address != 0xAAAA0000, "MMFAR counts only with MMARVALID"
    assert found.address != 0xBBBB0000, "BFAR counts only with BFARVALID"


@pytest.mark.parametrize(
    ("status", "kind", "address"),
    [
        ({"cfsr": 1 << 9 | 1 << 15, "bfar": 0x60000000, "mmfar": 0x60000000}, "precise_bus_fault", 0x60000000),
        ({"cfsr": 1 << 1 | 1 << 7, "mmfar": 0x20000010, "bfar": 5}, "memory_protection", 0x20000010),
        ({"cfsr": 1 << 1 | 1 << 7, "mmfar": 0x10, "bfar": 5}, "null_pointer", 0x10),
        ({"cfsr": 1 << 10, "bfar": 0x60000000}, "imprecise_bus_fault", None),
        ({"cfsr": 1 << 10 | 1 << 15, "bfar": 0x60000000}, "imprecise_bus_fault", None),
        ({"cfsr": 1 << 10 | 1 << 9 | 1 << 15, "bfar": 0x60000004}, "precise_bus_fault", 0x60000004),
        ({"cfsr": 1 << 4 | 1 << 1 | 1 << 7, "mmfar": 0x20000000}, "stack_overflow", None),
        ({"sfsr": 1 << 3 | 1 << 6, "sfar": 0x30000000}, "secure_access", 0x30000000),
    ],
)
def test_kind_and_address_of_what_processors_report(status: dict[str, int], kind: str, address: int | None) -> None:
    found = diagnose(status, NOWHERE, code=lambda address, length: b"\x00\xbf")
    assert (found.kind, found.address) == (kind, address)


def test_an_imprecise_fault_says_that_the_culprit_is_elsewhere() -> None:
    found = diagnose({"cfsr": 1 << 10}, NOWHERE)
    assert not found.precise
    assert "before" in found.sentence


@pytest.mark.parametrize("bit", [bit for bit in BITS if bit.kind], ids=lambda bit: f"{bit.register}.{bit.name}")
@pytest.mark.parametrize("hfsr", [0, 1 << 30])
def test_words_say_for_every_bit_whether_the_line_is_that_of_the_culprit(bit: FaultBit, hfsr: int) -> None:
    status = {"cfsr": 0, "hfsr": hfsr}
    status[bit.word] = status.get(bit.word, 0) | 1 << bit.bit
    found = diagnose(status, NOWHERE, reason="hardfault", code=lambda address, length: b"\x00\xbf")
    late = "the culprit is before" in found.sentence
    assert late is (bit.name in ("IMPRECISERR", "MLSPERR", "LSPERR", "LSERR"))
    assert any(text.startswith(f"{bit.register}.{bit.name}: ") for text in found.meaning)


def test_bits_that_no_manual_of_the_architecture_defines_are_shown_as_they_are() -> None:
    found = diagnose({"cfsr": 1 << 9, "afsr": 0x40001}, NOWHERE)
    assert any("AFSR is 0x00040001" in text and "implementation defined" in text for text in found.meaning)
    assert not any("AFSR" in text for text in diagnose({"cfsr": 1 << 9, "afsr": 0}, NOWHERE).meaning)
    undefined = {"cfsr": ~sum(1 << n for n in DEFINED["cfsr"]) & 0xFFFFFFFF, "hfsr": 1 << 5}
    assert diagnose(undefined, NOWHERE).bits == ()


def test_old_status_bits_of_another_exception_do_not_decide() -> None:
    """The bits are sticky: a bus fault that was handled and forgotten is still there when a usage fault is taken."""
    status = {"cfsr": 1 << 25 | 1 << 9 | 1 << 15, "bfar": 0x60000000}
    assert diagnose(status, NOWHERE, reason="usagefault").kind == "divide_by_zero"
    assert diagnose(status, NOWHERE, reason="busfault").kind == "precise_bus_fault"


def test_a_processor_that_was_halted_has_no_fault_unless_it_was_handling_one() -> None:
    status = {"cfsr": 1 << 9 | 1 << 15, "bfar": 0x60000000, "hfsr": 0}
    thread, handler = {"pc": 0x100, "xpsr": 1 << 24}, {"pc": 0x100, "xpsr": 1 << 24 | 5}
    assert diagnose(status, thread, reason="halted").kind == "halted"
    assert diagnose(status, handler, reason="halted").kind == "precise_bus_fault"


def test_a_lockup_is_one_whatever_else_is_set() -> None:
    assert diagnose({"cfsr": 1 << 9}, NOWHERE, reason="lockup").kind == "lockup"


def test_without_any_register_there_is_still_an_answer() -> None:
    found = diagnose({}, {})
    assert found.kind == "hard_fault"
    assert found.address is None


@pytest.mark.parametrize("status", [{"cfsr": 1 << 16}, {}])
def test_the_trap_that_gcc_puts_after_undefined_behaviour_is_told_from_other_undefined_instructions(
    status: dict[str, int],
) -> None:
    trap = diagnose(status, NOWHERE, reason="usagefault", code=lambda address, length: b"\xff\xde")
    other = diagnose(status, NOWHERE, reason="usagefault", code=lambda address, length: b"\x01\xde")
    assert trap.kind == other.kind == "undefined_instruction"
    assert "undefined behaviour" in trap.sentence
    assert "undefined behaviour" not in other.sentence


@pytest.mark.parametrize("name", ["UNDEFINSTR", "NOCP", "DIVBYZERO", "DEBUGEVT", "BKPT"])
def test_what_was_executed_where_no_code_is_tells_of_the_jump_and_names_its_address(name: str) -> None:
    bit = next(bit for bit in BITS if bit.name == name)
    status = {bit.word: 1 << bit.bit}
    found = diagnose(status, {**NOWHERE, "pc": 0x2000FFB0}, code=lambda address, length: None)
    assert (found.kind, found.title, found.address) == ("bad_jump", "jump out of the code", 0x2000FFB0)
    assert "0x2000ffb0" in found.sentence
    assert bit.sentence in found.sentence
    null = diagnose(status, {**NOWHERE, "pc": 0}, code=lambda address, length: None)
    assert (null.kind, null.address) == ("null_call", 0)
    without_program = diagnose(status, {**NOWHERE, "pc": 0x2000FFB0})
    assert (without_program.kind, without_program.address) == (bit.kind, None)


def test_an_access_by_code_that_nobody_knows_keeps_the_address_it_went_to() -> None:
    status = {"cfsr": 1 << 9 | 1 << 15, "bfar": 0x60000000}
    found = diagnose(status, {**NOWHERE, "pc": 0x2000FFB0}, code=lambda address, length: None)
    assert (found.kind, found.address) == ("precise_bus_fault", 0x60000000)


def test_set_bits_come_with_the_deciding_one_first() -> None:
    names = [bit.name for bit in set_bits({"cfsr": 1 << 9 | 1 << 15 | 1 << 16, "hfsr": 1 << 30})]
    assert names == ["UNDEFINSTR", "PRECISERR", "FORCED", "BFARVALID"]


@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("core", lab.CORES)
def test_every_crash_is_of_the_kind_its_scenario_declares(
    core: str, level: str, crashes: Callable[[str, str], Crashes]
) -> None:
    found = crashes(core, level)
    image = found.image
    assert image.has_fault_status is (core != "m0")
    kinds = set()
    for crash in found.found:
        scenario = crash.scenario
        if core in scenario.impossible or scenario.name in ("corrupted_return", "smashed_stack", "quiet"):
            continue
        diagnosis = diagnose(
            crash.state.fault_status,
            crash.state.registers,
            reason=crash.state.reason,
            code=image.instruction,
            has_status=image.has_fault_status,
        )
        default = "data_fault" if core == "m0" else "precise_bus_fault"
        if scenario.name == "overflow" and (crash.stacked or core == "m0"):
            continue  # what was stopped is a store of the function itself: only its address tells that it was the stack
        assert diagnosis.kind == (scenario.kind or default), scenario.name
        assert diagnosis.concluded == (core == "m0")
        if scenario.kind is None:
            assert (diagnosis.address or 0) & ~0x3F == lab.CORES[core].unmapped, scenario.name
            assert diagnosis.access == ("load" if scenario.name == "load_in_leaf" else "store")
        kinds.add(diagnosis.kind)
    assert len(kinds) >= 5
