"""Pictures of the figures, as SVG files that a document can show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

from benchmarks.compile_time import Compiled
from benchmarks.measure import Row
from benchmarks.peers import COMPARED, GOALS, PEERS

_STYLE: Any = {
    "svg.hashsalt": "layerproof",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def write(folder: Path, rows: Sequence[Row], compiled: Sequence[Compiled]) -> None:
    """instructions.svg, arena.svg and compile_time.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        _instructions(folder / "instructions.svg", rows)
        _arena(folder / "arena.svg", rows)
        if compiled:
            _compile_time(folder / "compile_time.svg", compiled)


def _save(path: Path) -> None:
    plt.tight_layout()
    plt.savefig(path, metadata={"Date": None})
    plt.close()


def _instructions(path: Path, rows: Sequence[Row]) -> None:
    """Bars of the ratio to TFLM, a group for each model."""
    boards = [board for board in ("m3", "m4", "m7", "m55") if any(row.board == board for row in rows)]
    ratios = {(row.model, row.board): row.ratio for row in rows if row.ratio is not None}
    _, axes = plt.subplots(figsize=(8, 3.2))
    width = 0.8 / max(1, len(boards))
    for position, board in enumerate(boards):
        places = [n + (position - (len(boards) - 1) / 2) * width for n in range(len(COMPARED))]
        axes.bar(places, [ratios.get((m, board), 0.0) for m in COMPARED], width, label=f"Cortex-{board.upper()}")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.axhline(max(GOALS[board].mean for board in boards), color="gray", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(COMPARED)), COMPARED)
    axes.set_ylabel("instructions / TFLM's")
    axes.legend(frameon=False, ncols=4, loc="upper right")
    axes.set_title("Executed instructions, TFLite Micro with CMSIS-NN = 1", loc="left")
    _save(path)


def _arena(path: Path, rows: Sequence[Row]) -> None:
    """Bars of the arena in KiB on the Cortex-M4, with TFLM's."""
    mine = {row.model: row.arena_bytes for row in rows if row.board == "m4"}
    shown = [model for model in COMPARED if model in mine]
    _, axes = plt.subplots(figsize=(8, 2.8))
    peer = [(PEERS[model].tflm_arena or 0) / 1024 for model in shown]
    axes.bar([n - 0.2 for n in range(len(shown))], peer, 0.4, label="TFLite Micro", color="lightgray")
    axes.bar([n + 0.2 for n in range(len(shown))], [mine[model] / 1024 for model in shown], 0.4, label="layerproof")
    axes.set_xticks(range(len(shown)), shown)
    axes.set_ylabel("arena, KiB")
    axes.legend(frameon=False)
    axes.set_title("Memory for tensors and scratch, Cortex-M4", loc="left")
    _save(path)


def _compile_time(path: Path, compiled: Sequence[Compiled]) -> None:
    """Seconds over layers, both logarithmic: the chains as a line, the real models as points."""
    chains = [one for one in compiled if one.name.startswith("chain")]
    models = [one for one in compiled if not one.name.startswith("chain")]
    _, axes = plt.subplots(figsize=(8, 3.2))
    layers = [one.layers for one in chains]
    axes.plot(layers, [one.seconds for one in chains], marker="o", label="chain of convolutions")
    axes.plot(layers, [one.without_proof for one in chains], marker=".", linestyle=":", label="without proofs")
    axes.plot([3, 1000], [0.1, 1000 / 30], color="gray", linewidth=0.8, linestyle="--", label="1 s per 30 layers")
    axes.scatter([one.layers for one in models], [one.seconds for one in models], color="black", zorder=3)
    for one in models:
        axes.annotate(one.name, (one.layers, one.seconds), textcoords="offset points", xytext=(5, 3), fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("layers")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False)
    axes.set_title("From a model to C, nothing remembered", loc="left")
    _save(path)
