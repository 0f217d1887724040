"""Counts of real firmware against a trace that QEMU itself writes, instruction by instruction."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from harness.board import load_board
from harness.compiler import compile_model
from harness.debug.image import Image
from harness.errors import InfrastructureError
from harness.firmware import Firmware, build
from harness.oracle import draw_inputs
from harness.profile import tcg, tcg_counter
from harness.profile.tcg_counter import TcgCounter, by_address
from harness.profile.timing_tables import timing_for
from harness.runners import runner_for
from harness.runners.qemu import QemuRunner
from harness.session import Session
from harness.toolchain.disassembly import disassemble
from tests.edited_sources import four_layers

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm", "gcc"))),
    reason="needs arm-none-eabi-gcc, qemu-system-arm and gcc",
)


@dataclass(frozen=True)
class Built:
    firmware: Firmware
    inputs: tuple[np.ndarray, ...]
    runner: QemuRunner


@pytest.fixture(scope="module", params=["qemu_cortex_m0", "qemu_cortex_m3", "qemu_cortex_m4", "qemu_cortex_m55"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A model of four layers for one board."""
    board = load_board(request.param)
    source = compile_model(four_layers(tmp_path_factory.mktemp("model") / "four.tflite"), board.target)
    shapes = [source.graph.tensor(tensor).shape for tensor in source.graph.inputs]
    inputs = tuple(v[0].reshape(s) for v, s in zip(draw_inputs(source.graph, 3, 1), shapes, strict=True))
    runner = runner_for(board)
    assert isinstance(runner, QemuRunner)
    return Built(build(source, board), inputs, runner)


def run(built: Built, *options: str) -> None:
    """Runs the model once with further arguments for QEMU."""
    graph = built.firmware.source.graph
    with Session(built.firmware, replace(built.runner, options=options)) as session:
        for tensor, values in zip(graph.inputs, built.inputs, strict=True):
            session.write_tensor(tensor, values)
        session.run()


def traced(built: Built, log: Path) -> Counter[int]:
    """How often the instruction at each address ran inside model_run, from QEMU's log of single steps."""
    image = Image(built.firmware.elf)
    entry = image.symbol("model_run")
    assert entry is not None
    run(built, "-singlestep", "-d", "exec,nochain", "-D", str(log))
    counts: Counter[int] = Counter()
    back = previous = None
    for found in re.finditer(r"^Trace \d+: 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/", log.read_text(), re.MULTILINE):
        address = int(found[1], 16)
        if address == entry.address and back is None:
            assert previous is not None
            back = previous + 4  # behind the BL
        if address == back:
            return counts
        if back is not None:
            counts[address] += 1
        previous = address
    raise AssertionError("model_run did not return in the trace")


def counted(built: Built, out: Path) -> tcg.Execution:
    run(built, *tcg.options(Image(built.firmware.elf), "model_run", out))
    (execution,) = tcg.read(out)
    return execution


def test_every_instruction_of_a_trace_is_counted_where_it_was(built: Built, tmp_path: Path) -> None:
    execution = counted(built, tmp_path / "counts")
    ours: Counter[int] = Counter()
    for (_, address), count in by_address(execution, disassemble(built.firmware.elf)).items():
        ours[address] += count
    theirs = traced(built, tmp_path / "trace.log")
    assert ours == theirs
    assert execution.instructions == sum(theirs.values())


def measure(built: Built) -> tcg_counter.Measurement:
    board = built.firmware.board
    return TcgCounter(built.runner, timing_for(board), 30.0).measure(built.firmware, built.inputs)


def test_layers_and_functions_add_up(built: Built) -> None:
    found = measure(built)
    assert found.tree is not None
    layers = [figures.instructions or 0 for figures in found.layers]
    assert all(count > 0 for count in layers)
    glue = next(one for one in found.functions if one.name == "model_run")
    assert glue.inclusive == found.total.instructions == sum(layers) + (glue.own.instructions or 0)
    assert sum(one.own.instructions or 0 for one in found.functions) == found.total.instructions
    assert sum(line.instructions for line in found.lines) <= (found.total.instructions or 0)
    assert {line.file for line in found.lines} >= {layer.file for layer in built.firmware.source.layers}


def test_two_measurements_are_equal(built: Built) -> None:
    assert measure(built) == measure(built)


def test_an_estimate_only_where_a_table_is_published(built: Built) -> None:
    found = measure(built)
    if built.firmware.board.cpu.core == "cortex-m55":
        assert found.total.estimate is None
        return
    assert found.total.estimate is not None
    assert found.total.instructions is not None
    assert found.total.instructions < found.total.estimate.low <= found.total.estimate.high
    parts = [figures.estimate for figures in found.layers]
    assert sum(part.low for part in parts if part) < found.total.estimate.low  # and model_run itself
    assert found.notes == ()


def test_the_stack_that_was_seen_lies_within_its_bound(built: Built) -> None:
    found = measure(built)
    assert found.stack_used is not None
    assert 0 < found.stack_used <= built.firmware.reserved_stack_bytes
    assert found.total.stack is not None
    assert 0 < found.total.stack <= built.firmware.stack_bytes
    for layer, bound in zip(found.layers, built.firmware.layer_stack_bytes, strict=True):
        assert layer.stack is not None
        assert bound is not None
        assert 0 <= layer.stack <= bound


def test_runs_that_differ_are_refused(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if an interrupt had come in the second run: one block once more."""

    def one_more(out: Path) -> list[tcg.Execution]:
        first, second = read(out)
        more = replace(second.blocks[0], count=second.blocks[0].count + 1)
        return [first, replace(second, blocks=(more, *second.blocks[1:]))]

    read = tcg.read
    monkeypatch.setattr(tcg, "read", one_more)
    with pytest.raises(InfrastructureError, match="two equal runs"):
        measure(built)
