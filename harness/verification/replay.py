"""A kept run, run once more: the same image, the same inputs, the same board, and whether the same comes of it.

What has to be the same is the verdict; of every layer its status and how far it is off; the outputs; and of a crash the
kind, the address, all registers and the chain of calls. Three things cannot be the same and are left out. A target that
was halted because it did not return stood anywhere in its loop. A program of the host has other addresses each time.
The words of an infrastructure failure are of that moment.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.board import HostRun
from harness.debug.compare import Progress
from harness.errors import BadInput, system_refusals
from harness.verdict import Verdict
from harness.verification.artifacts import portable
from harness.verification.bundle import Bundle
from harness.verification.report import Report, Settings
from harness.verification.run import run_firmware
from harness.verification.versions import versions

_LAYER = ("status", "mismatches", "max_abs_diff", "sample")
_OUTPUT = ("crc32", "mismatches", "max_abs_diff")
_FRAME = ("function", "file", "line", "via", "inlined")
_STOP = ("layer", "sample")
_UNTOLD = ("harness", "python", "gcc", "platform")  # had no part in what is run again


@dataclass(frozen=True)
class Deviation:
    """Something that came out differently."""

    what: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.what}: then {_shown(self.then)}, now {_shown(self.now)}"


@dataclass(frozen=True)
class Replay:
    bundle: Bundle
    then: Mapping[str, Any]  # the kept report
    report: Report  # of now
    deviations: tuple[Deviation, ...]
    versions: tuple[Deviation, ...]  # of what has a part in a replay and is not the same as then
    other_versions: tuple[Deviation, ...]  # of what has none
    changed: tuple[str, ...]  # files of the bundle that somebody changed

    @property
    def reproduced(self) -> bool:
        return not self.deviations

    def to_json(self) -> dict[str, Any]:
        return {
            "reproduced": self.reproduced,
            "verdict": self.report.verdict.value,
            "verdict_then": self.then["verdict"],
            "deviations": [asdict(deviation) for deviation in self.deviations],
            "versions": [asdict(deviation) for deviation in (*self.versions, *self.other_versions)],
            "changed": list(self.changed),
            "report": portable(self.report),
        }


@system_refusals()
def replay(bundle: Bundle, *, url: str | None = None, trust: bool = False, progress: Progress | None = None) -> Replay:
    """Run what `bundle` keeps once more.

    `url` is the port that a board is behind. A bundle of the board host is a program of this machine: it is run only
    with `trust`. BadInput: it is damaged, or not trusted. What happens on the target is in the report.
    """
    graph, board, kept = bundle.graph(), bundle.board(), bundle.manifest.settings
    then = bundle.report()
    if isinstance(board.runner, HostRun) and url is None and not trust:
        raise BadInput(
            "it holds a program for this machine itself, which would run with all your rights",
            where=bundle.shown,
            hint="If you know where it comes from, give --trust.",
        )
    settings = Settings(
        model=bundle.model,
        board=str(bundle.board_file),
        oracle=kept.oracle,
        samples=kept.samples,
        seed=kept.seed,
        inputs=bundle.folder / "inputs.npz" if kept.given_inputs else None,
        url=url,
        isolated=kept.isolated,
        sources=bundle.sources,
        objective=kept.objective,
        without=kept.without,
        level=kept.level,
        timeout=kept.timeout,
        tolerance=kept.judged_by,
    )
    firmware = bundle.firmware(board, graph)
    if isinstance(board.runner, HostRun) and url is None:
        firmware.elf.chmod(firmware.elf.stat().st_mode | stat.S_IXUSR)  # no archive makes a program of a file by itself
    report = run_firmware(settings, firmware, bundle.expected(graph), bundle.inputs(graph), progress=progress)
    before, now = bundle.manifest.versions, versions(board, kept.oracle)
    told = [
        Deviation(name, before.get(name), now.get(name))
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    return Replay(
        bundle,
        then,
        report,
        tuple(differences(then, portable(report), addresses=not isinstance(board.runner, HostRun))),
        tuple(each for each in told if each.what not in _UNTOLD),
        tuple(each for each in told if each.what in _UNTOLD),
        tuple(bundle.changed()),
    )


def differences(then: Mapping[str, Any], now: Mapping[str, Any], *, addresses: bool) -> Iterator[Deviation]:
    """Where two reports of one image differ, of what has to be the same. `addresses`: those are, too."""
    yield from _pair("verdict", then.get("verdict"), now["verdict"])
    layers = _list(then, "layers")
    if len(layers) != len(now["layers"]):
        yield Deviation("number of layers", len(layers), len(now["layers"]))
    for old, new in zip(layers, now["layers"], strict=False):
        yield from _fields(f"layer {new['index']} ({new['name']})", old, new, _LAYER)
    outputs = _list(then, "outputs")
    if len(outputs) != len(now["outputs"]):
        yield Deviation("number of outputs", len(outputs), len(now["outputs"]))
    for old, new in zip(outputs, now["outputs"], strict=False):
        yield from _fields(f"output {new['name']}", old, new, _OUTPUT)
    yield from _pair("model_run as its layers", then.get("whole_model_agrees"), now["whole_model_agrees"])
    yield from _fields("stopped", then.get("stopped"), now["stopped"], _STOP)
    timeout = Verdict.TIMEOUT.value in (then.get("verdict"), now["verdict"])
    yield from _crash(then.get("crash"), now["crash"], addresses=addresses, anywhere=timeout)


def _crash(then: Any, now: Any, *, addresses: bool, anywhere: bool) -> Iterator[Deviation]:
    """`anywhere`: the target was halted from outside, so only the layer counts."""
    yield from _fields("crash", then, now, ("kind", "layer"))
    if not isinstance(then, dict) or not isinstance(now, dict) or anywhere:
        return
    if addresses:
        yield from _pair("crash address", then.get("address"), now["address"])
        for group in ("registers", "fault_status"):
            values = _dictionary(then, group)
            yield from _fields(group.replace("_", " "), values, now[group], sorted({*values, *now[group]}))
    frames = _list(then, "frames")
    for number in range(max(len(frames), len(now["frames"]))):
        old, new = (each[number] if number < len(each) else None for each in (frames, now["frames"]))
        yield from _fields(f"frame {number}", old, new, (*_FRAME, "pc") if addresses else _FRAME)


def _fields(what: str, then: Any, now: Any, names: tuple[str, ...] | list[str]) -> Iterator[Deviation]:
    if not isinstance(then, dict) or not isinstance(now, dict):
        yield from _pair(what, then, now)
        return
    for name in names:
        yield from _pair(f"{what}, {name}", then.get(name), now.get(name))


def _pair(what: str, then: Any, now: Any) -> Iterator[Deviation]:
    if then != now:
        yield Deviation(what, then, now)


def _list(report: Mapping[str, Any], name: str) -> list[Any]:
    """A list that somebody may have edited."""
    found = report.get(name)
    return found if isinstance(found, list) else []


def _dictionary(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = report.get(name)
    return found if isinstance(found, dict) else {}


def _shown(value: Any) -> str:
    """A value in a sentence: addresses and registers in hexadecimal."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return next((str(value[key]) for key in ("kind", "function", "status", "layer") if value.get(key)), "something")
    return f"0x{value:08x}" if isinstance(value, int) and value > 0xFFFF else str(value)
