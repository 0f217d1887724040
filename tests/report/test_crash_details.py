"""How a crash looks below its traceback."""

from __future__ import annotations

from harness.debug.crash import Crash, Frame
from harness.debug.disassembly import Instruction
from harness.debug.dwarf.variables import Variable
from harness.debug.listing import Listing, SourceLine
from harness.debug.tensors import LayerTensor
from harness.debug.traceback import RunningLayer
from harness.report.console import plain
from harness.report.traceback import traceback_text

HOSTILE = "\x1b[31m\u202eevil\r"


def _crash(name: str = "out", text: str = "    *out = 1;") -> Crash:
    known = [Variable(f"v{n}", "int32_t", str(n), number=n) for n in range(20)]
    kernel = Frame(
        "kernel", "/src/layers/001_kernel.c", 7, "pc", 0x1004, layer=1, label="layer 1 of 2, ADD",
        variables=(Variable(name, "int8_t *", "0x20000010 → tensor 4", number=0x20000010, argument=True), *known,
                   Variable("gone", "int", None, "optimized out"), Variable("lost", "int", None, "optimized out")),
    )  # fmt: skip
    caller = Frame("model_run", "/src/model.c", 3, "cfi", 0x2000, variables=(Variable("step", "int", "1", number=1),))
    code = (Instruction(0x1002, b"\0\xbf", "nop"), Instruction(0x1004, b"\x01\x70", "strb r1, [r0]"))
    lines = (SourceLine(6, "{"), SourceLine(7, text), SourceLine(8, "\tend();"))
    tensors = (
        LayerTensor("input", 3, HOSTILE, (1, 8), "int8", 1, 0, 8, "harness_arena", 0, 0x20000000),
        LayerTensor("scratch", None, "", (16,), "", 1, 8, 16, "harness_arena", 0, 0x20000008),
    )
    return Crash(
        "data_fault", "It crashed.", 0x20000010, 1, (Frame("BusFault_Handler", None, None, "pc", None), kernel, caller),
        {"pc": 0x1004, "r0": 0x20000010}, {"cfsr": 0x8200}, status_bits=("BFSR.PRECISERR: Because.",),
        fingerprint="0123456789ab", running=RunningLayer(1, "kernel", "ADD", 'layer 1 of 2, ADD "x"', tensors),
        listings=(Listing(1, "kernel", "/src/layers/001_kernel.c", 7, 0x1004, lines, code),),
        register_places={"r0": "tensor 4"},
    )  # fmt: skip


def test_the_traceback_and_its_sentence_come_first_and_the_details_below() -> None:
    lines = plain(traceback_text(_crash())).splitlines()
    assert lines[0] == "Traceback (most recent call first):"
    assert lines[4] == "It crashed."
    assert lines[5:14] == [
        "",
        "kernel in 001_kernel.c:",
        "    6  {",
        "  > 7      *out = 1;",
        "    8      end();",
        "",
        "    0x00001002  nop",
        "  > 0x00001004  strb r1, [r0]",
        "",
    ]
    assert lines[14:16] == ["variables of kernel:", "    out = 0x20000010 → tensor 4"]
    assert "    … and 9 more" in lines
    assert "    optimized out: gone, lost" in lines
    assert 'layer 1 of 2, ADD "x" works on:' in lines
    assert any(line.endswith("1×8 int8  harness_arena+0x0, 0x20000000") for line in lines)
    assert lines[-1] == "fingerprint: 0123456789ab"
    assert not any("registers" in line or "model_run:" in line for line in lines)


def test_more_is_said_when_asked_for() -> None:
    text = plain(traceback_text(_crash(), verbose=True))
    lines = text.splitlines()
    assert "variables of model_run:" in lines
    assert "    step = 1  (int)" in lines
    assert any(line.split() == ["r0", "0x20000010", "tensor", "4"] for line in lines)
    assert any(line.split() == ["cfsr", "0x00008200"] for line in lines)
    assert "    BFSR.PRECISERR: Because." in lines
    assert "more" not in text


def test_nothing_in_a_source_file_or_a_model_acts_on_the_terminal() -> None:
    for verbose in (False, True):
        text = plain(traceback_text(_crash(HOSTILE, HOSTILE + "[red]x[/red]" + "y" * 500), verbose))
        assert all(line.isprintable() and len(line) <= 120 for line in text.splitlines())
        assert "[red]x[/red]" in text
