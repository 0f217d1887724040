"""`harness demo`: the main job on the bundled model, then the two things it is for: a miscompile and a crash, found."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from harness.board import load_board
from harness.compiler import compile_model
from harness.compiler.csource import CSource, Layer
from harness.compiler.export import c_directory
from harness.debug.comparison import Status
from harness.errors import CompilerBug, ExitCode
from harness.report.console import headline, memory_line
from harness.report.layer_table import layer_table
from harness.report.progress import shown
from harness.report.traceback import traceback_text
from harness.resources import models_dir
from harness.seeding import UNMAPPED, Edit, crash, miscompile
from harness.verdict import Verdict
from harness.verification import Report, verify

MODEL = "keywords_int8.tflite"
BOARD = "qemu_cortex_m3"
SEED = 1
STEPS = 120  # how far the zero point is moved: enough that the error reaches the model's output


@dataclass(frozen=True)
class Step:
    """One act of the demo: what was run and what is wrong with its outcome; nothing, if all is as it should be."""

    name: str
    report: Report
    complaints: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"step": self.name, "complaints": list(self.complaints), "report": self.report.to_json()}


@dataclass(frozen=True)
class Demo:
    steps: tuple[Step, ...]

    @property
    def ok(self) -> bool:
        """Whether every outcome was the expected one."""
        return not any(step.complaints for step in self.steps)

    @property
    def exit_code(self) -> ExitCode:
        """When something else came out the harness is at fault, not the model."""
        return ExitCode.MATCH if self.ok else ExitCode.INFRASTRUCTURE

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "steps": [step.to_json() for step in self.steps]}


def run(console: Console) -> Demo:
    """Runs the three acts and prints them. Raises HarnessError for what keeps an act from being run."""
    demo = Demo(tuple(acts(console)))
    console.print()
    for step in demo.steps:
        for complaint in step.complaints:
            console.print(Text(f"{step.name}: {complaint}", style="bold red"))
    if demo.ok:
        console.print(Text("All three came out as they should. Now your own model:", style="bold"))
        console.print(Text(f"    harness verify MODEL.tflite --board {BOARD}"))
    return demo


def acts(console: Console) -> Iterator[Step]:
    """The three acts one by one, each printed when it is through."""
    model = models_dir() / MODEL
    _title(console, f"1. {MODEL} on an emulated Cortex-M3, layer by layer")
    report = _verified(console, model)
    console.print(layer_table(report, console.width), "", memory_line(report), headline(report), sep="\n")
    yield Step("verify", report, _differs("the verdict", report.verdict, Verdict.MATCH))

    source = compile_model(model, load_board(BOARD).target, check=False)
    wrong_layer, crashing_layer = _middle_layers(source)

    _title(console, "2. One number in the generated C is changed. Which layer is wrong?")
    wrong = miscompile(source, wrong_layer, by=STEPS)
    report = _verified_with(console, model, wrong)
    console.print(layer_table(report, console.width), "", headline(report), sep="\n")
    yield Step("miscompile", report, _judge_miscompile(report, wrong.layer))

    _title(console, "3. One more line in the generated C reads where there is no memory. Where did it crash?")
    crashing = crash(source, crashing_layer)
    report = _verified_with(console, model, crashing)
    if report.crash is not None:
        console.print(traceback_text(report.crash), "", sep="\n")
    console.print(headline(report))
    yield Step("crash", report, _judge_crash(report, crashing))


def _title(console: Console, text: str) -> None:
    console.print()
    console.rule(Text(text, style="bold"), align="left")
    console.print()


def _middle_layers(source: CSource) -> tuple[Layer, Layer]:
    """A convolution and the depthwise one after it, with layers before and behind them."""
    pairs = zip(source.layers[1:], source.layers[2:], strict=False)
    fitting = [pair for pair in pairs if [layer.op for layer in pair] == ["CONV_2D", "DEPTHWISE_CONV_2D"]]
    if not fitting:
        raise CompilerBug("the bundled model no longer has a convolution followed by a depthwise one", where=MODEL)
    return fitting[len(fitting) // 2]


def _verified_with(console: Console, model: Path, edit: Edit) -> Report:
    console.print(Text(f"{edit.layer.file}, line {edit.line}:"))
    console.print(
        Syntax("\n".join(str(edit).splitlines()[1:]), "diff", theme="ansi_dark", word_wrap=True), "", sep="\n"
    )
    with tempfile.TemporaryDirectory(prefix="layerproof-demo-") as folder:
        c_directory.write(edit.source, Path(folder))
        return _verified(console, model, Path(folder))


def _verified(console: Console, model: Path, sources: Path | None = None) -> Report:
    with shown(console, f"{model.name} on {BOARD}") as progress:
        return verify(model, BOARD, seed=SEED, sources=sources, progress=progress)


def _judge_miscompile(report: Report, layer: Layer) -> tuple[str, ...]:
    """The edited layer is local, those before it match, and it shows in every one behind it."""
    complaints = [*_differs("the verdict", report.verdict, Verdict.MISMATCH)]
    for result in report.comparison.layers:
        index = result.layer.index
        if index < layer.index:
            expected = Status.MATCH
        elif index == layer.index:
            expected = Status.LOCAL
        else:
            expected = Status.PROPAGATED
        complaints += _differs(f"layer {index}", result.status, expected)
    return tuple(complaints)


def _judge_crash(report: Report, edit: Edit) -> tuple[str, ...]:
    complaints = [*_differs("the verdict", report.verdict, Verdict.CRASH)]
    if report.crash is None:
        return (*complaints, "there is no crash report")
    complaints += _differs("the layer", report.crash.layer, edit.layer.index)
    complaints += _differs("the address", report.crash.address, UNMAPPED)
    frame = next((frame for frame in report.crash.frames if frame.function == edit.layer.name), None)
    if frame is None:
        return (*complaints, f"the traceback has no frame of {edit.layer.name}")
    complaints += _differs("the file", Path(frame.file or "").name, Path(edit.layer.file).name)
    complaints += _differs("the line", frame.line, edit.line)
    callers = [caller.function for caller in report.crash.frames]
    complaints += [] if "main" in callers else [f"the traceback does not reach main: {', '.join(map(str, callers))}"]
    return tuple(complaints)


def _differs(what: str, is_: object, expected: object) -> tuple[str, ...]:
    return () if is_ == expected else (f"{what} is {_plain(is_)}, not {_plain(expected)}",)


def _plain(value: object) -> object:
    return value.value if isinstance(value, (Verdict, Status)) else value
