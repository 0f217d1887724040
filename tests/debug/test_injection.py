"""A fault injected into every layer of real models: the report names that layer, its function and the line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harness.board import load_board
from harness.compiler import compile_model
from harness.compiler.csource import CSource
from harness.debug.crash import explain
from harness.debug.image import Image
from harness.firmware import build
from harness.session import Session, open_session
from harness.verdict import TargetCrashed
from tests.test_main_job import OUTPUT_CRCS

pytestmark = [
    pytest.mark.skipif(
        not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
        reason="needs arm-none-eabi-gcc and qemu-system-arm",
    ),
    pytest.mark.slow,
]


NOWHERE = {"qemu_cortex_m3": 0xC0000000, "qemu_cortex_m55": 0x1FFE8000}  # where the machine has nothing


@dataclass(frozen=True)
class Fault:
    code: str  # one statement
    kind: str


FAULTS = (
    Fault("*(volatile uint32_t *)NOWHERE = 1", "precise_bus_fault"),
    Fault("injected_sink = *(volatile uint32_t *)injected_zero", "null_pointer"),
    Fault('__asm volatile("udf #1")', "undefined_instruction"),
    Fault("injected_sink = 7u / injected_zero", "divide_by_zero"),
    Fault("((void (*)(void))injected_zero)()", "null_call"),
    Fault("injected_sink = injected_recursion(0)", "stack_overflow"),
)
# One line in the layer, so that there is one line to be named. `injected` chooses at run time: 0 is none.
_HEADER = """#include <stdint.h>
#define NOWHERE {nowhere}u
extern volatile uint32_t injected, injected_zero, injected_sink;
uint32_t injected_recursion(uint32_t depth);
#define INJECT(first) switch (injected - (first)) {{ {cases} default: break; }}
"""
_CODE = """#include "injected.h"
volatile uint32_t injected, injected_zero, injected_sink;
__attribute__((noipa)) uint32_t injected_recursion(uint32_t depth)
{
    volatile uint32_t kept[16] = {depth};
    return depth == 0xFFFFFFFFu ? 0u : injected_recursion(depth + 1u) + kept[depth % 16u];
}
"""


def injected(source: CSource, nowhere: int) -> tuple[CSource, tuple[int, ...]]:
    """The same with every fault in every layer, and the line they stand on in each."""
    cases = " ".join(f"case {number}: {fault.code}; break;" for number, fault in enumerate(FAULTS))
    files = {**source.files, "injected.h": _HEADER.format(cases=cases, nowhere=hex(nowhere)), "injected.c": _CODE}
    places = []
    for layer in source.layers:
        lines = files[layer.file].splitlines()
        definition = next(n for n, line in enumerate(lines) if line.startswith(f"void {layer.name}("))
        lines.insert(lines.index("{", definition) + 1, f"    INJECT({1 + layer.index * len(FAULTS)}u)")
        lines.insert(0, '#include "injected.h"')
        files[layer.file] = "\n".join(lines) + "\n"
        places.append(lines.index("{", definition) + 2)
    return replace(source, files=files), tuple(places)


def crash_of(session: Session, where: int, number: int, layer: int) -> TargetCrashed:
    session.write_memory(where, number.to_bytes(4, "little"))
    run = session.run if number % 2 else partial(session.run_layers, layer, layer + 1)
    with pytest.raises(TargetCrashed) as raised:
        run()
    return raised.value


@pytest.mark.parametrize(
    ("board", "model"),
    [*(("qemu_cortex_m3", model) for model in OUTPUT_CRCS), ("qemu_cortex_m55", "kws_ref_model")],
)
def test_the_right_layer_for_every_operator(model: str, board: str, shared_model: Callable[[str], Path]) -> None:
    target = load_board(board)
    source, lines = injected(compile_model(shared_model(model), target.target, check=False), NOWHERE[board])
    firmware = build(source, target)
    image = Image(firmware.elf)
    choice = image.symbol("injected")
    assert choice is not None
    wrong = []
    with open_session(firmware, target) as session:
        for tensor in source.graph.inputs:
            spec = source.graph.tensors[tensor]
            session.write_tensor(tensor, np.zeros(spec.shape, spec.dtype.np))
        for layer in source.layers:
            for offset, fault in enumerate(FAULTS):
                number = 1 + layer.index * len(FAULTS) + offset
                stopped = crash_of(session, choice.address, number, layer.index)
                assert stopped.state is not None
                crash = explain(stopped.state, image, source=source, read_memory=session.read_memory)
                own = [f.line for f in crash.frames if f.function == layer.name]
                guessed = any(f.via == "scan" for f in crash.frames)
                found = crash.kind, crash.layer, own, guessed
                lost = fault.kind == "stack_overflow" and "pc" not in stopped.state.registers  # no room for the frame
                truth = fault.kind, layer.index, [lines[layer.index]], lost
                if found != truth:
                    wrong.append(f"{layer.name}: {found} where {truth} is true")
                session.reset()
    assert not wrong
