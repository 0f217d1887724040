"""Whether an ELF is that of the firmware which crashed: by its build ID, and by what must be true of the right one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.debug.decode import decode
from harness.debug.evidence import Evidence, read_evidence
from harness.debug.identity import identify
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.errors import BadInput
from harness.toolchain.elf import build_id
from tests.debug import lab
from tests.debug.conftest import Crashes
from tests.debug.evidence import logs
from tests.debug.evidence.samples import record_of, sealed, sound

Get = Callable[[str, str], Crashes]


@pytest.fixture(scope="module")
def identified(toolchain: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Crashes]:
    """Programs that carry build IDs: the one that crashed, and another build of the same sources."""
    folder = tmp_path_factory.mktemp("identified")
    core = lab.CORES["m3"]
    found = {}
    for level in ("-O2", "-Os"):
        elf = lab.build(core, level, folder, "-Wl,--build-id=sha1")
        found[level] = Crashes(core, elf, tuple(lab.run(core, elf, folder)))
    return found


def _record(crashes: Crashes, name: str = "store") -> Evidence:
    own = Image(crashes.elf).build_id
    assert own is not None
    return read_evidence(sealed(record_of(crashes.of(name), own)), "crash.bin")


def test_the_build_id_is_that_of_readelf(identified: dict[str, Crashes]) -> None:
    elf = identified["-O2"].elf
    printed = subprocess.run(
        ["arm-none-eabi-readelf", "-n", str(elf)], capture_output=True, text=True, check=True
    ).stdout
    own = Image(elf).build_id
    assert own is not None
    assert f"Build ID: {own.hex()}" in printed
    assert own == build_id(elf)


def test_only_what_was_tried_is_said_to_fit(identified: dict[str, Crashes]) -> None:
    crashes = identified["-O2"]
    evidence = replace(_record(crashes), build_id=None)
    registers = evidence.state.registers
    pc, lr, stack = "PC stands at an instruction", "LR stands after a call", "stacked addresses stand after calls"
    for kept, memory, told in (
        (registers, evidence.state.memory, f"{pc}, {lr}, {stack}"),
        ({"lr": registers["lr"]}, (), lr),
        ({"pc": registers["pc"]}, (), pc),
        ({"r0": 1, "r1": 2}, (), None),
    ):
        state = replace(evidence.state, registers=kept, memory=memory)
        note = decode(replace(evidence, state=state), [crashes.elf]).notes[-1]
        assert note.endswith(f", but all that can be tried fits: {told}." if told else "is not known."), note


def test_the_right_elf_is_taken_of_several(identified: dict[str, Crashes]) -> None:
    evidence = _record(identified["-O2"])
    for order in ((0, 1), (1, 0)):
        elfs = [[identified[level].elf for level in ("-O2", "-Os")][i] for i in order]
        decoded = decode(evidence, elfs)
        assert decoded.image.path == identified["-O2"].elf
        assert decoded.identity.match == "yes"
        assert decoded.warnings == ()
        assert decoded.notes == ()


def test_another_build_is_refused_and_both_ids_are_named(identified: dict[str, Crashes]) -> None:
    evidence = _record(identified["-O2"])
    other = identified["-Os"].elf
    with pytest.raises(BadInput) as error:
        decode(evidence, [other])
    assert evidence.build_id is not None
    assert evidence.build_id.hex() in str(error.value)
    assert build_id(other).hex() in str(error.value)
    assert "--any-elf" in error.value.hint
    decoded = decode(evidence, [other], any_elf=True)
    assert "may all be wrong" in decoded.warnings[0]
    assert decoded.to_json()["elf"]["match"] == "no"


def test_without_a_build_id_it_is_said_and_what_can_be_tried_is(crashes: Get) -> None:
    found = crashes("m3", "-O2")
    decoded = decode(read_evidence(sealed(record_of(found.of("store"))), "x"), [found.elf])
    assert decoded.identity.match == "unknown"
    assert decoded.warnings == ()
    assert "has no build ID" in decoded.notes[-1]
    assert "fits" in decoded.notes[-1]


@pytest.mark.parametrize("core", ["m0", "m3", "m4", "m33"])
def test_nothing_speaks_against_the_right_elf(core: str, crashes: Get) -> None:
    for level in ("-O0", "-O2", "-Os"):
        found = crashes(core, level)
        image = found.image
        for crashed in sound(found):
            state = record_of(crashed).cpu_state()
            listed = logs.scanned(crashed.state, Memory(image).code)
            assert identify(None, state, listed, image).against == (), (crashed.scenario.name, level)


def test_something_speaks_against_another_build_of_the_same_sources(crashes: Get) -> None:
    """Not for every crash: a small program looks alike in places. For most, with the stack."""
    found = crashes("m3", "-O2")
    others = [Image(crashes("m3", level).elf) for level in ("-O0", "-O1", "-Os")]
    seen = [
        bool(identify(None, record_of(crashed).cpu_state(), (), other).against)
        for crashed in sound(found)
        for other in others
    ]
    assert sum(seen) > 0.75 * len(seen), (sum(seen), len(seen))


def test_of_several_elfs_without_a_build_id_the_one_that_fits_is_taken(crashes: Get) -> None:
    found = crashes("m3", "-O2")
    evidence = read_evidence(sealed(record_of(found.of("store"))), "x")
    assert decode(evidence, [crashes("m3", "-O0").elf, found.elf]).image.path == found.elf
    with pytest.raises(BadInput, match="several of the ELF files fit"):
        decode(evidence, [found.elf, found.elf])


@pytest.mark.parametrize(
    ("option", "told"),
    [("--strip-all", "The ELF has no symbols: "), ("--strip-debug", "The ELF has no debug information: ")],
)
def test_what_was_stripped_from_the_elf_is_told_once(
    option: str, told: str, identified: dict[str, Crashes], tmp_path: Path
) -> None:
    evidence = _record(identified["-O2"])
    stripped = tmp_path / "stripped.elf"
    command = ["arm-none-eabi-objcopy", option, str(identified["-O2"].elf), str(stripped)]
    subprocess.run(command, check=True)
    (note,) = decode(evidence, [stripped]).notes
    assert note.startswith(told)


def test_debug_information_of_libraries_alone_is_none_of_the_crash(
    identified: dict[str, Crashes], tmp_path: Path
) -> None:
    """As in a firmware that was built without -g and is linked with a C library that was built with it."""
    crashes = identified["-O2"]
    evidence = _record(crashes)
    (tmp_path / "library.c").write_text("int unused(int a) { return a + 1; }\n")
    elf, library = tmp_path / "firmware.elf", tmp_path / "library.o"
    compiler = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-g", "-c", "library.c", "-o", str(library)]
    subprocess.run(compiler, cwd=tmp_path, check=True)
    subprocess.run(["arm-none-eabi-strip", "--strip-debug", str(crashes.elf), "-o", str(elf)], check=True)
    add = ["arm-none-eabi-objcopy", str(elf)]
    for section in (".debug_info", ".debug_abbrev", ".debug_line", ".debug_str", ".debug_aranges"):
        part = tmp_path / section
        subprocess.run(["arm-none-eabi-objcopy", "--dump-section", f"{section}={part}", str(library)], check=True)
        add += ["--add-section", f"{section}={part}"]
    subprocess.run(add, check=True)
    (note,) = decode(evidence, [elf]).notes
    assert note.startswith("The ELF has no debug information of where it crashed: ")


def test_without_symbols_no_instruction_is_said_to_fit(identified: dict[str, Crashes], tmp_path: Path) -> None:
    stripped = tmp_path / "stripped.elf"
    subprocess.run(["arm-none-eabi-strip", str(identified["-O2"].elf), "-o", str(stripped)], check=True)
    evidence = replace(_record(identified["-O2"]), build_id=None)
    assert "fits: PC is in its code" in decode(evidence, [stripped]).notes[-1]


def test_a_host_program_is_no_firmware(crashes: Get, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "a.c", "-o", "a.out"], cwd=tmp_path, check=True)
    evidence = read_evidence(sealed(record_of(crashes("m3", "-O2").of("store"))), "x")
    with pytest.raises(BadInput, match="no program for a Cortex-M"):
        decode(evidence, [tmp_path / "a.out"])


def test_a_division_by_zero_stands_at_a_division(crashes: Get) -> None:
    found = crashes("m3", "-O2")
    image = found.image
    state = record_of(found.of("division")).cpu_state()
    assert identify(None, state, (), image).against == ()
    elsewhere = replace(state, registers={**state.registers, "pc": record_of(found.of("store")).frame[6]})
    assert any("is no division" in text for text in identify(None, elsewhere, (), image).against)
