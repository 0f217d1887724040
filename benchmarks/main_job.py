"""The figures of the main job: instructions, flash, arena, wall time of `verify`, overhead on the wire.

    python benchmarks/main_job.py [--model kws]... [--board m3]... [--models DIR] [--json FILE] [--markdown FILE]

Every count comes from a run that was compared layer by layer first and was exact; the verdict stands in its row.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.peers import PEERS
from benchmarks.tables import Table, markdown, terminal
from harness.board import Board, load_board
from harness.errors import HarnessError, InfrastructureError
from harness.firmware import Firmware
from harness.oracle import draw_inputs
from harness.profile.run import counter_for
from harness.runners import runner_for
from harness.session import Session
from harness.verification import verify

MODELS = Path(__file__).resolve().parent.parent.parent / "shared" / "models"
INTRODUCTION = """# Performance of the main job

`./dev benchmark --markdown docs/performance.md` wrote this page; every figure in it was measured by that run.

Instructions are those of one call of `model_run` from entry to return, as an application pays it, counted in QEMU by
the plugin `harness/profile/tcg_count.c`: exact, the same in every run, and neither cycles nor seconds. Every count
belongs to a firmware that was compared with the oracle layer by layer just before; the verdict stands in its row.
TFLM is TensorFlow Lite Micro with CMSIS-NN, with the same compiler, emulator and counter; see `benchmarks/peers.py`.

Flash without weights holds everything else: model code, RPC server, fault entry, C library.

"""
BOARDS = ("m3", "m4", "m7", "m33", "m55")
TRANSFER = 65_536  # bytes
SEED = 1


@dataclass(frozen=True)
class Row:
    """One model on one board. Bytes, and instructions of one call of model_run."""

    model: str
    board: str
    verdict: str
    instructions: int
    peer_instructions: int | None
    macs: int
    flash_code_bytes: int
    flash_bytes: int
    ram_bytes: int
    arena_bytes: int
    arena_lower_bound: int

    @property
    def ratio(self) -> float | None:
        """Instructions against the peer's: below 1 is fewer."""
        return None if self.peer_instructions is None else self.instructions / self.peer_instructions


@dataclass(frozen=True)
class Wire:
    """A transfer of `payload` bytes; `sent` and `received` are all that went over the line during it."""

    direction: str
    payload: int
    sent: int
    received: int

    @property
    def overhead(self) -> float:
        """Bytes in the direction of the payload that are not payload, per byte of payload."""
        return (self.sent if self.direction == "write" else self.received) / self.payload - 1


def count_instructions(firmware: Firmware, board: Board) -> int:
    """Instructions of one call of model_run from entry to return, on QEMU."""
    graph = firmware.source.graph
    inputs = [
        values[0].reshape(graph.tensor(tensor).shape)
        for tensor, values in zip(graph.inputs, draw_inputs(graph, SEED, 1), strict=True)
    ]
    total = counter_for(board).measure(firmware, inputs).total
    if total.instructions is None:
        raise InfrastructureError(f"instructions are counted in QEMU only, and {board.name} runs elsewhere")
    return total.instructions


def measure(model: str, path: Path, board_name: str) -> Row:
    board = load_board(f"qemu_cortex_{board_name}")
    report = verify(path, board, seed=SEED)
    memory = report.memory()
    return Row(
        model=model,
        board=board_name,
        verdict=report.verdict.value,
        instructions=count_instructions(report.firmware, board),
        peer_instructions=PEERS[model].tflm.get(board_name),
        macs=sum(layer.macs for layer in report.source.layers),
        flash_code_bytes=memory["flash_code_bytes"],
        flash_bytes=memory["flash_bytes"],
        ram_bytes=memory["ram_bytes"],
        arena_bytes=memory["arena_bytes"],
        arena_lower_bound=memory["arena_lower_bound"],
    )


@contextmanager
def empty_cache() -> Iterator[None]:
    """A firmware cache that starts empty and is thrown away, whatever this machine has built before."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = before


def wall_time(path: Path) -> dict[str, Mapping[str, float]]:
    """Seconds of each stage of `verify` on the Cortex-M3: with an empty firmware cache, and right after that."""
    with empty_cache():
        return {name: verify(path, "qemu_cortex_m3", seed=SEED).timings for name in ("cold", "warm")}


def wire(firmware: Firmware, board: Board) -> tuple[Wire, ...]:
    """Writes 64 KB of random bytes to RAM nobody uses and reads them back."""
    if board.sections is None:
        raise InfrastructureError(f"{board.name} has no memory map to choose an address from")
    ram = board.region(board.sections.data)
    address = ram.address + ram.bytes // 2
    data = random.Random(SEED).randbytes(TRANSFER)
    with Session(firmware, runner_for(board)) as session:
        start = len(session.traffic)
        session.write_memory(address, data)
        middle = len(session.traffic)
        if session.read_memory(address, TRANSFER) != data:
            raise InfrastructureError("memory read back differs from what was written")
        pieces = session.traffic
        found = []
        for direction, part in (("write", pieces[start:middle]), ("read", pieces[middle:])):
            sent = sum(len(piece.data) for piece in part if piece.outgoing)
            received = sum(len(piece.data) for piece in part if not piece.outgoing)
            found.append(Wire(direction, TRANSFER, sent, received))
    return tuple(found)


def tables(rows: Sequence[Row], times: Mapping[str, Mapping[str, float]], wires: Sequence[Wire]) -> list[Table]:
    cost = Table(
        "Instructions of one model_run in QEMU, beside TFLite Micro with CMSIS-NN",
        ("model", "core", "verdict", "instructions", "TFLM", "ratio", "per MAC"),
    )
    size = Table(
        "Bytes: flash of everything but the weights with the RPC server in it, and the arena",
        ("model", "core", "flash without weights", "flash", "RAM", "arena", "lower bound", "TFLM arena"),
    )
    for row in rows:
        peer = PEERS[row.model]
        per_mac = f"{row.instructions / row.macs:.2f}" if row.macs else ""
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        cost.add(row.model, row.board, row.verdict, row.instructions, row.peer_instructions, ratio, per_mac)
        size.add(
            row.model,
            row.board,
            row.flash_code_bytes,
            row.flash_bytes,
            row.ram_bytes,
            row.arena_bytes,
            row.arena_lower_bound,
            peer.tflm_arena,
        )
    time = Table("Seconds of `harness verify` on kws and qemu_cortex_m3, by stage", ("cache", *times["cold"], "total"))
    for name, stages in times.items():
        total = sum(stages.values())
        time.add(name, *(f"{stages[stage]:.2f}" for stage in times["cold"]), f"{total:.2f}")
    line = Table("A transfer of 65,536 bytes over the UART", ("direction", "payload", "sent", "received", "overhead"))
    for each in wires:
        line.add(each.direction, each.payload, each.sent, each.received, f"{each.overhead:.2%}")
    return [cost, size, time, line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=PEERS, help="repeatable; default: all")
    parser.add_argument("--board", action="append", choices=BOARDS, help="repeatable; default: all")
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="folder of the .tflite files (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    options = parser.parse_args()
    rows = []
    try:
        for model in options.model or PEERS:
            for board in options.board or BOARDS:
                rows.append(measure(model, options.models / PEERS[model].file, board))
                print(f"{model} on {board}: {rows[-1].verdict}, {rows[-1].instructions:,}", file=sys.stderr)
        kws = options.models / PEERS["kws"].file
        times = wall_time(kws)
        board = load_board("qemu_cortex_m3")
        wires = wire(verify(kws, board, seed=SEED).firmware, board)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    found = tables(rows, times, wires)
    terminal(found)
    if options.json:
        figures = {"rows": list(map(asdict, rows)), "seconds": times, "wire": list(map(asdict, wires))}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(INTRODUCTION + markdown(found), encoding="utf-8")
    return 0 if all(row.verdict == "match" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
