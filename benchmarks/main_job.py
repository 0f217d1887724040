"""The figures of the main job: instructions, flash, arena, what each objective trades, time of compiling and verifying.

    python benchmarks/main_job.py [--model kws]... [--board m3]... [--models DIR] [--json FILE] [--markdown FILE]

Every count comes from a run that was compared layer by layer first and was exact; the verdict stands in its row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import geometric_mean

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import plots
from benchmarks.compile_time import Compiled, curve, of_model
from benchmarks.measure import SEED, Row, measure
from benchmarks.peers import COMPARED, GOALS, PEERS
from benchmarks.tables import Table, markdown, terminal
from benchmarks.verify_cost import Wire, wall_time, wire
from harness.board import load_board
from harness.compiler.choose import Objective
from harness.errors import HarnessError
from harness.verification import verify

MODELS = Path(__file__).resolve().parent.parent.parent / "shared" / "models"
INTRODUCTION = """# Performance of the main job

`./dev benchmark --markdown docs/performance.md` wrote this page; every figure in it was measured by that run.

Instructions are those of one call of `model_run` from entry to return, as an application pays it, counted in QEMU by
the plugin `harness/profile/tcg_count.c`: exact, the same in every run, and neither cycles nor seconds. Every count
belongs to a firmware that was compared with the oracle layer by layer just before; the verdict stands in its row.
TFLM is TensorFlow Lite Micro with CMSIS-NN, with the same compiler, emulator and counter; see `benchmarks/peers.py`.

Model code is the flash of the model's own functions and of the libraries they call: everything an application links for
the model but its constants.

![instructions against TensorFlow Lite Micro](performance/instructions.svg)

![arena against TensorFlow Lite Micro](performance/arena.svg)

![time of compiling](performance/compile_time.svg)

"""
BOARDS = ("m3", "m4", "m7", "m33", "m55")
TRADED = (("kws", "m4"), ("vww", "m4"), ("resnet", "m4"))


def goals(rows: Sequence[Row]) -> Table:
    """Of each core the mean over the models compared, the worst of them, and the kernel's inner loop."""
    table = Table(
        "Against the goals: instructions as a share of the peer's, and instructions per MAC in the kernel's loop",
        ("core", "geometric mean", "goal", "worst model", "goal", "inner loop", "goal"),
    )
    for board in BOARDS:
        mine = [row for row in rows if row.board == board and row.model in COMPARED]
        # The peer was not measured on the M33; its counts on the M4 stand in, whose instructions it runs.
        peer = {row.model: PEERS[row.model].tflm["m4" if board == "m33" else board] for row in mine}
        ratios = {row.model: row.instructions / peer[row.model] for row in mine}
        loops = [row.inner_loop for row in mine if row.inner_loop is not None]
        if not ratios:
            continue
        worst = max(ratios, key=lambda model: ratios[model])
        goal = GOALS[board]
        table.add(
            board,
            f"{geometric_mean(ratios.values()):.3f}",
            f"{goal.mean:.2f}",
            f"{ratios[worst]:.3f} ({worst})",
            f"{goal.worst:.2f}",
            f"{min(loops):.2f}" if loops else "",
            f"{goal.inner_loop:.2f}",
        )
    return table


def instructions(rows: Sequence[Row]) -> Table:
    table = Table(
        "Instructions of one model_run in QEMU, beside TFLite Micro with CMSIS-NN",
        ("model", "core", "verdict", "instructions", "TFLM", "ratio", "microTVM", "per MAC"),
    )
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        microtvm = PEERS[row.model].microtvm.get(row.board)
        per_mac = f"{row.instructions / row.macs:.2f}" if row.macs else ""
        peer = row.peer_instructions
        table.add(row.model, row.board, row.verdict, row.instructions, peer, ratio, microtvm, per_mac)
    return table


def bytes_(rows: Sequence[Row]) -> Table:
    table = Table(
        "Bytes: code and constants of the model in flash, its arena and its stack, beside TFLite Micro",
        ("model", "core", "model code", "TFLM code", "constants", "arena", "lower bound", "TFLM arena", "stack"),
    )
    for row in rows:
        peer = PEERS[row.model]
        table.add(
            row.model,
            row.board,
            row.model_code_bytes,
            peer.tflm_code,
            row.constant_bytes,
            row.arena_bytes,
            row.arena_lower_bound,
            peer.tflm_arena,
            row.stack_bytes,
        )
    return table


def objectives(rows: Sequence[Row]) -> Table:
    table = Table(
        "What each objective trades, measured",
        ("model", "core", "--optimize", "verdict", "instructions", "model code", "constants", "arena", "stack"),
    )
    for row in rows:
        figures = (row.instructions, row.model_code_bytes, row.constant_bytes, row.arena_bytes, row.stack_bytes)
        table.add(row.model, row.board, row.objective, row.verdict, *figures)
    return table


def compiling(found: Sequence[Compiled]) -> Table:
    table = Table(
        "Seconds of processor time from a graph to C for a Cortex-M4, nothing remembered",
        ("model", "layers", "constants", "seconds", "without proofs", "seconds for 30 layers"),
    )
    for one in found:
        per_30 = f"{30 * one.seconds / one.layers:.2f}"
        figures = (f"{one.seconds:.2f}", f"{one.without_proof:.2f}", per_30)
        table.add(one.name, one.layers, one.constant_bytes, *figures)
    return table


def verifying(times: Mapping[str, Mapping[str, float]], wires: Sequence[Wire]) -> list[Table]:
    time = Table("Seconds of `harness verify` on kws and qemu_cortex_m3, by stage", ("cache", *times["cold"], "total"))
    for name, stages in times.items():
        total = sum(stages.values())
        time.add(name, *(f"{stages[stage]:.2f}" for stage in times["cold"]), f"{total:.2f}")
    line = Table("A transfer of 65,536 bytes over the UART", ("direction", "payload", "sent", "received", "overhead"))
    for each in wires:
        line.add(each.direction, each.payload, each.sent, each.received, f"{each.overhead:.2%}")
    return [time, line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=PEERS, help="repeatable; default: all")
    parser.add_argument("--board", action="append", choices=BOARDS, help="repeatable; default: all")
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="folder of the .tflite files (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="instructions and bytes only")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--markdown", type=Path, help="write the tables there, and pictures beside it")
    options = parser.parse_args()
    models, boards = options.model or list(PEERS), options.board or list(BOARDS)
    rows, traded, compiled = [], [], []
    times: dict[str, Mapping[str, float]] = {}
    wires: tuple[Wire, ...] = ()
    try:
        for model in models:
            for board in boards:
                rows.append(measure(model, options.models / PEERS[model].file, board))
                print(f"{model} on {board}: {rows[-1].verdict}, {rows[-1].instructions:,}", file=sys.stderr)
        if not options.quick:
            traded = [
                measure(model, options.models / PEERS[model].file, board, objective)
                for model, board in TRADED
                if model in models and board in boards
                for objective in Objective
            ]
            compiled = [of_model(model, options.models / PEERS[model].file) for model in models] + curve()
            kws = options.models / PEERS["kws"].file
            times = wall_time(kws)
            m3 = load_board("qemu_cortex_m3")
            wires = wire(verify(kws, m3, seed=SEED).firmware, m3)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    found = [goals(rows), instructions(rows), bytes_(rows)]
    if not options.quick:
        found += [objectives(traded), compiling(compiled), *verifying(times, wires)]
    terminal(found)
    if options.json:
        figures = {
            "rows": list(map(asdict, rows)),
            "objectives": list(map(asdict, traded)),
            "compiling": list(map(asdict, compiled)),
            "seconds": times,
            "wire": list(map(asdict, wires)),
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(INTRODUCTION + markdown(found), encoding="utf-8")
        plots.write(options.markdown.parent / "performance", rows, compiled)
    return 0 if all(row.verdict == "match" for row in (*rows, *traded)) else 1


if __name__ == "__main__":
    sys.exit(main())
