"""Every format of logs, printed from crashes whose truth stands in their source, and read back."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.cpustate import CpuState, MemorySpan
from harness.debug.crash import explain
from harness.debug.evidence import crashes_in, read_evidence
from harness.debug.evidence.stacks import proven
from harness.debug.memory import Memory
from harness.errors import BadInput
from tests.debug.conftest import Crashes
from tests.debug.evidence import logs
from tests.debug.evidence.samples import sound, truth

CORES = ("m0", "m3", "m4", "m33")
LEVEL = "-O2"
Get = Callable[[str, str], Crashes]
all_logs = pytest.mark.parametrize("render", logs.LOGS, ids=lambda render: render.__name__)
fault_logs = pytest.mark.parametrize("render", logs.FAULT_LOGS, ids=lambda render: render.__name__)


def _code(found: Crashes) -> Callable[[int, int], bytes | None]:
    return Memory(found.image).code


@pytest.mark.parametrize("core", CORES)
@all_logs
def test_what_a_log_says_is_read_and_nothing_else(render: logs.Render, core: str, crashes: Get) -> None:
    found = crashes(core, LEVEL)
    read = _code(found)
    for crashed in sound(found):
        text = render(crashed.state, read)
        evidence = read_evidence(text.encode(), "log")
        assert evidence.format == logs.LOGS[render]
        assert not evidence.cut
        state = evidence.state
        given = logs.given(render, crashed.state)
        assert {name: given[name] for name in logs.FRAME} == {name: state.registers.get(name) for name in logs.FRAME}
        assert {n: v for n, v in state.registers.items() if n in given and given[n] != v} == {}
        status = {
            n: v for n, v in state.fault_status.items() if v != crashed.state.fault_status.get(n, 0) and n != "hfsr"
        }
        assert status == {}, crashed.scenario.name


@pytest.mark.parametrize("core", CORES)
@fault_logs
def test_kind_and_first_frame_are_those_of_the_record(render: logs.Render, core: str, crashes: Get) -> None:
    """And callers that are not called a guess are callers."""
    found = crashes(core, LEVEL)
    image, read = found.image, _code(found)
    for crashed in sound(found):
        evidence = read_evidence(render(crashed.state, read).encode(), "log")
        whole = explain(crashed.state, image)
        crash = explain(evidence.state, image, listed=evidence.listed)
        if evidence.state.fault_status or core == "m0":
            assert (crash.kind, crash.address) == (whole.kind, whole.address), crashed.scenario.name
        chain = truth(crashed)
        certain = [frame.function for frame in crash.frames[1:] if frame.via != "scan"]
        assert certain == chain[: len(certain)], (crashed.scenario.name, crash.lines())
        jumped = not image.is_code(crashed.state.registers["pc"] & ~1)
        assert certain or jumped or crash.frames[1:] == ()


WITH_STACK = [
    logs.zephyr_dump,
    logs.cmbacktrace,
    logs.cmbacktrace_chinese,
    logs.nuttx,
    logs.gdb,
    logs.openocd,
    logs.jlink,
]


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("render", WITH_STACK, ids=lambda render: render.__name__)
def test_a_log_with_its_stack_gives_the_whole_chain(render: logs.Render, core: str, crashes: Get) -> None:
    found = crashes(core, LEVEL)
    image, read = found.image, _code(found)
    whole = 0
    for crashed in sound(found):
        evidence = read_evidence(render(crashed.state, read).encode(), "log")
        crash = explain(evidence.state, image, listed=evidence.listed)
        chain = truth(crashed)
        frames = crash.frames if render in logs.HALTED_LOGS else crash.frames[1:]
        certain = [frame.function for frame in frames if frame.via != "scan"]
        assert certain == chain[: len(certain)], (crashed.scenario.name, crash.lines())
        whole += certain == chain
    # r4 to r11 are not in every log, and a chain through an exception needs the other stack
    assert whole >= len(sound(found)) * 0.7


@fault_logs
def test_the_list_of_the_target_becomes_guesses(render: logs.Render, crashes: Get) -> None:
    found = crashes("m3", LEVEL)
    image, read = found.image, _code(found)
    crashed = found.of("store")
    evidence = read_evidence(render(crashed.state, read).encode(), "log")
    without = replace(
        evidence.state, memory=(), registers={n: v for n, v in evidence.state.registers.items() if n != "sp"}
    )
    crash = explain(without, image, listed=logs.scanned(crashed.state, read))
    functions = [frame.function for frame in crash.frames[1:]]
    assert functions == truth(crashed)
    guesses = [frame for frame in crash.frames[1:] if frame.via == "scan"]
    assert all("guessed from the target's own list" in frame.label for frame in guesses)
    assert len(guesses) >= 2


# ---- what happens to logs on their way


def _noisy(text: str) -> bytes:
    """As a terminal program saves it: its own timestamps, colours, other firmware output between the lines."""
    lines = text.splitlines()
    shown = []
    for number, line in enumerate(lines):
        shown.append(f"[2026-03-04 16:43:{number % 60:02}.125] \x1b[1;31m{line}\x1b[0m")
        if number % 3 == 1:
            shown.append("\x1b[32m[00:12:01.004] <inf> sensor: temperature 21.5, queue 3/8\x1b[0m")
    return ("boot: v1.2\r\n" + "\r\n".join(shown) + "\r\n").encode() + b"\xf7\x80\x00 \xff\r\n"


@all_logs
def test_prefixes_colours_and_other_lines_change_nothing(render: logs.Render, crashes: Get) -> None:
    if render is logs.gdb:
        pytest.skip("gdb's output does not come over a serial line")
    found = crashes("m3", LEVEL)
    read = _code(found)
    for name in ("store", "division", "call_null", "undefined_instruction"):
        text = render(found.of(name).state, read)
        clean, noisy = (read_evidence(data, "log") for data in (text.encode(), _noisy(text)))
        assert noisy.format == clean.format
        assert noisy.state == clean.state
        assert noisy.listed == clean.listed


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "gb18030"])
def test_encodings_that_windows_and_chinese_firmware_leave(encoding: str, crashes: Get) -> None:
    found = crashes("m3", LEVEL)
    text = logs.cmbacktrace_chinese(found.of("store").state, _code(found))
    evidence = read_evidence(text.encode(encoding), "log")
    assert evidence.state == read_evidence(text.encode(), "log").state
    assert "Thread: sensor." in evidence.context


def test_mojibake_leaves_what_is_ascii(crashes: Get) -> None:
    found = crashes("m3", LEVEL)
    state = found.of("store").state
    text = logs.cmbacktrace_chinese(state, _code(found)).encode("gb18030").decode("latin-1")
    evidence = read_evidence(text.encode(), "log")
    assert evidence.state.registers["pc"] == state.registers["pc"]
    assert evidence.listed


@all_logs
def test_of_several_crashes_the_first_is_taken_and_all_are_counted(render: logs.Render, crashes: Get) -> None:
    found = crashes("m3", LEVEL)
    read = _code(found)
    states = [found.of(name).state for name in ("store", "division", "misaligned")]
    text = "boot\n" + "*** reboot ***\n".join(render(state, read) for state in states)
    evidence = crashes_in(text.encode(), "log")
    assert [e.state.registers["pc"] for e in evidence] == [state.registers["pc"] for state in states]
    assert "3 crashes were found, at lines " in evidence[0].notes[0]
    assert "number 1" in evidence[0].notes[0]


@all_logs
def test_a_log_cut_short_is_called_incomplete_and_says_nothing_false(render: logs.Render, crashes: Get) -> None:
    found = crashes("m3", LEVEL)
    image, read = found.image, _code(found)
    crashed = found.of("store")
    text = render(crashed.state, read)
    functions = {frame.function for frame in explain(crashed.state, image).frames}
    told = 0
    for end in range(0, len(text) - 1, max(1, len(text) // 300)):
        try:
            evidence = read_evidence(text[:end].encode(), "log")
        except BadInput:
            continue
        told += 1
        crash = explain(evidence.state, image, listed=evidence.listed)
        given = logs.given(render, crashed.state)
        values = {n: v for n, v in evidence.state.registers.items() if given.get(n, v) != v}
        assert not values or evidence.cut, (text[:end][-60:], values)
        if not evidence.cut:
            assert {f.function for f in crash.frames if f.via != "scan" and f.pc is not None} <= functions
    assert told


def test_a_value_that_is_given_twice_is_a_contradiction_that_is_told() -> None:
    text = "HardFault\nR0 = 0x00000001\nLR = 0x08000123\nPC = 0x08000200\nPSR = 0x61000000\nLR = 0x08000999\n"
    evidence = read_evidence(text.encode(), "log")
    assert evidence.state.registers["lr"] == 0x08000123
    assert evidence.notes == ("lr is given twice, as 0x08000123 and as 0x08000999: the first was taken.",)


def test_decimal_values_are_known_by_their_length() -> None:
    evidence = read_evidence(b"r0=0 r1=536870912 lr=134218001 pc=134217999 psr=1627389952\n", "log")
    assert evidence.state.registers == {"r0": 0, "r1": 0x20000000, "lr": 134218001, "pc": 134217999, "xpsr": 0x61000000}
    assert any("decimal" in note for note in evidence.notes)


@pytest.mark.parametrize(
    ("log", "base"),
    [
        ("r0=0 r1=4096 lr=1889 pc=4992 psr=16777216\n", 10),
        ("R0: 7\nR1: 12\nLR: 134217\nPC: 20480\n", 10),
        ("r0=0 r1=4096 lr=1889 pc=04992\n", 16),
        ("lr=08001889 pc=08004992 psr=01000000\n", 16),
        ("lr=18001889 pc=18004992 psr=61000000\n", 16),
        ("r0=c r1=4096 lr=1889 pc=4992\n", 16),
    ],
)
def test_the_base_of_numbers_that_have_only_decimal_digits_is_decided_and_told(log: str, base: int) -> None:
    evidence = read_evidence(f"HardFault\n{log}".encode(), "log")
    names = {"psr": "xpsr"}
    pairs = re.findall(r"(\w+)[=:] ?(\w+)", log.lower())
    assert evidence.state.registers == {names.get(name, name): int(digits, base) for name, digits in pairs}
    assert any("decimal" in note for note in evidence.notes) == (base == 10)


def test_a_number_of_thousands_of_digits_is_left_out() -> None:
    for digits in ("9" * 6000, "0x" + "f" * 6000):
        evidence = read_evidence(f"HardFault\nr0={digits} lr=0x1889 pc=0x4992\n".encode(), "log")
        assert evidence.state.registers == {"lr": 0x1889, "pc": 0x4992}
        assert any("no 32-bit value" in note for note in evidence.notes)
    zeros = read_evidence(f"HardFault\nr0={'0' * 6000}7 lr=0x1889 pc=0x4992\n".encode(), "log")
    assert zeros.state.registers == {"r0": 7, "lr": 0x1889, "pc": 0x4992}


def test_numbers_beside_such_with_0x_are_hexadecimal() -> None:
    evidence = read_evidence(b"HardFault\nr0=10 lr=0x1889 pc=0x4992\n", "log")
    assert evidence.state.registers == {"r0": 0x10, "lr": 0x1889, "pc": 0x4992}


def test_memory_belongs_to_the_lists_of_registers_beside_it() -> None:
    """Not to those beyond them."""
    rows = [f"{address:08x}: {'5555aaaa ' * 4}" for address in range(0x20001000, 0x20001030, 16)]
    text = "\n".join(f"R0 = 0x1 PC = 0x1380\n{row}" for row in rows) + "\n"
    memory = [evidence.state.memory for evidence in crashes_in(text.encode(), "log")]
    assert [[(span.address, len(span.data)) for span in spans] for spans in memory] == [
        [(0x20001000, 16)],
        [(0x20001000, 32)],
        [(0x20001010, 32)],
    ]


@pytest.mark.parametrize("past", range(8))
def test_a_stack_of_any_length_is_searched_to_its_end(past: int) -> None:
    stack = MemorySpan(0x20000000, struct.pack("<I", 0x2001) + bytes(3))
    registers, listed = proven({"sp": stack.address + past}, [stack], [])
    assert (registers, listed) == ({}, (0x2001,) if past == 0 else ())


def test_registers_of_a_frame_that_was_never_written_are_left_out(crashes: Get) -> None:
    for render in (logs.zephyr, logs.zephyr_short, logs.mbed, logs.rtthread, logs.handler):
        status = {"cfsr": 1 << 12, "hfsr": 1 << 30, "mmfar": 0, "bfar": 0}
        registers = dict.fromkeys((*logs.FRAME, *logs.SAVED), 0x08000201) | {"sp": 0x1FFFFFF0}
        evidence = read_evidence(
            render(CpuState(registers, status, reason="hardfault"), lambda *_: None).encode(), "log"
        )
        assert not evidence.state.registers.keys() & set(logs.FRAME), render.__name__
        assert any("could not push" in note for note in evidence.notes)


@pytest.mark.parametrize("change", ["lost", "moved"])
def test_a_stack_whose_first_line_is_not_the_first_tells_no_stack_pointer(change: str, crashes: Get) -> None:
    found = crashes("m3", LEVEL)
    image, read = found.image, _code(found)
    for crashed in sound(found):
        lines = logs.cmbacktrace(crashed.state, read).splitlines()
        first = next(n for n, line in enumerate(lines) if "addr: " in line)
        if change == "moved":
            lines.insert(first + 5, lines[first])
        del lines[first]
        evidence = read_evidence("\n".join([*lines, ""]).encode(), "log")
        assert "sp" not in evidence.state.registers
        assert any("does not say for certain" in note for note in evidence.notes)
        crash = explain(evidence.state, image, listed=evidence.listed)
        certain = [frame.function for frame in crash.frames if frame.via != "scan" and frame.pc is not None]
        assert certain == truth(crashed)[: len(certain)]


def test_a_build_id_in_the_log_is_found() -> None:
    text = "boot: GNU Build ID: " + "ab" * 20 + "\nHardFault\nR0 = 0x00000001\nPC = 0x08000200\n"
    assert read_evidence(text.encode(), "log").build_id == b"\xab" * 20


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "all is well\n",
        "HardFault\n",
        "R0 = 0x1\n",
        "***** BUS FAULT *****\n",
        "pc\nlr\n",
        "sp stack lr: dead\n",
    ],
)
def test_a_text_without_a_crash_is_one_error_that_says_what_was_looked_for(text: str) -> None:
    with pytest.raises(BadInput) as error:
        read_evidence(text.encode(), "mail.txt")
    assert error.value.where == "mail.txt"
    for word in ("record", "Zephyr", "CmBacktrace", "Mbed OS", "NuttX", "RT-Thread", "RIOT", "debugger", "R0 = 0x"):
        assert word in error.value.hint
