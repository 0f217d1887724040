"""The fault module in a firmware that has nothing else of the harness: examples/fault_module in QEMU.

What a crash must be decoded to stands in the example's own source.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from elftools.elf.elffile import ELFFile

from harness.debug.crash import Crash, explain
from harness.debug.decode import decode
from harness.debug.evidence import read_evidence
from harness.rpc.fault_record import FaultRecord, RecordFlag
from harness.rpc.fault_text import records_in_text
from harness.toolchain import elf as elf_file
from harness.toolchain.link_map import placed
from tests.firmware_stub.example import EXAMPLE, Terminal, build, line_of, nowhere, running

CORES = tuple(f"cortex-{core}" for core in ("m0", "m3", "m4", "m7", "m33", "m55"))

pytestmark = [
    pytest.mark.skipif(not EXAMPLE.is_dir(), reason="the tests run outside a checkout: there are no examples"),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
    pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"),
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"),
]

IN_THE_MODEL = [("conv2d_0", None), ("model_run", None), ("classify", line_of("model_run(place)"))]


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def terminal(core: str) -> Iterator[Terminal]:
    with running(build(core), core) as it:
        yield it


def crashed(terminal: Terminal, command: str) -> FaultRecord:
    """The record that the crash printed, after which the firmware started anew and found it kept."""
    said = terminal.send(command, "started") + terminal.wait("a crash is on record")
    (found,) = records_in_text(said)
    assert found.notes == ()
    assert found.record is not None
    return found.record


def explained(record: FaultRecord, core: str) -> Crash:
    return explain(record.cpu_state(), build(core))


def chain(crash: Crash) -> list[tuple[str, int | None]]:
    """Functions and lines without the fault itself; None as a line where only the generated C could say it."""
    assert {frame.via for frame in crash.frames} <= {"pc", "cfi", "lr"}
    frames = [frame for frame in crash.frames if not frame.function.endswith(("_Handler", "fault")) or frame.line]
    return [(f.function, f.line if f.file and f.file.endswith("/main.c") else None) for f in frames]


def test_a_crash_on_the_main_stack(terminal: Terminal, core: str) -> None:
    record = crashed(terminal, "m")
    assert record.build_id == elf_file.build_id(build(core))
    assert not record.flags & RecordFlag.PARTIAL
    case_m = line_of("case 'm':") + 1
    run = line_of("obey();")
    assert chain(explained(record, core)) == [*IN_THE_MODEL, ("obey", case_m), ("main", run)]


@pytest.mark.parametrize(("command", "masked"), [("m", 0), ("d", 1)])
def test_whether_interrupts_were_disabled(terminal: Terminal, core: str, command: str, masked: int) -> None:
    """A fault that PRIMASK holds back is taken as a hard fault."""
    record = crashed(terminal, command)
    assert record.primask == masked
    assert record.exception == (3 if masked or core == "cortex-m0" else 5)
    assert chain(explained(record, core))[: len(IN_THE_MODEL)] == IN_THE_MODEL


def test_the_report_names_layer_tensors_and_the_arena_that_is_none(terminal: Terminal, core: str) -> None:
    """From what the terminal said and the ELF file alone."""
    said = terminal.send("m", "started") + terminal.wait("a crash is on record")
    found = decode(read_evidence(said.encode(), "terminal"), [build(core)])
    assert found.warnings == ()
    crash = found.crash
    assert crash.running is not None
    assert (crash.running.index, crash.running.op) == (0, "CONV_2D")
    assert ['"spectrogram"' in tensor.label for tensor in crash.running.tensors[:1]] == [True]
    assert {tensor.place for tensor in crash.running.tensors} == {
        f"the arena's byte {tensor.offset}" for tensor in crash.running.tensors
    }
    assert f"The model was given an arena at 0x{nowhere(core):08x}, where this firmware has nothing" in crash.sentence


@pytest.mark.parametrize("command", ["p", "u"])
def test_a_crash_on_a_process_stack(terminal: Terminal, core: str, command: str) -> None:
    """Also of a thread without privileges, whose fault path has them."""
    record = crashed(terminal, command)
    assert record.exc_return & 4
    assert record.frame_address == record.psp
    assert record.control & 1 == (command == "u" and core != "cortex-m0")
    in_thread = line_of("interrupt(ICSR_PENDSVSET);") + 2
    assert chain(explained(record, core)) == [*IN_THE_MODEL, ("thread", in_thread)]


def test_a_crash_in_an_interrupt_has_the_stack_of_the_thread_too(terminal: Terminal, core: str) -> None:
    record = crashed(terminal, "i")
    assert record.exc_return & 0xF == 1
    main_stack, thread_stack = record.spans()
    assert main_stack.address < record.psp == thread_stack.address
    handler = line_of("void PendSV_Handler(void);") + 3
    pending = line_of('__asm volatile("dsb')
    calls = [("interrupt", pending), ("thread", line_of("interrupt(ICSR_PENDSVSET);"))]
    assert chain(explained(record, core)) == [*IN_THE_MODEL, ("PendSV_Handler", handler), *calls]


@pytest.mark.parametrize(("command", "condition"), [("a", "CHECK(zero == 1)"), ("n", "CHECK(zero == 2)")])
def test_an_assertion(terminal: Terminal, core: str, command: str, condition: str) -> None:
    """Also in the handler of an NMI, where a fault on purpose would lock the processor up."""
    record = crashed(terminal, command)
    assert record.exception == (2 if command == "n" else 3 if core == "cortex-m0" else 6)
    state = record.cpu_state()
    assert (state.reason, state.message) == ("assert", f"main.c:{line_of(condition)}")
    found = chain(explained(record, core))
    assert found[0] == ("layerproof_assert_failed", None)
    assert found[1] == ("NMI_Handler" if command == "n" else "obey", line_of(condition))
    assert found[-1] == ("main", line_of("obey();"))


def test_a_stack_overflow(terminal: Terminal, core: str) -> None:
    record = crashed(terminal, "o")
    crash = explained(record, core)
    if core != "cortex-m0":  # which has neither guard nor limit
        assert crash.kind == "stack_overflow"
    assert [frame.function for frame in crash.frames[1:4]] == ["overflow"] * 3
    assert crash.frames[-1].function == "main"


def test_the_first_crash_is_kept_over_resets_until_it_is_cleared(terminal: Terminal) -> None:
    assert "crash" not in terminal.send("l", "printed")
    first = crashed(terminal, "m")
    (again,) = records_in_text(terminal.send("l", "printed"))
    assert again.record == first
    assert crashed(terminal, "p") == first
    assert crashed(terminal, "a") == first
    (still,) = records_in_text(terminal.log)
    assert still.record == first
    terminal.send("c", "cleared")
    assert "crash" not in terminal.send("l", "printed")
    assert crashed(terminal, "p").exc_return & 4


def test_the_firmware_does_its_work(terminal: Terminal) -> None:
    assert terminal.send("r", "ran")


def test_nothing_else_of_the_harness_is_linked() -> None:
    with build("cortex-m3").open("rb") as stream:
        units = [unit.get_top_DIE() for unit in ELFFile(stream).get_dwarf_info().iter_CUs()]
    names = {unit.attributes["DW_AT_name"].value.decode() for unit in units}
    ours = {name for name in names if "/model/" not in name}
    assert ours == {"main.c", "startup.c", "uart_cmsdk.c", "../../firmware_stub/fault/layerproof_fault.c"}
    assert any(name.endswith("/model/model.c") for name in names)


@pytest.mark.parametrize("flags", ["-O0", "-O1", "-Os", "-O3", "-O2 -flto"])
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m55"])
def test_other_levels_of_optimisation(core: str, flags: str) -> None:
    elf = build(core, f"LEVEL={flags}")
    with running(elf, core) as terminal:
        record = crashed(terminal, "p")
        assert not record.flags & RecordFlag.PARTIAL
        frames = explain(record.cpu_state(), elf).frames
        assert [frame.function for frame in frames][-3:] == ["model_run", "classify", "thread"]


def test_the_map_names_the_module_and_its_ram() -> None:
    kept = [p for p in placed(build("cortex-m3").with_suffix(".map")) if p.section.startswith(".noinit")]
    assert {p.section for p in kept} == {".noinit.layerproof_record", ".noinit.layerproof_stack"}
