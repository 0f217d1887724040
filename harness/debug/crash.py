"""Why a target stopped: in words, with the chain of calls that led there and the layer of the model it was in.

`explain` makes a `Crash` from the state of a stopped processor; `harness.debug.stops` from whatever a run raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from harness.board import Board
from harness.compiler.csource import CSource, Layer
from harness.cpustate import CpuState
from harness.debug.arenas import RUN, Arena, Arguments, arena_of
from harness.debug.disassembly import Disassembler
from harness.debug.dwarf.cfi import CallFrames
from harness.debug.dwarf.variables import VariableReader
from harness.debug.faults import Diagnosis, diagnose, handler_name
from harness.debug.fingerprint import Site, fingerprint
from harness.debug.image import Image
from harness.debug.layers import LayerMap
from harness.debug.listing import Listing, instructions, is_library, source_lines
from harness.debug.memory import Memory, ReadTarget
from harness.debug.places import AddressMap
from harness.debug.symbolise import Place, Symboliser
from harness.debug.tensors import LayerTensor, Overrun, layer_tensors, overrun
from harness.debug.thumb import call_before
from harness.debug.traceback import Crash, Frame, RunningLayer
from harness.debug.unwinding.listed import with_listed
from harness.debug.unwinding.unwind import Chain, StackFrame, Unwinder
from harness.debug.wording import notes, refined, sentences

__all__ = ["Crash", "Frame", "explain"]

_NOT_ARM = Chain((), "this is no program for a Cortex-M")


def explain(
    state: CpuState,
    firmware_elf: Path | Image,
    *,
    source: CSource | None = None,
    layers: Sequence[Layer] = (),
    read_memory: ReadTarget | None = None,
    search: Sequence[Path] = (),
    listed: Sequence[int] = (),
    board: Board | None = None,
) -> Crash:
    """What stopped the processor whose state this is.

    `source` (or `layers` alone) maps functions to layers and arena addresses to tensors. `read_memory(address, bytes)`
    reads what the state does not hold, while the target still answers. `search` are folders with the user's own copies
    of the sources; that of the ELF file comes after them. `listed` are return addresses that the target itself found on
    its stack, innermost first; `board` names its memories. An `Image` may be given for several crashes of one firmware.
    Raises BadInput when `firmware_elf` is no ELF file, and nothing else: a state may be garbage.
    """
    image = firmware_elf if isinstance(firmware_elf, Image) else Image(firmware_elf)
    return _Explanation(state, image, LayerMap(layers, source), source, read_memory, search, listed, board).crash()


@lru_cache(maxsize=2)
def _call_frames(image: Image) -> CallFrames:
    return CallFrames(image)


@lru_cache(maxsize=2)
def _disassembler(image: Image) -> Disassembler:
    return Disassembler(image)


@lru_cache(maxsize=2)
def _symboliser(image: Image, search: tuple[Path, ...]) -> Symboliser:
    return Symboliser(image, search)


@dataclass(frozen=True)
class _Row:
    """A line of the traceback that is to be, with what it was made from."""

    frame: Frame
    step: int  # index in the chain
    place: Place | None  # None where nothing is known of the address


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
        board: Board | None,
    ) -> None:
        self.state = state
        self.image = image
        self.layers = layers
        self.memory = Memory(image, state.memory, read_memory)
        self.symbols = _symboliser(image, (*search, image.path.parent))
        self.source = source
        self.board = board
        self.call_frames = _call_frames(image)
        self.disassembler = _disassembler(image)
        self.listed = frozenset(address & ~1 for address in listed)
        self.chain = _NOT_ARM
        if image.is_arm:
            unwound = Unwinder(image, self.memory, self.call_frames).unwind(state)
            self.chain = with_listed(unwound, listed, state, image, self.memory)
        self.diagnosis = diagnose(
            state.fault_status,
            state.registers,
            reason=state.reason,
            code=image.instruction,
            has_status=image.has_fault_status,
        )

    def crash(self) -> Crash:
        rows = list(self._rows())
        layer = self._layer([row.frame for row in rows])
        places = AddressMap(self.image, self.source, layer, self.board, self._arena(rows, layer))
        rows = self._with_variables(rows, places)
        frames = tuple(row.frame for row in rows)
        found = refined(self.diagnosis, places, self.state)
        tensors = layer_tensors(self.source, layer, places.arena) if self.source is not None and layer else ()
        left = self._overrun(found, tensors, places, frames)
        fault = self._fault_row(found)
        before = (fault,) if fault is not None else ()
        return Crash(
            kind=found.kind,
            sentence=" ".join(sentences(found, places, self.state, frames, self.layers, layer, left)),
            address=found.address,
            layer=layer.index if layer is not None else self.state.layer,
            frames=(*before, *frames),
            registers=dict(self.state.registers),
            fault_status=dict(self.state.fault_status),
            title=found.title,
            status_bits=found.meaning,
            notes=tuple(notes(self.state, self.chain, frames, layer)),
            fingerprint=self._fingerprint(found, rows),
            place=places.at(found.address) if found.address is not None else None,
            overrun=left,
            running=RunningLayer(layer.index, layer.name, layer.op, self.layers.label(layer), tensors)
            if layer is not None
            else None,
            listings=tuple(self._listings(rows, len(before))),
            register_places=self._register_places(places),
        )

    def _fault_row(self, found: Diagnosis) -> Frame | None:
        """The fault itself; None for a processor that was stopped from outside."""
        handler = "lockup" if found.kind == "lockup" else handler_name(self.state.reason)
        if handler is None and (found.kind in ("halted", "assertion")):
            return None
        address = f", address 0x{found.address:08x}" if found.address is not None else ""
        return Frame(handler or "fault", None, None, "pc", None, label=f"{found.title}{address}")

    def _rows(self) -> Iterator[_Row]:
        for index, step in enumerate(self.chain.frames):
            places = self.symbols.at(step.inside, executed=step.exact)
            if not places:
                frame = Frame(f"0x{step.pc:08x}", None, None, step.via, step.pc, label=self._label(None, step))
                yield _Row(frame, index, None)
            for place in places:
                function = place.function or f"0x{step.pc:08x}"
                layer = self.layers.of(function, place.file)
                frame = Frame(
                    function,
                    place.file,
                    place.line,
                    step.via,
                    step.pc,
                    place.inlined,
                    self._label(layer, step),
                    layer.index if layer is not None else None,
                )
                yield _Row(frame, index, place)

    def _label(self, layer: Layer | None, step: StackFrame) -> str:
        parts = [self.layers.label(layer)] if layer is not None else []
        return ", ".join([*parts, f"guessed from {self._origin(step)}"] if step.via == "scan" else parts)

    def _origin(self, step: StackFrame) -> str:
        """What a guess rests on. One that jumped on to the next instead of calling it rests on what the next does."""
        if step.registers or step.exact:
            return "the stack"
        return "the target's own list" if step.pc in self.listed else "LR"

    def _layer(self, frames: Sequence[Frame]) -> Layer | None:
        """The running layer: what is on the chain of calls for certain, else what the firmware noted."""
        certain = next((f.layer for f in frames if f.layer is not None and f.via != "scan"), None)
        noted = self.state.layer
        guessed = next((f.layer for f in frames if f.layer is not None), None)
        return self.layers.number(next((n for n in (certain, noted, guessed) if n is not None), None))

    def _arena(self, rows: Sequence[_Row], layer: Layer | None) -> Arena | None:
        arena = arena_of(self.image)
        if arena is not None or self.source is None:
            return arena
        reader = self._variables(lambda address: "")

        def pointers(*functions: str) -> tuple[_Row | None, list[int | None]]:
            """The innermost of these functions that runs and whose arguments are all pointers, and those."""
            for row in rows:
                if row.place is not None and row.place.function in functions:
                    arguments = [v for v in reader.of(row.step, row.place) if v.argument]
                    if all(argument.points for argument in arguments):
                        return row, [argument.number for argument in arguments]
            return None, []

        _, runner = pointers(RUN, *((f"run_{layer.index}",) if layer is not None else ()))
        kernel, now = pointers(*((layer.name,) if layer is not None else ()))
        alone = kernel is not None and not kernel.frame.inlined
        called = reader.at_call(kernel.step, len(now)) if kernel is not None and alone else ()
        refused = self.diagnosis.address if self.diagnosis.is_access else None
        arguments = Arguments(next(iter(runner), None), called, now)
        return arena_of(self.image, self.source, layer, arguments, refused)

    def _variables(self, describe: Callable[[int], str]) -> VariableReader:
        return VariableReader(self.image, self.memory, self.chain.frames, self.call_frames, self.symbols, describe)

    def _with_variables(self, rows: Sequence[_Row], places: AddressMap) -> list[_Row]:
        reader = self._variables(places.brief)
        found = []
        for row in rows:
            variables = reader.of(row.step, row.place) if row.place is not None else ()
            found.append(replace(row, frame=replace(row.frame, variables=variables)))
        return found

    def _overrun(
        self, found: Diagnosis, tensors: Sequence[LayerTensor], places: AddressMap, frames: Sequence[Frame]
    ) -> Overrun | None:
        """Which of the running layer's tensors the bad address ran out of."""
        if found.address is None or not found.is_access:
            return None
        at = self.chain.frames[0] if self.chain.frames else None
        registers = self.disassembler.bases(at.pc) if at is not None and at.exact and found.precise else ()
        bases = [(name, self.state.registers[name]) for name in registers if name in self.state.registers]
        innermost = next((frame.variables for frame in frames), ())
        pointers = [(v.name, v.number) for v in innermost if v.points and v.number is not None]
        store = {"store": True, "load": False}.get(found.access)
        return overrun(found.address, store, tensors, bases, pointers, places.reach)

    def _fingerprint(self, found: Diagnosis, rows: Sequence[_Row]) -> str | None:
        steps = self.chain.frames
        sites = []
        interrupted = False
        for row in rows:
            # only what an exception interrupted is found by its program counter further out
            interrupted |= row.step > 0 and steps[row.step].via == "pc"
            file, start = (row.place.file, row.place.start) if row.place is not None else (None, None)
            function = row.place.function if row.place is not None else None
            guessed = row.frame.via == "scan"
            sites.append(Site(function, file, row.frame.line, start, guessed, interrupted))
        return fingerprint("trap" if found.title == "trap" else found.kind, sites, found.precise)

    def _listings(self, rows: Sequence[_Row], first: int) -> Iterator[Listing]:
        """Of the innermost function, the innermost of the user's own, and the layer's."""
        certain = [index for index, row in enumerate(rows) if row.frame.via != "scan"]
        own = [index for index in certain if not is_library(rows[index].frame.file)]
        kernel = [index for index in certain if rows[index].frame.layer is not None]
        listed: set[int] = set()
        for index in dict.fromkeys([*certain[:1], *own[:1], *kernel[:1]]):
            frame, step = rows[index].frame, self.chain.frames[rows[index].step]
            at: int | None = step.pc
            if not step.exact:
                call = call_before(self.memory.code, step.pc)
                at = call.address if call is not None else None
            code = () if rows[index].step in listed else instructions(self.disassembler, at)
            listed.add(rows[index].step)
            lines = source_lines(frame.file, frame.line)
            if lines or code:
                yield Listing(first + index, frame.function, frame.file, frame.line, at, lines, code)

    def _register_places(self, places: AddressMap) -> dict[str, str]:
        """What the registers point to; small numbers are no pointers."""
        found = {}
        for name in (*(f"r{n}" for n in range(13)), "sp", "lr", "pc"):
            value = self.state.registers.get(name)
            if value is not None and value >= 0x100:
                text = places.brief(value)
                if text not in ("", "nothing"):
                    found[name] = text
        return found
