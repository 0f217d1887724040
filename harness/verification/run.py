"""The stages of a verification, top to bottom: load, ask the oracle, compile, build, boot, run, judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness import firmware as firmware_module
from harness.board import Board, load_board
from harness.compiler import compile_model, load_sources
from harness.compiler.choose import Objective
from harness.compiler.csource import CSource
from harness.compiler.frontends import load_model
from harness.compiler.graph import Graph
from harness.cpustate import MemorySpan
from harness.debug.compare import Progress, compare
from harness.debug.comparison import Comparison, nothing_ran
from harness.debug.crash import Crash
from harness.debug.image import Image
from harness.debug.memory import live_memory
from harness.debug.stops import explain_stop
from harness.errors import BadInput, system_refusals
from harness.firmware import Firmware
from harness.oracle import Consultation, Expected, Tolerance, default_name, draw_inputs, load_inputs
from harness.session import Session, open_session
from harness.verdict import TargetStopped
from harness.verification.artifacts import Artifacts
from harness.verification.report import Report, Settings


@system_refusals()
def verify(
    path: Path | str,
    board: Board | Path | str,
    *,
    samples: int | None = None,
    seed: int = 0,
    inputs: Path | str | None = None,
    oracle: str | None = None,
    isolated: bool = False,
    sources: Path | str | None = None,
    without: Collection[str] = (),
    artifacts: Path | str | None = None,
    url: str | None = None,
    objective: Objective = Objective.BALANCED,
    level: str = "-O2",
    timeout: float | None = None,
    tolerance: Tolerance | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run the model at `path` on `board` and compare every layer with an oracle.

    `inputs` is an .npz file of input_0, input_1 …, each (samples, *input shape) in the input's dtype; without it
    `samples` (default 1) inputs are drawn from `seed`. With it, `samples` takes only the first so many. `oracle` is a
    name or file as `harness.oracle` describes, by default the best one installed. `sources` is a directory that
    `harness compile` wrote, perhaps edited since. `isolated` feeds every layer the inputs it should get. `url` names a
    serial port or pyserial URL. `objective` is what the compiler optimises for, `without` names passes of it to leave
    out, `level` how far gcc goes; `timeout` is in seconds per layer. `artifacts` is a folder, or a file
    called ….zip, for the bundle that the run leaves.

    What happens on the target, a crash and a lost emulator included, is in the report. Raises HarnessError for what
    keeps it from getting there: BadInput and its kinds, OracleFailed, ToolMissing, ToolFailed, RunnerFailed.
    """
    clock = _Clock(progress or (lambda what, done, total: None))
    where = board if isinstance(board, Board) else load_board(board)
    if sources is not None and without:
        raise BadInput("sources and passes to leave out: the folder was made with or without them already")
    model = Path(path)
    with ExitStack() as stack:
        folder = stack.enter_context(Artifacts(Path(artifacts))) if artifacts is not None else None
        with clock.stage("load"):
            graph = load_model(model)
            arrays = _inputs(graph, inputs, samples, seed)
        settings = Settings(
            model=model,
            board=where.name if isinstance(board, Board) else str(board),
            oracle=oracle or default_name(),
            samples=arrays[0].shape[0] if arrays else 1,
            seed=seed,
            inputs=Path(inputs) if inputs is not None else None,
            url=url,
            isolated=isolated,
            sources=Path(sources) if sources is not None else None,
            objective=objective,
            without=tuple(sorted(without)),
            level=level,
            timeout=timeout,
            tolerance=tolerance or Tolerance(),
        )
        return _verified(settings, where, graph, arrays, folder, clock)


def _verified(
    settings: Settings,
    board: Board,
    graph: Graph,
    inputs: tuple[np.ndarray, ...],
    folder: Artifacts | None,
    clock: _Clock,
) -> Report:
    if folder is not None:
        folder.model(settings.model)
        folder.inputs(inputs)
    # The oracle works in processes of its own while this one compiles and builds.
    with Consultation(settings.oracle, settings.model, graph, inputs, tolerance=settings.tolerance) as consultation:
        with clock.stage("compile"):
            source = _source(settings, board)
        if folder is not None:
            folder.sources(source)
        with clock.stage("build"):
            firmware = firmware_module.build(source, board, level=settings.level)
        if folder is not None:
            folder.firmware(firmware)
        with clock.stage("oracle"):
            expected = consultation.expected()
    report = _Run(settings, firmware, expected, inputs, clock).report()
    if folder is not None:
        report = replace(report, artifacts=folder.path)
        folder.results(report)
    return report


def run_firmware(
    settings: Settings,
    firmware: Firmware,
    expected: Expected,
    inputs: Sequence[np.ndarray],
    *,
    progress: Progress | None = None,
) -> Report:
    """The last stages alone: boot an image that is there, run it, judge it. Raises what `open_session` does."""
    return _Run(settings, firmware, expected, inputs, _Clock(progress or (lambda what, done, total: None))).report()


def _inputs(graph: Graph, path: Path | str | None, samples: int | None, seed: int) -> tuple[np.ndarray, ...]:
    if path is None:
        return draw_inputs(graph, seed, 1 if samples is None else samples)
    arrays = load_inputs(Path(path), graph)
    if samples is None or not arrays:
        return arrays
    if not 1 <= samples <= arrays[0].shape[0]:
        raise BadInput(f"{samples} samples were asked for; the file holds {arrays[0].shape[0]}", where=str(path))
    return tuple(array[:samples] for array in arrays)


def _source(settings: Settings, board: Board) -> CSource:
    if settings.sources is not None:
        return load_sources(settings.model, settings.sources, board.target)
    return compile_model(settings.model, board.target, objective=settings.objective, without=settings.without)


class _Clock:
    """Seconds by stage, and the news that a stage begins."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.timings: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress(name, 0, 1)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start


class _Run:
    """Boots the firmware and compares; whatever stops it ends up in the report."""

    def __init__(
        self,
        settings: Settings,
        firmware: Firmware,
        expected: Expected,
        inputs: Sequence[np.ndarray],
        clock: _Clock,
    ) -> None:
        self.settings = settings
        self.firmware = firmware
        self.expected = expected
        self.inputs = inputs
        self.clock = clock
        self.crash: Crash | None = None
        self.left: tuple[MemorySpan, ...] = ()

    def report(self) -> Report:
        limits = {} if self.settings.timeout is None else {"timeout": self.settings.timeout}
        session = open_session(self.firmware, self.firmware.board, self.settings.url, **limits)
        comparison = self._comparison(session)
        return Report(
            settings=self.settings,
            source=self.firmware.source,
            firmware=self.firmware,
            expected=self.expected,
            comparison=comparison,
            crash=self.crash,
            left=self.left,
            timings=self.clock.timings,
            inputs=tuple(self.inputs),
            traffic=session.traffic,
            log=tuple(session.log),
        )

    def _comparison(self, session: Session) -> Comparison:
        with ExitStack() as stack:
            try:
                with self.clock.stage("boot"):
                    stack.enter_context(session)
            except TargetStopped as stopped:
                self._explain(stopped, None)
                return nothing_ran(self.firmware.source, stopped)
            with self.clock.stage("run"):
                return compare(
                    session,
                    self.firmware.source,
                    self.expected,
                    self.inputs,
                    tolerance=self.settings.tolerance,
                    isolated=self.settings.isolated,
                    on_stop=lambda stopped: self._explain(stopped, session.read_memory),
                    progress=self.clock.progress,
                )

    def _explain(self, stopped: TargetStopped, read_memory: Callable[[int, int], bytes] | None) -> None:
        """Say in words what stopped the target, while what is left of it can still be asked."""
        edited = [self.settings.sources] if self.settings.sources is not None else []
        self.crash = explain_stop(
            stopped,
            self.firmware.elf,
            source=self.firmware.source,
            read_memory=read_memory,
            search=edited,
            board=self.firmware.board,
        )
        if stopped.state is not None and read_memory is not None and self.firmware.board.cpu.core != "host":
            self.left = live_memory(Image(self.firmware.elf), read_memory)
