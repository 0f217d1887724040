"""Why a target stopped: in words, with the chain of calls that led there and the layer of the model it was in.

    Crash = kind, sentence, address?, layer?, frames: Frame*, registers, fault_status

`explain` makes one from the state of a stopped processor; `harness.debug.stops` from whatever a run raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

from harness.compiler.csource import CSource, Layer
from harness.cpustate import CpuState
from harness.debug.cfi import CallFrames
from harness.debug.faults import Diagnosis, diagnose, handler_name
from harness.debug.image import Image
from harness.debug.layers import LayerMap
from harness.debug.listed import with_listed
from harness.debug.memory import Memory, ReadTarget
from harness.debug.places import AddressMap
from harness.debug.symbolise import Symboliser
from harness.debug.unwind import Chain, StackFrame, Unwinder, Via

Cells = tuple[str, str, str, str]  # of one row of a traceback: number, function, place, label
_NOT_ARM = Chain((), "this is no program for a Cortex-M")
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


def explain(
    state: CpuState,
    firmware_elf: Path | Image,
    *,
    source: CSource | None = None,
    layers: Sequence[Layer] = (),
    read_memory: ReadTarget | None = None,
    search: Sequence[Path] = (),
    listed: Sequence[int] = (),
) -> Crash:
    """What stopped the processor whose state this is.

    `source` (or `layers` alone) maps functions to layers and arena addresses to tensors. `read_memory(address, bytes)`
    reads what the state does not hold, while the target still answers. `search` are folders with the user's own copies
    of the sources; that of the ELF file comes after them. `listed` are return addresses that the target itself found on
    its stack, innermost first. An `Image` may be given for several crashes of one firmware. Raises BadInput when
    `firmware_elf` is no ELF file, and nothing else: a state may be garbage.
    """
    image = firmware_elf if isinstance(firmware_elf, Image) else Image(firmware_elf)
    return _Explanation(state, image, LayerMap(layers, source), source, read_memory, search, listed).crash()


@lru_cache(maxsize=2)
def _call_frames(image: Image) -> CallFrames:
    return CallFrames(image)


@lru_cache(maxsize=2)
def _symboliser(image: Image, search: tuple[Path, ...]) -> Symboliser:
    return Symboliser(image, search)


class _Explanation:
    def __init__(
        self,
        state: CpuState,
        image: Image,
        layers: LayerMap,
        source: CSource | None,
        read_memory: ReadTarget | None,
        search: Sequence[Path],
        listed: Sequence[int],
    ) -> None:
        self.state = state
        self.image = image
        self.layers = layers
        self.memory = Memory(image, state.memory, read_memory)
        self.symbols = _symboliser(image, (*search, image.path.parent))
        self.source = source
        self.listed = frozenset(address & ~1 for address in listed)
        self.chain = _NOT_ARM
        if image.is_arm:
            unwound = Unwinder(image, self.memory, _call_frames(image)).unwind(state)
            self.chain = with_listed(unwound, listed, state, image, self.memory)
        self.diagnosis = diagnose(
            state.fault_status,
            state.registers,
            reason=state.reason,
            code=self.memory.code,
            has_status=bool(state.fault_status) and image.has_fault_status,
        )

    def crash(self) -> Crash:
        frames = tuple(self._frames())
        layer = self._layer(frames)
        places = AddressMap(self.image, self.source, layer)
        found = _refined(self.diagnosis, places, self.state)
        fault = self._fault_row(found)
        return Crash(
            kind=found.kind,
            sentence=" ".join(_sentences(found, places, self.state.registers.get("sp"), frames, self.layers, layer)),
            address=found.address,
            layer=layer.index if layer is not None else self.state.layer,
            frames=(fault, *frames) if fault is not None else frames,
            registers=dict(self.state.registers),
            fault_status=dict(self.state.fault_status),
            title=found.title,
            status_bits=tuple(f"{bit.register}.{bit.name}: {bit.sentence}" for bit in found.bits),
            notes=tuple(_notes(self.state, self.chain, frames, layer)),
        )

    def _fault_row(self, found: Diagnosis) -> Frame | None:
        """The fault itself; None for a processor that was stopped from outside."""
        handler = "lockup" if found.kind == "lockup" else handler_name(self.state.reason)
        if handler is None and (found.kind in ("halted", "assertion")):
            return None
        address = f", address 0x{found.address:08x}" if found.address is not None else ""
        return Frame(handler or "fault", None, None, "pc", None, label=f"{found.title}{address}")

    def _frames(self) -> Iterator[Frame]:
        for step in self.chain.frames:
            places = self.symbols.at(step.inside)
            if not places:
                yield Frame(f"0x{step.pc:08x}", None, None, step.via, step.pc, label=self._label(None, step))
            for place in places:
                function = place.function or f"0x{step.pc:08x}"
                layer = self.layers.of(function, place.file)
                yield Frame(
                    function,
                    place.file,
                    place.line,
                    step.via,
                    step.pc,
                    place.inlined,
                    self._label(layer, step),
                    layer.index if layer is not None else None,
                )

    def _label(self, layer: Layer | None, step: StackFrame) -> str:
        parts = [self.layers.label(layer)] if layer is not None else []
        return ", ".join([*parts, f"guessed from {self._origin(step)}"] if step.via == "scan" else parts)

    def _origin(self, step: StackFrame) -> str:
        """What a guess rests on."""
        if step.registers:
            return "the stack"
        return "the target's own list" if step.pc in self.listed else "LR"

    def _layer(self, frames: Sequence[Frame]) -> Layer | None:
        """The running layer: what is on the chain of calls for certain, else what the firmware noted."""
        certain = next((f.layer for f in frames if f.layer is not None and f.via != "scan"), None)
        noted = self.state.layer
        guessed = next((f.layer for f in frames if f.layer is not None), None)
        return self.layers.number(next((n for n in (certain, noted, guessed) if n is not None), None))


def _refined(found: Diagnosis, places: AddressMap, state: CpuState) -> Diagnosis:
    """A fault past the end of the stack, or with a stack pointer there, is a stack overflow whatever it looks like."""
    pointer = state.registers.get("sp")
    process_stack = state.registers.get("exc_return", 0) & 4 or state.registers.get("control", 0) & 2
    below = places.below_stack(pointer) if pointer is not None and not process_stack else 0
    touched = found.address is not None and places.at(found.address).kind in ("below_stack", "stack_guard")
    if found.kind in ("stack_overflow", "halted", "assertion") or not (below or touched):
        return found
    return Diagnosis(
        "stack_overflow",
        f"stack overflow ({found.title})",
        f"The stack ran out. {found.sentence}",
        found.address,
        found.access,
        found.precise,
        found.concluded,
        found.bits,
    )


def _sentences(
    found: Diagnosis,
    places: AddressMap,
    pointer: int | None,
    frames: Sequence[Frame],
    layers: LayerMap,
    layer: Layer | None,
) -> Iterator[str]:
    place = places.at(found.address) if found.address is not None else None
    where = next((f for f in frames if f.via != "scan"), None)
    spot = f" in {where.function}" + (f" at {where.place}" if where.place else "") if where is not None else ""
    running = f", {layers.label(layer)}" if layer is not None else ""
    before = "" if found.precise else " or before it"
    yield f"{found.title[:1].upper()}{found.title[1:]}{spot}{before}{running}."
    if found.sentence:
        yield found.sentence
    if found.kind == "stack_overflow" and pointer is not None:
        yield f"The stack pointer is 0x{pointer:08x}, {places.at(pointer).text}."
    if place is not None and found.address is not None:
        what = f"The {found.access} went to" if found.access else "The address is"
        yield f"{what} 0x{found.address:08x}, {place.text}."


def _notes(state: CpuState, chain: Chain, frames: Sequence[Frame], layer: Layer | None) -> Iterator[str]:
    if state.partial:
        yield "The record is incomplete: the fault path itself faulted."
    if state.layer is not None and layer is not None and layer.index != state.layer:
        yield f"The firmware noted layer {state.layer} as running; the call chain says layer {layer.index}."
    if not chain.ended:
        yield f"The call chain may be incomplete: {chain.end}."
    if any(frame.via == "scan" for frame in frames):
        yield "Frames that are guessed may be left over from earlier calls."
