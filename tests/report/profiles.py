"""Profiles made by hand, for what is drawn and written of them; no emulator runs for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.board import load_board
from harness.compiler.graph import Graph
from harness.firmware import Firmware
from harness.profile import Profile
from harness.profile.call_tree import Node
from harness.profile.footprint import Footprint, ModelCode
from harness.profile.measurement import Figures, Function, Measurement, SourceLine
from harness.profile.timing import Cycles
from harness.profile.timing_tables import TIMINGS
from tests import sample_model

NASTY = '</title><script>alert("1")</script>&\x1b[31m\u202e\x00'


def node(name: str, own: int, *children: Node) -> Node:
    return Node(name, 0, own, Cycles(own, 2 * own), 1, {child.function: child for child in children})


def tree() -> Node:
    """Of the sample model, 1,000 instructions: two layers that share a kernel, one without any callee."""
    return node(
        "model_run",
        20,
        node("add_0", 100, node("nn_kernel", 300)),
        node("double_1", 80, node("nn_kernel", 400)),
        node("sum_2", 100),
    )


def named(profile: Profile, name: str) -> Profile:
    """The same with `name` for every tensor."""
    source = profile.firmware.source
    tensors = tuple(replace(tensor, name=name) for tensor in source.graph.tensors)
    graph: Graph = replace(source.graph, tensors=tensors)
    return replace(profile, firmware=replace(profile.firmware, source=replace(source, graph=graph)))


def sample(*, cycles: bool = False) -> Profile:
    """With instructions of an emulated Cortex-M3, or with cycles as a board would count them."""
    root = tree()
    source = sample_model.sample()
    layers = tuple(
        Figures(child.total, estimate=child.total_cycles, stack=stack)
        for child, stack in zip(root.children.values(), (12, 40, 8), strict=True)
    )
    measurement = Measurement(
        total=Figures(root.total, estimate=root.total_cycles, stack=84),
        layers=layers,
        tree=root,
        functions=(Function("nn_kernel", "nn_kernels.c", 7, 2, Figures(700, estimate=Cycles(700, 1400)), 700),),
        lines=(SourceLine("nn_kernels.c", 9, 690),),
        stack_used=320,
    )
    if cycles:
        measurement = Measurement(
            total=Figures(cycles=900), layers=tuple(Figures(cycles=count) for count in (300, 400, 150))
        )
    board = load_board("qemu_cortex_m3")
    firmware = Firmware(
        elf=Path("firmware.elf"),
        board=board,
        source=source,
        build_id=bytes(20),
        build_dir=Path("."),
        flash_bytes=9000,
        flash_code_bytes=8000,
        ram_bytes=7000,
        stack_bytes=96,
        reserved_stack_bytes=4096,
        layer_stack_bytes=(16, None, 8),
    )
    return Profile(
        model=Path("sample.tflite"),
        model_sha256="00",
        firmware=firmware,
        counter="QEMU TCG plugin",
        compiler="gcc 12",
        inputs={"seed": 0},
        measurement=measurement,
        footprints=tuple(Footprint(120, 16, 32, depth) for depth in firmware.layer_stack_bytes),
        code=ModelCode(2000, 500),
        timing=None if cycles else TIMINGS["cortex-m3"],
    )
