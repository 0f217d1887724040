"""Crashes of firmware that runs as a process of this computer: a sanitizer has already unwound and symbolised them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from harness.compiler.csource import Layer
from harness.debug.crash import Crash, Frame
from harness.debug.layers import LayerMap
from harness.debug.places import NULL_PAGE
from harness.debug.source_files import SourceFiles
from harness.runners.sanitizer import SanitizerFrame, SanitizerReport

_TOOLS = {"undefined-behaviour": "UndefinedBehaviorSanitizer"}
_ABORT = "ABRT"  # of abort() and assert(), and of a program that was told to end and say where it is
_RUNTIME = (
    "__asan", "__ubsan", "__interceptor", "__sanitizer", "__GI_", "__libc_start", "_start",
    "__pthread_kill", "pthread_kill", "raise", "abort",
)  # fmt: skip


def explain_report(
    report: SanitizerReport,
    layers: LayerMap,
    noted_layer: int | None = None,
    files: SourceFiles | None = None,
    *,
    asked: bool = False,
) -> Crash:
    """The crash in a sanitizer's report; `noted_layer` is the layer the firmware last said it ran.

    `asked`: the harness ended the program, because it took too long, and the report says where it was.
    """
    files = files or SourceFiles()
    trace = [frame for frame in _program(report.frames) if not frame.function.startswith(_RUNTIME)]
    null_call = bool(trace) and trace[0].function == "?" and trace[0].pc < NULL_PAGE and report.kind == "SEGV"
    if null_call:
        trace = trace[1:]
    frames = [_frame(frame, layers, files, first=index == 0) for index, frame in enumerate(trace)]
    if not asked:
        address = f", address 0x{report.address:x}" if report.address is not None else ""
        fault = f"{report.kind}{address}"
        frames.insert(0, Frame(_TOOLS.get(report.kind, "AddressSanitizer"), None, None, "pc", None, label=fault))
    layer = layers.number(next((f.layer for f in frames if f.layer is not None), noted_layer))
    title = "call through a null pointer" if null_call else report.sentence.rstrip(".")
    if asked:
        title = "stopped from outside while running"
    where = "" if null_call else _where(frames, asked)
    return Crash(
        kind="halted" if asked else "null_call" if null_call else _kind(report),
        sentence=f"{title[:1].upper()}{title[1:]}{where}{_running(layers, layer)}.",
        address=None if asked else report.address,
        layer=layer.index if layer is not None else noted_layer,
        frames=tuple(frames),
        registers=report.registers,
        title=title,
        notes=("The sanitizer does not show the function that made the call.",) if null_call else (),
    )


def _program(frames: Sequence[SanitizerFrame]) -> Sequence[SanitizerFrame]:
    """Up to `main`: its callers belong to the C library, which has names only where its debug symbols are installed."""
    last = next((index for index, frame in enumerate(frames) if frame.function == "main"), len(frames))
    return frames[: last + 1]


def _kind(report: SanitizerReport) -> str:
    if report.kind == _ABORT:
        return "abort"
    if report.address is not None and report.address < NULL_PAGE:
        return "null_pointer"
    return report.kind.lower().replace("-", "_")


def _where(frames: list[Frame], asked: bool) -> str:
    at = next(iter(frames if asked else frames[1:]), None)
    return "" if at is None else f" in {at.function}" + (f" at {at.place}" if at.place else "")


def _running(layers: LayerMap, layer: Layer | None) -> str:
    return "" if layer is None else f", {layers.label(layer)}"


def _frame(frame: SanitizerFrame, layers: LayerMap, files: SourceFiles, first: bool) -> Frame:
    layer = layers.of(frame.function, frame.file)
    return Frame(
        frame.function if frame.function != "?" else PurePath(frame.file or "?").name,
        files.openable(frame.file) if frame.file else None,
        frame.line,
        "pc" if first else "cfi",
        frame.pc or None,
        label=layers.label(layer) if layer is not None else "",
        layer=layer.index if layer is not None else None,
    )
