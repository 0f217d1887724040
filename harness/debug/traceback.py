"""What is known of a crash: the chain of calls, and all there is to say beside it.

Crash = kind, sentence, address?, layer?, frames: Frame*, registers, fault_status, …
Frame = function, file?, line?, via, pc?, variables: Variable*, …
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePath
from typing import Any

from harness.debug.dwarf.variables import Variable
from harness.debug.listing import Listing
from harness.debug.places import Place
from harness.debug.tensors import LayerTensor, Overrun
from harness.debug.unwinding.unwind import Via

Cells = tuple[str, str, str, str]  # of one row of a traceback: number, function, place, label
_LONGEST_RUN = 6  # equal lines of a traceback that are all shown


@dataclass(frozen=True)
class Frame:
    """One line of the traceback. The first one of a fault is the fault itself, and names the handler that took it."""

    function: str
    file: str | None  # the path the user can open
    line: int | None
    via: Via  # pc, lr, cfi: certain; scan: a guess from the words on the stack
    pc: int | None  # for a caller its return address
    inlined: bool = False  # the compiler merged this function into the next one of the list
    label: str = ""  # what there is to say beside the place: the fault, the layer
    layer: int | None = None  # index of the layer whose code this is
    variables: tuple[Variable, ...] = ()  # arguments first; none for a frame that is a guess

    @property
    def place(self) -> str:
        """File name and line, short; empty when there is none."""
        if self.file is None:
            return ""
        return PurePath(self.file).name + (f":{self.line}" if self.line is not None else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "function": self.function,
            "file": self.file,
            "line": self.line,
            "via": self.via,
            "pc": self.pc,
            "inlined": self.inlined,
            "label": self.label,
            "layer": self.layer,
            "variables": [variable.to_json() for variable in self.variables],
        }


@dataclass(frozen=True)
class RunningLayer:
    """The layer that was running, with what it works on."""

    index: int
    name: str  # the C function
    op: str
    label: str  # with the model's own name for it
    tensors: tuple[LayerTensor, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "name": self.name,
            "op": self.op,
            "label": self.label,
            "tensors": [tensor.to_json() for tensor in self.tensors],
        }


@dataclass(frozen=True)
class Crash:
    kind: str  # one word for machines
    sentence: str  # for people, one paragraph
    address: int | None  # that was touched or jumped to
    layer: int | None  # index of the layer that was running
    frames: tuple[Frame, ...]  # innermost first
    registers: Mapping[str, int] = field(default_factory=dict)
    fault_status: Mapping[str, int] = field(default_factory=dict)
    title: str = ""  # the kind as a phrase
    status_bits: tuple[str, ...] = ()  # each status bit that is set, with what it means
    notes: tuple[str, ...] = ()  # what is doubtful about all this
    fingerprint: str | None = None  # the same for every crash of one bug; None for what is no bug's doing
    place: Place | None = None  # what lies at `address`
    overrun: Overrun | None = None  # the tensor whose bounds the access to `address` left
    running: RunningLayer | None = None  # the layer in full, where the model is known
    listings: tuple[Listing, ...] = ()  # source and instructions of the frames that matter most, innermost first
    register_places: Mapping[str, str] = field(default_factory=dict)  # what a core register points to, if to anything

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "address": self.address,
            "layer": self.layer,
            "frames": [frame.to_json() for frame in self.frames],
            "registers": dict(self.registers),
            "fault_status": dict(self.fault_status),
            "title": self.title,
            "status_bits": list(self.status_bits),
            "notes": list(self.notes),
            "fingerprint": self.fingerprint,
            "place": None if self.place is None else {"kind": self.place.kind, "text": self.place.text},
            "overrun": None if self.overrun is None else self.overrun.to_json(),
            "running_layer": None if self.running is None else self.running.to_json(),
            "listings": [listing.to_json() for listing in self.listings],
            "register_places": dict(self.register_places),
        }

    def rows(self) -> list[tuple[Frame, Cells]]:
        """The traceback as a table, each row with the frame it stands for. Long runs of one recursion are shortened."""
        rows: list[tuple[Frame, Cells]] = []
        number = 0
        for shown, run in groupby(self.frames, key=lambda f: (f.function, f.place, f.label)):
            frames = list(run)
            kept = frames if len(frames) <= _LONGEST_RUN else frames[:2]
            rows += [(frame, (f"#{number + i}", *shown)) for i, frame in enumerate(kept)]
            if len(kept) < len(frames):
                rows.append((frames[2], ("…", f"{len(frames) - len(kept)} more of {shown[0]}", "", "")))
            number += len(frames)
        return rows

    def lines(self) -> list[str]:
        """The traceback as plain text, and the sentence and the notes after it."""
        rows = [cells for _, cells in self.rows()]
        function = max((len(row[1]) for row in rows), default=0)
        place = max((len(row[2]) for row in rows), default=0)
        shown = [f"  {n:<3} {f:<{function}}  {p:<{place}}  {label}".rstrip() for n, f, p, label in rows]
        return ["Traceback (most recent call first):", *shown, self.sentence, *self.notes]
