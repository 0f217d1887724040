"""What the running layer works on, and which of its tensors a bad address ran out of."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.board import load_board
from harness.compiler.csource import Placement
from harness.debug.arenas import Arena, Arguments, arena_of
from harness.debug.crash import explain
from harness.debug.image import Image
from harness.debug.places import AddressMap
from harness.debug.stops import explain_stop
from harness.debug.tensors import LayerTensor, layer_tensors, overrun
from harness.debug.traceback import Crash
from harness.firmware import Firmware, build
from harness.session import open_session
from harness.verdict import TargetStopped
from tests.debug.linked import linked
from tests.debug.model import three_layers
from tests.sample_model import sample, with_kernel

ARENA = 0x20000000
INPUT = LayerTensor("input", 1, "in", (4, 4), "int8", 1, 0, 16, "arena", 0, ARENA)
OUTPUT = LayerTensor("output", 2, "out", (8,), "int32", 4, 16, 32, "arena", 0, ARENA + 16)
SCRATCH = LayerTensor("scratch", None, "", (16,), "", 1, 48, 16, "arena", 0, ARENA + 48)
HERE = (INPUT, OUTPUT, SCRATCH)
REACH = range(ARENA - 4096, ARENA + 64 + 4096)


@pytest.mark.parametrize(
    ("address", "store", "bases", "role", "element", "by"),
    [
        (ARENA + 64, True, [], "scratch", 16, 1),  # the first address behind the arena
        (ARENA + 64, False, [], "scratch", 16, 1),
        (ARENA + 64 + 9, None, [], "scratch", 25, 10),
        (ARENA - 1, False, [], "input", -1, -1),
        (ARENA - 8, True, [], "output", -6, -6),  # what it stores to begins behind the input
        (ARENA - 3, True, [("r3", ARENA + 16)], "output", -5, -5),
        (ARENA + 4096, False, [("r1", ARENA), ("r2", 4096)], "input", 4096, 4081),
        (ARENA + 64, True, [("r1", ARENA + 20)], "output", 12, 5),
        (0x60000000, True, [("r1", ARENA + 16), ("r0", 0x3FFFFFF0)], "output", 0xFFFFFFC, 0xFFFFFF5),
    ],
)
def test_which_tensor_was_left_and_by_how_much(
    address: int, store: bool | None, bases: list[tuple[str, int]], role: str, element: int, by: int
) -> None:
    found = overrun(address, store, HERE, bases, (), REACH)
    assert found is not None
    assert (found.tensor.role, found.element, found.by) == (role, element, by)
    assert ("past the end" in found.text) is (by > 0)
    assert f"{abs(by):,} element" in found.text


def test_a_variable_speaks_for_a_tensor_only_where_no_other_does_and_of_the_right_kind() -> None:
    def of(store: bool, *pointers: tuple[str, int]) -> tuple[str, str]:
        found = overrun(ARENA + 64, store, HERE, (), pointers, REACH)
        assert found is not None
        return found.tensor.role, found.why

    assert of(True, ("out", ARENA + 20)) == ("output", "out holds its element 1")
    assert of(False, ("in", ARENA), ("out", ARENA + 16)) == ("input", "in holds its start")
    assert of(False, ("out", ARENA + 16))[1].startswith("the nearest below")
    assert of(True, ("out", ARENA + 16), ("work", ARENA + 50))[1].startswith("the nearest below")
    assert overrun(0x60000000, True, HERE, (), (("out", ARENA + 16),), REACH) is None


@pytest.mark.parametrize(
    ("address", "bases"),
    [
        (ARENA + 5, []),  # inside
        (0x60000000, []),  # far from everything
        (0x60000000, [("r3", 0x60000000)]),  # a pointer that walked, or never was one
        (0x60000000, [("r3", 0x60000004)]),
        (ARENA + 64 + 4096, []),
    ],
)
def test_what_left_no_tensor(address: int, bases: list[tuple[str, int]]) -> None:
    assert overrun(address, True, HERE, bases, (), REACH) is None
    assert overrun(address, True, (), bases, (), REACH) is None


def test_the_tensors_of_a_layer_with_their_places() -> None:
    source = three_layers()
    layer = replace(source.layers[1], scratch=(Placement(56, 8),))
    found = layer_tensors(source, layer, Arena("memory", ARENA, 64))
    assert [(t.role, t.tensor, t.shape, t.dtype, t.elements) for t in found] == [
        ("input", 0, (16,), "int8", 16),
        ("output", 1, (4, 2), "int32", 8),
        ("scratch", None, (8,), "", 8),
    ]
    assert [t.place for t in found] == [
        "memory+0x0, 0x20000000",
        "memory+0x10, 0x20000010",
        "memory+0x38, 0x20000038",
    ]
    assert layer_tensors(source, layer, None)[1].place == "the arena's byte 16"
    assert layer_tensors(source, layer, Arena("memory", ARENA, 64, exists=False))[1].place == "memory+0x10"
    assert layer_tensors(source, layer, Arena("pool", ARENA, 64, shift=0x400))[1].place == "pool+0x410, 0x20000010"
    assert layer_tensors(source, layer, Arena(None, ARENA, 64))[1].place == "the arena's byte 16, 0x20000010"


# ---- from a loop that runs on to the sentence

LOOPS = {
    "garbage": "    volatile uint32_t index = 0x40000000u;\n    output[index] = input[0];\n",
    "walking": """    volatile int8_t *out = output;
    for (;;) {
        *out = input[0]; /* here */
        out += 4096;
    }
""",
    "reading": """    const volatile int8_t *in = input;
    for (;;) {
        output[0] = *in; /* here */
        in += 4096;
    }
""",
    "in_step": """    for (;; input += 4096, output += 4096) {
        *output = *input;
    }
""",
    "by_one": """    for (;;) {
        *output++ = *input++;
    }
""",
}


def _stopped(board_name: str, loop: str, level: str, folder: Path) -> tuple[TargetStopped, Firmware]:
    board = load_board(board_name)
    source = with_kernel(sample(board.target.core), 1, LOOPS[loop])
    firmware = build(source, board, level=level, cache=folder)
    with open_session(firmware, board) as session, pytest.raises(TargetStopped) as stopped:
        session.run_layers()
    return stopped.value, firmware


def _crash(board_name: str, loop: str, level: str, folder: Path) -> tuple[Crash, int]:
    """The crash, and the address of the arena."""
    stopped, firmware = _stopped(board_name, loop, level, folder)
    crash = explain_stop(stopped, firmware.elf, source=firmware.source, board=firmware.board)
    arena = Image(firmware.elf).symbol("harness_arena")
    assert crash is not None
    assert arena is not None
    return crash, arena.address


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("loop", ["walking", "reading"])
@pytest.mark.parametrize("board_name", ["qemu_cortex_m0", "qemu_cortex_m33", "qemu_cortex_m55"])
def test_a_loop_that_never_ends_names_the_tensor_it_ran_out_of(
    board_name: str, loop: str, level: str, toolchain: None, tmp_path: Path
) -> None:
    crash, arena = _crash(board_name, loop, level, tmp_path)
    source = sample(load_board(board_name).target.core)
    layer = source.layers[1]
    tensor = layer.inputs[0] if loop == "reading" else layer.outputs[0]
    place = source.placements[tensor]
    assert crash.layer == 1
    assert crash.overrun is not None, crash.sentence
    assert crash.address is not None
    assert crash.overrun.tensor.tensor == tensor
    assert crash.overrun.by == crash.address - (arena + place.offset) - place.bytes + 1
    assert crash.overrun.text in crash.sentence
    assert crash.place is not None
    assert f"(RAM of {board_name})" in crash.place.text
    assert crash.running is not None
    assert [t.tensor for t in crash.running.tensors] == [*layer.inputs, *layer.outputs]
    frame = next(f for f in crash.frames if f.function == layer.name)
    assert f"{layer.op}" in frame.label


def test_an_index_that_is_garbage_names_the_tensor_it_was_meant_for(toolchain: None, tmp_path: Path) -> None:
    """However far off the address is: the register beside the index still holds the tensor."""
    crash, arena = _crash("qemu_cortex_m3", "garbage", "-O2", tmp_path)
    assert crash.overrun is not None, crash.sentence
    output = sample().layers[1].outputs[0]
    assert crash.overrun.tensor.tensor == output
    assert crash.overrun.element == 0x40000000
    assert crash.address == arena + sample().placements[output].offset + 0x40000000
    assert "holds its start" in crash.sentence


def _with_and_without_the_name(board_name: str, loop: str, level: str, folder: Path) -> tuple[Crash, Crash]:
    """One crash, explained with the name of the harness's own arena and with another one."""
    stopped, firmware = _stopped(board_name, loop, level, folder)
    assert stopped.state is not None
    renamed = firmware.elf.with_name("renamed.elf")  # the sources are found beside it
    command = ["arm-none-eabi-objcopy", "--redefine-sym", "harness_arena=memory", str(firmware.elf), str(renamed)]
    subprocess.run(command, check=True, timeout=60)
    state, source, board = stopped.state, firmware.source, firmware.board
    return explain(state, firmware.elf, source=source, board=board), explain(state, renamed, source=source, board=board)


@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("loop", ["walking", "reading"])
@pytest.mark.parametrize("board_name", ["qemu_cortex_m0", "qemu_cortex_m33", "qemu_cortex_m55"])
def test_an_arena_of_any_name_is_found_by_what_the_layer_was_given(
    board_name: str, loop: str, level: str, toolchain: None, tmp_path: Path
) -> None:
    """The firmware of others calls `model_run` with a variable that nobody here knows."""
    known, found = (c.to_json() for c in _with_and_without_the_name(board_name, loop, level, tmp_path))
    assert known["overrun"] is not None
    assert json.dumps(known).replace("harness_arena", "memory") == json.dumps(found)


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize(
    ("loop", "board_name"),
    [("in_step", "qemu_cortex_m3"), ("in_step", "qemu_cortex_m33"), ("by_one", "qemu_cortex_m0")],
)
def test_parameters_that_walked_make_no_arena(
    loop: str, board_name: str, level: str, toolchain: None, tmp_path: Path
) -> None:
    """All of a kernel's pointers may go on together, and then agree."""
    known, found = _with_and_without_the_name(board_name, loop, level, tmp_path)
    assert known.running is not None
    assert found.running is not None
    for ours, theirs in zip(found.running.tensors, known.running.tensors):
        assert ours.address in (None, theirs.address)
        assert level != "-O0" or ours.address is not None, "what ran the layer still has its argument"
    if found.overrun is not None:
        assert known.overrun is not None
        assert found.overrun.tensor.tensor == known.overrun.tensor.tensor
    assert "given an arena" not in found.sentence


def _image(folder: Path) -> Image:
    """A firmware with a variable called memory, of 64 bytes."""
    text = "unsigned char before[64], memory[64];\nint entry(void) { return before[0] + memory[0]; }\n"
    return Image(linked(folder, text, "-Wl,-Tdata=0x20000000"))


def test_where_the_arena_is(toolchain: None, tmp_path: Path) -> None:
    image = _image(tmp_path)
    memory = image.symbol("memory")
    assert memory is not None
    source, start = three_layers(), memory.address
    layer = replace(source.layers[1], scratch=(Placement(56, 8),))
    (reads,), (makes,) = ((source.placements[t].offset for t in ts) for ts in (layer.inputs, layer.outputs))

    def found(
        arena: int | None = None,
        called: Sequence[int | None] = (),
        now: Sequence[int | None] = (),
        refused: int | None = None,
    ) -> Arena | None:
        return arena_of(image, source, layer, Arguments(arena, called, now), refused)

    here = Arena("memory", start, source.arena_bytes)
    given = [start + reads, start + makes, start + 56]
    assert found(start) == found(called=given) == found(now=given) == here
    for unknown in ([None, *given[1:]], [given[0], None, None], [None, None, given[2]]):
        assert found(called=unknown) == found(now=unknown) == here
    inside = found(start + 16)
    assert inside is not None
    assert (inside.symbol, inside.shift) == ("memory", 16)
    # who ran the layer knows best, and a parameter may have walked since
    assert found(start, [value + 64 for value in given], [value + 64 for value in given]) == here
    assert found(called=given, now=[value + 16 for value in given]) == here
    # contradictions, and what says nothing or not for certain
    assert found(called=[given[0], given[1] + 1, None]) is None
    assert found(called=given[:2]) is None
    assert found(called=[*given, start]) is None
    assert found(called=[None] * 3, now=[None] * 3) is None
    assert found(now=[value + 16 for value in given]) is None
    assert found(now=[value + 0x10000000 for value in given]) is None
    assert arena_of(image, None, layer, Arguments(start)) is None
    assert arena_of(image, source, None, Arguments(called=given)) is None
    assert arena_of(image, replace(source, placements={}), layer, Arguments(called=given)) == replace(
        here, address=start
    )


@pytest.mark.parametrize(
    ("address", "refused", "exists"),
    [
        (0x20001000, None, True),  # a heap: no section has it
        (0x20001000, 0x60000000, True),
        (0x20001000, 0x20001000 - 1, True),
        (0x20001000, 0x20001000, False),
        (0x20001000, 0x20001000 + 63, False),
        (0x20001000, 0x20001000 + 64, True),
        (0x60000000, None, True),  # external RAM
        (0x40000000, None, False),
        (0xC0000000, None, False),
        (0, None, False),
        (0x8000, None, False),  # code
        (0xFFFFFFF0, None, False),
    ],
)
def test_whether_there_is_memory(
    address: int, refused: int | None, exists: bool, toolchain: None, tmp_path: Path
) -> None:
    image, source = _image(tmp_path), three_layers()
    arena = arena_of(image, source, source.layers[1], Arguments(address), refused)
    assert arena == Arena(None, address, source.arena_bytes, exists)
    assert arena.covers(address) is exists
    memory = image.symbol("memory")
    assert memory is not None
    wrapped = [(address + place) & 0xFFFFFFFF for place in (source.placements[0].offset, source.placements[1].offset)]
    layer = replace(source.layers[1], scratch=())
    assert arena_of(image, source, layer, Arguments(called=wrapped), refused) == arena


def test_a_boards_memories_and_uart_have_names(toolchain: None, tmp_path: Path) -> None:
    board = load_board("qemu_cortex_m3")
    elf = build(sample(), board, cache=tmp_path).elf
    places = AddressMap(Image(elf), sample(), None, board)
    assert places.at(0x40004004).text == "in the UART of qemu_cortex_m3 (cmsdk), 4 bytes from its start"
    assert places.at(0x40004004).kind == "peripheral"
    assert places.at(0x20400000).text == "0 bytes past the end of ssram2 (RAM of qemu_cortex_m3)"
    assert places.at(0x203FFFF0).kind == "free"
    assert places.at(0x50000000).text == "where this firmware has nothing (peripheral region)"
    assert places.reach.stop == 0x20400000 + 4096
