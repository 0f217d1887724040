"""What lies at an address, and where a stack ends."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.compiler.csource import Placement
from harness.cpustate import CpuState
from harness.debug.crash import explain
from harness.debug.image import Image
from harness.debug.places import AddressMap
from tests.debug.linked import linked
from tests.debug.model import three_layers

STACK, ARENA = 0x20000000, 0x20000400


@pytest.fixture(scope="module")
def places(toolchain: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with the firmware stub's names for stack and arena."""
    folder = tmp_path_factory.mktemp("places")
    text = (
        'unsigned char harness_arena[64] __attribute__((section(".arena"), aligned(16)));\n'
        "int counter[4] = {1, 2, 3, 4};\nconst int table[4] = {1, 2, 3, 4};\n"
        "int entry(int a) { return counter[a] + table[a] + harness_arena[a]; }\n"
    )
    script = (
        "SECTIONS { . = 0x100; .text : { *(.text) *(.rodata) } . = 0x20000000; harness_stack_bottom = .;\n"
        ". += 0x400; harness_stack_top = .; .arena (NOLOAD) : { *(.arena) } . = 0x20001000; .data : { *(.data) } }\n"
    )
    return linked(folder, text, "-O2", "-g", script=script)


@pytest.mark.parametrize(
    ("address", "kind", "text"),
    [
        (0, "null_page", "in the null page"),
        (0xFF, "null_page", "in the null page"),
        (ARENA, "arena", 'in the arena, element 0 of 16 of tensor 0 "input"'),
        (ARENA + 25, "arena", 'in the arena, element 2 of 8 of tensor 1 "block1/pointwise"'),
        (ARENA + 57, "arena", "in the arena, 57 bytes from its start, between tensors"),
        (ARENA + 64, "past_arena", "0 bytes past the end of the arena of 64 bytes"),
        (ARENA + 65, "past_arena", "1 byte past the end of the arena of 64 bytes"),
        (STACK, "stack", "in the stack of 1024 bytes, 0 bytes above its end"),
        (STACK + 0x3FF, "stack", "in the stack of 1024 bytes, 1023 bytes above its end"),
        (STACK - 4, "below_stack", "4 bytes past the end of the stack of 1024 bytes"),
        (0x20001004, "variable", "in the variable counter, 4 bytes from its start"),
        (0x40004000, "peripheral", "where this firmware has nothing (peripheral region)"),
        (0x60000000, "unmapped", "where this firmware has nothing (external RAM region)"),
        (0xE000ED28, "system", "in the system control block (SCB)"),
        (0xE000E018, "system", "in the system timer (SysTick)"),
        (0xE0003000, "unmapped", "where this firmware has nothing (private peripheral region)"),
        (0xFFFFFFFF, "unmapped", "where this firmware has nothing (vendor's system region)"),
    ],
)
def test_what_lies_at_an_address(address: int, kind: str, text: str, places: Path) -> None:
    place = AddressMap(Image(places), three_layers()).at(address)
    assert (place.kind, place.text) == (kind, text)


def test_code_and_constants_have_their_names(places: Path) -> None:
    image = Image(places)
    map_ = AddressMap(image)
    entry, table = image.symbol("entry"), image.symbol("table")
    assert entry is not None
    assert table is not None
    assert map_.at(entry.address + 2).text == "in the code of entry"
    assert map_.at(table.address + 8).text == "in the constant table, 8 bytes from its start"


def test_of_tensors_that_take_turns_the_running_layers_is_named(places: Path) -> None:
    source = three_layers()
    shared = replace(source, placements={**source.placements, 3: Placement(16, 8)})
    image = Image(places)
    assert "tensor 1" in AddressMap(image, shared, source.layers[1]).at(ARENA + 16).text
    assert "tensor 3" in AddressMap(image, shared, source.layers[2]).at(ARENA + 16 + 4).text


def test_an_output_is_named_before_the_input_it_lies_over_and_scratch_memory_as_such(places: Path) -> None:
    source = three_layers()
    over = replace(source, placements={**source.placements, 1: Placement(8, 32)})
    layer = replace(source.layers[1], scratch=(Placement(40, 8),))
    map_ = AddressMap(Image(places), over, layer)
    both = r"element 1 of 8 of tensor 1 .*, which lies over element 12 of 16 of tensor 0 "
    assert re.search(both, map_.at(ARENA + 12).text)
    assert map_.at(ARENA + 44).text == "in the arena, in scratch memory of outer"


@pytest.mark.parametrize(
    ("sp", "mmfar", "overflow"),
    [(STACK - 64, 0x60000000, True), (STACK + 8, STACK - 16, True), (STACK + 8, 0x60000000, False)],
)
def test_a_fault_past_the_end_of_the_stack_is_a_stack_overflow(
    sp: int, mmfar: int, overflow: bool, places: Path
) -> None:
    status = {"cfsr": 1 << 1 | 1 << 7, "mmfar": mmfar}
    crash = explain(CpuState({"sp": sp, "pc": 0x104}, status, reason="memmanage"), places)
    assert crash.kind == ("stack_overflow" if overflow else "memory_protection")
    if overflow:
        assert "stack of 1024 bytes" in crash.sentence


def test_a_thread_on_its_own_stack_has_not_overflowed_the_main_one(places: Path) -> None:
    registers = {"sp": STACK - 64, "pc": 0x104, "exc_return": 0xFFFFFFFD}
    crash = explain(CpuState(registers, {"cfsr": 1 << 25}, reason="usagefault"), places)
    assert crash.kind == "divide_by_zero"


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_a_static_variable_is_one_at_every_level(level: str, toolchain: None, tmp_path: Path) -> None:
    """Whether or not the compiler says what kind of symbol it is: a thread's stack must not be taken for nothing."""
    text = (
        "static volatile unsigned char thread_stack[64], other[16];\n"
        "int entry(int a) { return thread_stack[a] + other[a]; }\n"
    )
    image = Image(linked(tmp_path, text, level))
    stack = image.symbol("thread_stack")
    assert stack is not None
    assert image.object_at(stack.address + 63) == stack
    assert AddressMap(image).at(stack.address + 8).text == "in thread_stack, a stack of 64 bytes, 8 bytes above its end"
    assert {found.name for found in image.objects} == {"thread_stack", "other"}
