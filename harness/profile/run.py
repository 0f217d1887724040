"""The stages of a profile, top to bottom: load, compile, build, count."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from harness import firmware as firmware_module
from harness.board import Board, HostRun, load_board
from harness.compiler import compile_model, load_sources
from harness.compiler.choose import Objective
from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph
from harness.debug.crash import Crash
from harness.debug.stops import explain_stop
from harness.errors import BadInput, HarnessError, system_refusals
from harness.oracle import draw_inputs, load_inputs
from harness.profile.cycle_counter import CycleCounter
from harness.profile.footprint import footprints, model_code
from harness.profile.measurement import Counter
from harness.profile.renode_counter import RenodeCounter
from harness.profile.result import Profile
from harness.profile.tcg_counter import TcgCounter
from harness.profile.timing_tables import timing_for
from harness.runners import runner_for
from harness.runners.qemu import QemuRunner
from harness.runners.renode import RenodeRunner
from harness.session import LAYER_SECONDS, Session
from harness.toolchain.gcc import compiler
from harness.verdict import TargetStopped

Progress = Callable[[str, int, int], None]  # (stage, steps done, steps in all)


class DidNotReturn(HarnessError):
    """The firmware crashed, locked up or ran out of time while it was counted; `exit_code` tells which."""

    def __init__(self, stopped: TargetStopped, crash: Crash | None, command: Sequence[str]) -> None:
        layer = "" if crash is None or crash.layer is None else f" in layer {crash.layer}"
        super().__init__(
            f"{stopped.verdict.value}{layer} while it was counted: {stopped.what if crash is None else crash.sentence}",
            hint=f"All there is to say of it: {shlex.join(command)}",
        )
        self.exit_code = stopped.verdict.exit_code


@system_refusals()
def profile(
    path: Path | str,
    board: Board | Path | str,
    *,
    seed: int = 0,
    inputs: Path | str | None = None,
    sources: Path | str | None = None,
    objective: Objective = Objective.BALANCED,
    without: Collection[str] = (),
    url: str | None = None,
    timing: str | None = None,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> Profile:
    """What one call of `model_run` of the model at `path` costs on `board`, by layer and by function.

    `inputs` is an .npz file as for `verify`, of which the first sample is taken; without it one is drawn from `seed`.
    `sources` is a directory that `harness compile` wrote, perhaps edited since. `objective` is what the compiler
    optimises for, `without` names passes of it to leave out. `url` names a serial port: there cycles are counted by the
    core itself. `timing` names the table of cycles (see `timing_tables`), by default the core's own; `timeout` is in
    seconds per layer.

    Raises HarnessError: BadInput for the board `host`, which nothing counts on; DidNotReturn when the firmware stopped.
    """
    report = progress or (lambda stage, done, total: None)
    where = board if isinstance(board, Board) else load_board(board)
    counter = counter_for(where, url, timing, LAYER_SECONDS if timeout is None else timeout)
    model = Path(path)
    report("load", 0, 1)
    graph = load_model(model)
    values, origin = _inputs(graph, inputs, seed)
    report("compile", 0, 1)
    if sources is None:
        source = compile_model(model, where.target, objective=objective, without=without)
    else:
        source = load_sources(model, sources, where.target)
    report("build", 0, 1)
    firmware = firmware_module.build(source, where)
    report("count", 0, 1)
    try:
        measurement = counter.measure(firmware, values)
    except TargetStopped as stopped:
        again = ["harness", "verify", str(model), "--board", where.name if isinstance(board, Board) else str(board)]
        again += [] if sources is None else ["--sources", str(sources)]
        crash = explain_stop(stopped, firmware.elf, source=source, board=firmware.board)
        raise DidNotReturn(stopped, crash, again) from stopped
    return Profile(
        model=model,
        model_sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
        firmware=firmware,
        counter=counter.name,
        compiler=compiler(where).release,
        inputs=origin,
        measurement=measurement,
        footprints=footprints(firmware),
        code=model_code(firmware),
        timing=timing_for(where, timing) if isinstance(counter, TcgCounter) else None,
    )


def counter_for(
    board: Board, url: str | None = None, timing: str | None = None, timeout: float = LAYER_SECONDS
) -> Counter:
    """What counts on `board`. BadInput: nothing does, or `timing` names no table that fits."""
    table = timing_for(board, timing)
    if isinstance(board.runner, HostRun):
        raise BadInput(
            "nothing counts on the board host: it runs native code under sanitizers",
            hint="Take an emulated board, such as --board qemu_cortex_m3; `harness boards` lists them.",
        )
    runner = runner_for(board, url)
    if isinstance(runner, QemuRunner):
        return TcgCounter(runner, table, timeout)
    if isinstance(runner, RenodeRunner):
        return RenodeCounter(runner, timeout)
    return CycleCounter(lambda firmware: Session(firmware, runner, timeout=timeout))


def _inputs(graph: Graph, path: Path | str | None, seed: int) -> tuple[Sequence[np.ndarray], dict[str, object]]:
    """One array for each input of the model, and where they come from."""
    origin: dict[str, object] = {"seed": seed}
    if path is None:
        arrays = draw_inputs(graph, seed, 1)
    else:
        arrays = load_inputs(Path(path), graph)
        joined = b"".join(array[0].tobytes() for array in arrays)
        origin = {"sha256": hashlib.sha256(joined).hexdigest()}
    shapes = [graph.tensor(tensor).shape for tensor in graph.inputs]
    return [array[0].reshape(shape) for array, shape in zip(arrays, shapes, strict=True)], origin
