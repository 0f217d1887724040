"""Program counters at what the file holds as data, or at nothing of the program at all."""

from __future__ import annotations

from collections.abc import Callable

from harness.debug.crash import explain
from harness.debug.identity import identify
from harness.debug.memory import Memory
from harness.debug.symbolise import Symboliser
from tests.debug.conftest import Crashes


def test_an_undefined_instruction_written_as_data_is_in_its_function_but_a_literal_is_no_return_address(
    crashes: Callable[[str, str], Crashes],
) -> None:
    found = crashes("m3", "-O2")
    crash = found.of("undefined_as_data")
    image = found.image
    pc = crash.state.registers["pc"]
    assert not image.is_code(pc), "the assembler marks it as data"
    assert image.may_run(pc)
    told = explain(crash.state, found.image)
    assert [f.function for f in told.frames[1:]] == ["written_as_data", "undefined_as_data", "main"]
    assert any(i.address == pc and "de05" in i.code[::-1].hex() for i in told.listings[0].instructions)
    assert Symboliser(image).at(pc) == ()
    assert Memory(image).code(pc, 2) is None


def test_a_program_counter_in_ram_is_named_with_its_place(crashes: Callable[[str, str], Crashes]) -> None:
    found = crashes("m3", "-O2")
    state = found.of("call_data").state
    told = explain(state, found.image)
    pc = state.registers["pc"]
    assert told.kind == "bad_jump"
    assert told.address == pc
    assert told.sentence.startswith("Jump out of the code in call at ")
    assert f"The program counter is 0x{pc:08x}, where the program has no code." in told.sentence
    assert f"The address is 0x{pc:08x}, in the variable no_code" in told.sentence
    assert identify(None, state, (), found.image).plausible
