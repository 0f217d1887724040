"""From a layer that goes wrong on a board to the traceback: firmware, runner, record and explanation together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.board import load_board
from harness.debug.crash import Crash
from harness.debug.stops import explain_stop
from harness.firmware import build
from harness.session import open_session
from harness.verdict import TargetCrashed, TargetStopped, TargetTimedOut
from tests.sample_model import sample, with_kernel

BOARDS = tuple(f"qemu_cortex_m{core}" for core in (0, 3, 4, 33, 55))
STORE = "    *(volatile int32_t *)(uintptr_t)NOTHINGu = input[0]; /* here */\n    output[0] = 1;\n"
NULL = "    const volatile int8_t *volatile pointer = (const volatile int8_t *)(uintptr_t)(input[0] & 0);\n"
NULL += "    output[0] = pointer[4]; /* here */\n"
UNDEFINED = '    __asm volatile("udf #3"); /* here */\n    output[0] = input[0];\n'
HANG = "    volatile int forever = 1;\n    while (forever) { } /* here */\n    output[0] = input[0];\n"
RECURSION = (
    "    volatile uint8_t kept[64];\n    kept[0] = (uint8_t)input[0];\n"
    "    void (*volatile again)(const int8_t *restrict, int8_t *restrict) = double_1;\n"
    "    again(input, output); /* here */\n    output[0] = (int8_t)kept[0];\n"
)
ABORT = "    extern void abort(void);\n    if (input[0] != 99) {\n        abort(); /* here */\n    }\n"
ABORT += "    output[0] = input[0];\n"
NULL_CALL = "    void (*volatile nobody)(void) = 0;\n    nobody();\n    output[0] = input[0];\n"
NOTHING = {"qemu_cortex_m0": 0xB0000000}  # where the board has nothing; the others all the following
NOTHING_ELSEWHERE = 0xF4000000
Stop = Callable[..., tuple[TargetStopped, Crash]]


@pytest.fixture
def stop(tmp_path_factory: pytest.TempPathFactory) -> Stop:
    """Runs the toy model with `body` as layer 1 on a board, and explains what stops it."""
    cache = tmp_path_factory.getbasetemp() / "end_to_end_cache"

    def run(board_name: str, body: str, *, layers: bool = True, timeout: float = 20.0) -> tuple[TargetStopped, Crash]:
        board = load_board(board_name)
        body = body.replace("NOTHING", str(NOTHING.get(board_name, NOTHING_ELSEWHERE)))
        source = with_kernel(sample(board.target.core), 1, body)
        firmware = build(source, board, cache=cache)
        with open_session(firmware, board, timeout=timeout) as session:
            with pytest.raises(TargetStopped) as raised:
                session.run_layers() if layers else session.run()
            crash = explain_stop(raised.value, firmware.elf, source=source, read_memory=session.read_memory)
        assert crash is not None
        return raised.value, crash

    return run


def _here(crash: Crash) -> str:
    """The source line that the innermost frame of the layer names."""
    frame = next(frame for frame in crash.frames if frame.function == "double_1")
    assert frame.file is not None
    assert frame.line is not None
    assert frame.label.startswith('layer 1 of 3, MUL "b"')
    return Path(frame.file).read_text().splitlines()[frame.line - 1]


@pytest.mark.parametrize("board", BOARDS)
def test_a_wild_store_in_a_layer(board: str, stop: Stop) -> None:
    stopped, crash = stop(board, STORE)
    assert isinstance(stopped, TargetCrashed)
    m0 = board == "qemu_cortex_m0"
    assert crash.kind == ("data_fault" if m0 else "precise_bus_fault")
    assert (crash.address, crash.layer) == (NOTHING.get(board, NOTHING_ELSEWHERE), 1)
    assert crash.frames[0].function == ("HardFault_Handler" if m0 else "BusFault_Handler")
    assert "here" in _here(crash)
    assert [frame.function for frame in crash.frames][-1] == "main"
    assert "scan" not in {frame.via for frame in crash.frames}
    assert crash.notes == ()


@pytest.mark.parametrize("board", ["qemu_cortex_m3", "qemu_cortex_m33"])
def test_a_wild_store_in_the_whole_model_has_model_run_in_the_chain(board: str, stop: Stop) -> None:
    _, crash = stop(board, STORE, layers=False)
    assert crash.layer == 1
    assert "here" in _here(crash)
    functions = [frame.function for frame in crash.frames]
    assert functions[1:3] == ["double_1", "model_run"]
    assert functions[-1] == "main"


@pytest.mark.parametrize("board", ["qemu_cortex_m3", "qemu_cortex_m55"])
def test_a_null_pointer(board: str, stop: Stop) -> None:
    _, crash = stop(board, NULL)
    assert (crash.kind, crash.layer) == ("null_pointer", 1)
    assert crash.address is not None
    assert crash.address < 32
    assert "here" in _here(crash)


@pytest.mark.parametrize("board", ["qemu_cortex_m0", "qemu_cortex_m3"])
def test_an_undefined_instruction(board: str, stop: Stop) -> None:
    _, crash = stop(board, UNDEFINED)
    assert (crash.kind, crash.layer) == ("undefined_instruction", 1)
    assert "here" in _here(crash)


@pytest.mark.parametrize("board", ["qemu_cortex_m3", "qemu_cortex_m33"])
def test_a_stack_overflow_with_its_deepest_chain(board: str, stop: Stop) -> None:
    _, crash = stop(board, RECURSION)
    assert (crash.kind, crash.layer) == ("stack_overflow", 1)
    assert "stack of" in crash.sentence
    assert [frame.function for frame in crash.frames[1:4]] == ["double_1"] * 3
    assert "here" in _here(crash)
    guessed = {frame.label.rpartition(", ")[2] for frame in crash.frames if frame.via == "scan"}
    assert guessed <= {"guessed from the stack"}  # also of what jumped on: rpc_dispatch


@pytest.mark.parametrize("board", ["qemu_cortex_m0", "qemu_cortex_m3"])
def test_a_layer_that_never_returns_says_where_it_is(board: str, stop: Stop) -> None:
    stopped, crash = stop(board, HANG, timeout=0.5)
    assert isinstance(stopped, TargetTimedOut)
    assert (crash.kind, crash.layer) == ("halted", 1)
    assert crash.frames[0].function == "double_1"
    assert "here" in _here(crash)
    assert crash.frames[-1].function == "main"


@pytest.mark.parametrize(
    ("body", "kind"),
    [(STORE, "segv"), (NULL, "null_pointer"), (HANG, "halted"), (ABORT, "abort")],
    ids=["store", "null", "hang", "abort"],
)
def test_the_same_on_this_computer(body: str, kind: str, stop: Stop) -> None:
    _, crash = stop("host", body, timeout=0.5)
    assert (crash.kind, crash.layer) == (kind, 1)
    assert "here" in _here(crash)
    assert crash.frames[-1].function == "main"


def test_a_call_through_a_null_pointer_on_this_computer(stop: Stop) -> None:
    _, crash = stop("host", NULL_CALL)
    assert (crash.kind, crash.layer, crash.address) == ("null_call", 1, 0)
    assert "?" not in crash.sentence
    assert all(frame.function != "?" for frame in crash.frames)
