"""One model on one board: compared with the oracle layer by layer, then counted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import PEERS
from harness.board import load_board
from harness.compiler.choose import Objective
from harness.errors import InfrastructureError
from harness.oracle import draw_inputs
from harness.profile.footprint import model_code
from harness.profile.run import counter_for
from harness.verification import verify

SEED = 1


@dataclass(frozen=True)
class Row:
    """Bytes, and instructions of one call of model_run."""

    model: str
    board: str
    objective: str
    verdict: str
    instructions: int
    peer_instructions: int | None
    macs: int
    model_code_bytes: int  # flash of the model's functions and of the libraries they call, without its constants
    constant_bytes: int
    flash_bytes: int  # of the whole firmware, with RPC server, fault entry and C library
    ram_bytes: int
    arena_bytes: int
    arena_lower_bound: int
    stack_bytes: int
    inner_loop: float | None  # instructions per MAC in the loop of the kernel that 1x1 convolutions run in

    @property
    def ratio(self) -> float | None:
        """Instructions against the peer's: below 1 is fewer."""
        return None if self.peer_instructions is None else self.instructions / self.peer_instructions


def measure(model: str, path: Path, board_name: str, objective: Objective = Objective.BALANCED) -> Row:
    board = load_board(f"qemu_cortex_{board_name}")
    report = verify(path, board, seed=SEED, objective=objective)
    firmware, source, memory = report.firmware, report.source, report.memory()
    graph = source.graph
    drawn = draw_inputs(graph, SEED, 1)
    inputs = [v[0].reshape(graph.tensor(t).shape) for t, v in zip(graph.inputs, drawn, strict=True)]
    total = counter_for(board).measure(firmware, inputs).total
    if total.instructions is None:
        raise InfrastructureError(f"instructions are counted in QEMU only, and {board.name} runs elsewhere")
    code = model_code(firmware)
    return Row(
        model=model,
        board=board_name,
        objective=objective.value,
        verdict=report.verdict.value,
        instructions=total.instructions,
        peer_instructions=PEERS[model].tflm.get(board_name),
        macs=sum(layer.macs for layer in source.layers),
        model_code_bytes=code.own + code.library,
        constant_bytes=source.constant_bytes,
        flash_bytes=memory["flash_bytes"],
        ram_bytes=memory["ram_bytes"],
        arena_bytes=memory["arena_bytes"],
        arena_lower_bound=memory["arena_lower_bound"],
        stack_bytes=memory["stack_bytes"],
        inner_loop=_inner_loop(source.files.get("nn_kernels.c", "")),
    )


_MACS = {"mla": 1, "smlad": 2, "vmladava.s8": 16}  # of one instruction
_ASSEMBLY = re.compile(r'^ +"(.*?)(?:\\n\\t)?"$', re.MULTILINE)


def _inner_loop(kernels: str) -> float | None:
    """Of all kernels the fewest instructions per MAC, read off the text that is compiled.

    In a kernel with a loop those of the loop, its branch included; in one that is written out, all of them.
    """
    found = []
    for kernel in kernels.split("KERNEL void")[1:]:
        lines = _ASSEMBLY.findall(kernel)
        if "1:" in lines:
            end = next(i for i, line in enumerate(lines) if line.endswith("1b"))
            lines = lines[lines.index("1:") + 1 : end + 1]
        macs = sum(_MACS.get(line.split()[0], 0) for line in lines)
        if macs:
            found.append(len(lines) / macs)
    return min(found, default=None)
