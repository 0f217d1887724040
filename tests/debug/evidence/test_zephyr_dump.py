"""Zephyr's core dumps: alone or behind the text of a fault, in a log or as a file, whole or not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.debug.crash import explain
from harness.debug.evidence import crashes_in, read_evidence
from harness.debug.fault_bits import BITS
from harness.debug.memory import Memory
from harness.errors import BadInput
from tests.debug.conftest import Crashes
from tests.debug.evidence import core_dumps, logs
from tests.debug.evidence.samples import sound, truth

LEVEL = "-O2"
Get = Callable[[str, str], Crashes]


def _text(data: bytes) -> bytes:
    return "".join(f"[00:00:02.034,000] <err> coredump: {line}\n" for line in core_dumps.lines(data)).encode()


@pytest.mark.parametrize("core", ["m0", "m3", "m4", "m33", "m55"])
def test_a_dump_alone_gives_the_whole_chain(core: str, crashes: Get) -> None:
    found = crashes(core, LEVEL)
    image = found.image
    for crashed in sound(found):
        data = core_dumps.binary(crashed.state, thread=bytes(40))
        evidence = read_evidence(data, "coredump.bin")
        assert (evidence.format, evidence.cut) == ("Zephyr core dump", False)
        assert read_evidence(_text(data), "log").state == evidence.state
        crash = explain(evidence.state, image, listed=evidence.listed)
        whole = explain(crashed.state, image)
        assert core == "m0" or crash.kind == whole.kind, crashed.scenario.name
        chain = [frame.function for frame in crash.frames[1:] if frame.via != "scan"]
        assert chain == truth(crashed)[: len(chain)], (crashed.scenario.name, crash.lines())
        # the stack that an interrupt interrupted is found by PSP, which a dump does not have
        if not (crashed.on_process_stack and "PendSV_Handler" in chain):
            assert chain == [frame.function for frame in whole.frames[1:] if frame.via != "scan"], crash.lines()


def test_registers_that_only_later_versions_have(crashes: Get) -> None:
    """Zeros in all of them are what the second version has where it has none."""
    state = crashes("m3", LEVEL).of("store").state
    state = replace(state, registers={**state.registers, "r4": 4, "r11": 11})
    first = read_evidence(core_dumps.binary(state, core=1), "dump").state.registers
    second = read_evidence(core_dumps.binary(state, core=2), "dump").state.registers
    assert set(first) == {*logs.FRAME, "sp"}
    assert second == {**first, **{name: state.registers[name] for name in logs.SAVED}}


def test_registers_that_are_marked_as_not_valid_are_left_out(crashes: Get) -> None:
    state = crashes("m3", LEVEL).of("store").state
    data = bytearray(core_dumps.binary(state))
    struct.pack_into("<I", data, 12 + 5 + 4 * 17, 0)
    assert not read_evidence(bytes(data), "dump").state.registers.keys() & set(logs.SAVED)


@pytest.mark.parametrize("core", ["m3", "m4"])
def test_the_address_of_a_frame_is_not_the_stack_pointer(core: str, crashes: Get) -> None:
    """As old versions of Zephyr give it; how large the frame is then nothing says."""
    found = crashes(core, LEVEL)
    image = found.image
    for crashed in sound(found):
        evidence = read_evidence(core_dumps.binary(crashed.state, frame_address=True), "dump")
        assert "sp" not in evidence.state.registers
        assert any("does not say for certain" in note for note in evidence.notes)
        crash = explain(evidence.state, image, listed=evidence.listed)
        certain = [frame.function for frame in crash.frames if frame.via != "scan" and frame.pc is not None]
        assert certain == truth(crashed)[: len(certain)], crash.lines()
        assert evidence.listed, "words of the stack that may be return addresses"


def test_of_a_dump_that_lost_a_line_only_what_is_certain_counts(crashes: Get) -> None:
    found = crashes("m3", LEVEL)
    image = found.image
    for crashed in sound(found)[::3]:
        lines = core_dumps.lines(core_dumps.binary(crashed.state, thread=bytes(40)))
        whole = read_evidence("\n".join([*lines, ""]).encode(), "log").state
        for lost in range(2, len(lines)):
            text = "\n".join([*lines[:lost], *lines[lost + 1 :], ""])
            evidence = read_evidence(text.encode(), "log")
            assert evidence.cut
            assert any("damaged or cut short" in note for note in evidence.notes)
            state = evidence.state
            assert state.registers.items() <= whole.registers.items()
            assert set(state.memory) <= set(whole.memory)
            crash = explain(state, image, listed=evidence.listed)
            certain = [frame.function for frame in crash.frames if frame.via != "scan" and frame.pc is not None]
            assert certain == truth(crashed)[: len(certain)]


@pytest.mark.parametrize("line", ["#CD:ERROR CANNOT DUMP#", "#CD:00zz", "#CD:000", "#CD:00 11"])
def test_a_line_that_is_no_data_ends_what_is_known(line: str, crashes: Get) -> None:
    lines = core_dumps.lines(core_dumps.binary(crashes("m3", LEVEL).of("store").state))
    evidence = read_evidence("\n".join([*lines[:-3], line, *lines[-3:], ""]).encode(), "log")
    assert evidence.cut
    assert evidence.state.registers["pc"]
    assert len(evidence.state.memory) == 1


def test_a_dump_of_another_crash_than_the_text_before_it_is_one_of_its_own(crashes: Get) -> None:
    """Firmware that keeps a dump in flash prints it when it starts again."""
    found = crashes("m3", LEVEL)
    read = Memory(found.image).code
    store, division = found.of("store").state, found.of("division").state
    text = logs.zephyr(store, read).encode() + _text(core_dumps.binary(division))
    both = crashes_in(text, "log")
    assert [(e.format, e.state.registers["pc"]) for e in both] == [
        ("Zephyr log", store.registers["pc"]),
        ("Zephyr core dump", division.registers["pc"]),
    ]
    assert not both[0].state.memory
    again = crashes_in(_text(core_dumps.binary(division)) + logs.zephyr(store, read).encode(), "log")
    assert [e.state.registers["pc"] for e in again] == [division.registers["pc"], store.registers["pc"]]


def test_a_dump_adds_to_the_text_of_the_same_crash(crashes: Get) -> None:
    found = crashes("m4", LEVEL)
    state = found.of("store").state
    evidence = read_evidence(logs.zephyr_dump(state, Memory(found.image).code).encode(), "log")
    assert evidence.state.fault_status["bfar"] == state.fault_status["bfar"]
    assert evidence.state.registers["sp"] == state.registers["sp"]
    assert {name: evidence.state.registers[name] for name in logs.SAVED} == {
        name: state.registers[name] for name in logs.SAVED
    }
    assert any("Thread: main" in told for told in evidence.context)


def test_registers_of_a_frame_that_was_never_pushed_are_left_out(crashes: Get) -> None:
    """The reason alone says so: stacking error."""
    state = crashes("m3", LEVEL).of("store").state
    data = bytearray(core_dumps.binary(state))
    struct.pack_into("<I", data, 8, 17)
    evidence = read_evidence(bytes(data), "dump")
    assert set(evidence.state.registers) == set(logs.SAVED)
    assert any("could not push" in note for note in evidence.notes)


def test_a_dump_without_memory_tells_no_stack_pointer(crashes: Get) -> None:
    state = crashes("m3", LEVEL).of("store").state
    data = core_dumps.binary(state)
    without = read_evidence(data[: 12 + 5 + 76], "dump")
    assert not without.cut
    assert set(without.state.registers) == {*logs.FRAME, *logs.SAVED}
    only = read_evidence(data[:12] + data[12 + 5 + 76 :], "dump")
    assert only.cut, "without registers it is no whole dump"
    assert only.state.memory


@pytest.mark.parametrize("size", range(2, 12))
def test_a_header_cut_short_is_no_dump(size: int, crashes: Get) -> None:
    data = core_dumps.binary(crashes("m3", LEVEL).of("store").state)
    with pytest.raises(BadInput, match="no crash was found"):
        read_evidence(data[:size], "dump")


def test_a_dump_cut_anywhere_has_what_is_whole_of_it(crashes: Get) -> None:
    data = core_dumps.binary(crashes("m3", LEVEL).of("store").state, thread=bytes(40))
    whole = read_evidence(data, "dump").state
    for end in range(12, len(data), 3):
        try:
            evidence = read_evidence(data[:end], "dump")
        except BadInput:
            assert end < 12 + 5 + 76 + 5
            continue
        assert evidence.state.registers.items() <= whole.registers.items()
        assert set(evidence.state.memory) <= set(whole.memory)


def test_the_same_crash_printed_again_is_another_one(crashes: Get) -> None:
    """Its dump is not added to the one before."""
    found = crashes("m3", LEVEL)
    state = found.of("store").state
    both = logs.zephyr_dump(state, Memory(found.image).code).encode() + _text(core_dumps.binary(state))
    first, second = crashes_in(both, "log")
    assert (first.format, second.format) == ("Zephyr log", "Zephyr core dump")
    assert first.state.memory == second.state.memory


def test_a_dump_without_its_first_line_is_found(crashes: Get) -> None:
    data = core_dumps.binary(crashes("m3", LEVEL).of("store").state)
    lines = core_dumps.lines(data)[1:]
    assert read_evidence("\n".join([*lines, ""]).encode(), "log").state == read_evidence(data, "dump").state
    # the last line of a log that ends without a line end may have lost digits
    cut = read_evidence("\n".join(lines[:-1]).encode(), "log")
    assert cut.cut
    assert len(cut.state.memory) < 2


@pytest.mark.parametrize(
    ("reason", "kind", "context"),
    [
        (0, None, "CPU exception"),
        (1, None, "Unhandled interrupt"),
        (2, "stack_overflow", "Stack overflow"),
        (3, "panic", "Kernel oops"),
        (4, "panic", "Kernel panic"),
        (5, None, ""),
        (15, None, ""),
        (45, None, ""),
        (1 << 31, None, ""),
    ],
)
def test_reasons_of_the_kernel(reason: int, kind: str | None, context: str, crashes: Get) -> None:
    found = crashes("m3", LEVEL)
    data = bytearray(core_dumps.binary(found.of("store").state))
    struct.pack_into("<I", data, 8, reason)
    evidence = read_evidence(bytes(data), "dump")
    crash = explain(evidence.state, found.image)
    assert kind is None or crash.kind == kind
    assert crash.kind not in ("panic", "stack_overflow") or kind is not None
    assert evidence.context == ((f"Zephyr calls it: {context}.",) if context else ())
    assert any("does not vouch" in note for note in evidence.notes) is (reason == 2)
    text = logs.zephyr(replace(found.of("store").state, fault_status={}), found.image.instruction, short=True)
    both = text.replace("FATAL ERROR 0", f"FATAL ERROR {reason}").encode() + _text(bytes(data))
    assert read_evidence(both, "log").state.reason == "busfault", "the exception that the log names comes first"


# include/zephyr/arch/arm/arch.h, enum k_fatal_error_reason_arch, in its order
ARM_REASONS = """
16 MEM_GENERIC memmanage
17 MEM_STACKING MSTKERR
18 MEM_UNSTACKING MUNSTKERR
19 MEM_DATA_ACCESS DACCVIOL
20 MEM_INSTRUCTION_ACCESS IACCVIOL
21 MEM_FP_LAZY_STATE_PRESERVATION MLSPERR
22 BUS_GENERIC busfault
23 BUS_STACKING STKERR
24 BUS_UNSTACKING UNSTKERR
25 BUS_PRECISE_DATA_BUS PRECISERR
26 BUS_IMPRECISE_DATA_BUS IMPRECISERR
27 BUS_INSTRUCTION_BUS IBUSERR
28 BUS_FP_LAZY_STATE_PRESERVATION LSPERR
29 USAGE_GENERIC usagefault
30 USAGE_DIV_0 DIVBYZERO
31 USAGE_UNALIGNED_ACCESS UNALIGNED
32 USAGE_STACK_OVERFLOW STKOF
33 USAGE_NO_COPROCESSOR NOCP
34 USAGE_ILLEGAL_EXC_RETURN INVPC
35 USAGE_ILLEGAL_EPSR INVSTATE
36 USAGE_UNDEFINED_INSTRUCTION UNDEFINSTR
37 SECURE_GENERIC securefault
38 SECURE_ENTRY_POINT INVEP
39 SECURE_INTEGRITY_SIGNATURE INVIS
40 SECURE_EXCEPTION_RETURN INVER
41 SECURE_ATTRIBUTION_UNIT AUVIOL
42 SECURE_TRANSITION INVTRAN
43 SECURE_LAZY_STATE_PRESERVATION LSPERR
44 SECURE_LAZY_STATE_ERROR LSERR
"""


@pytest.mark.parametrize("line", ARM_REASONS.split("\n")[1:-1])
def test_reasons_of_the_processor(line: str, crashes: Get) -> None:
    number, name, stands_for = line.split()
    data = bytearray(core_dumps.binary(crashes("m33", LEVEL).of("store").state))
    struct.pack_into("<I", data, 8, int(number))
    state = read_evidence(bytes(data), "dump").state
    if stands_for.islower():
        assert (state.reason, dict(state.fault_status)) == (stands_for, {})
        return
    register = {"M": "MMFSR", "B": "BFSR", "U": "UFSR", "S": "SFSR"}[name[0]]
    (bit,) = (bit for bit in BITS if (bit.register, bit.name) == (register, stands_for))
    assert (state.reason, dict(state.fault_status)) == ("", {bit.word: 1 << bit.bit})


@pytest.mark.parametrize(("target", "name"), [(1, "x86"), (4, "RISC-V"), (5, "Xtensa"), (6, "Arm64")])
def test_a_dump_of_another_processor_is_refused(target: int, name: str, crashes: Get) -> None:
    data = bytearray(core_dumps.binary(crashes("m3", LEVEL).of("store").state))
    struct.pack_into("<H", data, 4, target)
    with pytest.raises(BadInput, match=f"another processor: {name}"):
        read_evidence(bytes(data), "dump")
    with pytest.raises(BadInput, match="no crash was found"):
        read_evidence(_text(bytes(data)), "log")


def test_an_empty_dump_is_one_error() -> None:
    data = struct.pack("<2sHHBBI", b"ZE", 1, 3, 5, 0, 26)
    with pytest.raises(BadInput, match="nothing in it"):
        read_evidence(data, "dump")


def test_numbers_without_end_are_none(crashes: Get) -> None:
    state = crashes("m3", LEVEL).of("store").state
    text = logs.zephyr(state, crashes("m3", LEVEL).image.instruction, short=True)
    many = "9" * 5000
    for changed in (text.replace("EXC #5", f"EXC #{many}"), text.replace("ERROR 0", f"ERROR {many}")):
        assert changed != text
        assert read_evidence(changed.encode(), "log").state.registers["pc"] == state.registers["pc"]
