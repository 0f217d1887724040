"""The sentences of a crash report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.compiler.csource import Layer
from harness.cpustate import CpuState
from harness.debug.faults import Diagnosis
from harness.debug.layers import LayerMap
from harness.debug.places import AddressMap, quoted
from harness.debug.tensors import Overrun
from harness.debug.traceback import Frame
from harness.debug.unwinding.unwind import Chain

_FRAME = 1024  # bytes beside the stack pointer that a function's own accesses to the stack go to
_REFUSALS = ("memory_protection", "precise_bus_fault", "data_fault")


def refined(found: Diagnosis, places: AddressMap, state: CpuState) -> Diagnosis:
    """A fault past the end of the stack, or with a stack pointer there, is a stack overflow whatever it looks like.

    A thread's stack may lie below the main one and be nobody's variable, and a variable be called a stack that is none:
    there memory has to be what failed.
    """
    pointer = state.registers.get("sp")
    process_stack = state.registers.get("exc_return", 0) & 4 or state.registers.get("control", 0) & 2
    memory_failed = found.kind in (*_REFUSALS, "hard_fault")
    asked = pointer is not None and (memory_failed or not process_stack)
    below = places.below_stack(pointer, variables=memory_failed) if pointer is not None and asked else 0
    touched = found.address is not None and places.at(found.address).kind in ("below_stack", "stack_guard")
    if found.kind in ("stack_overflow", "halted", "assertion") or not (below or touched or _at_its_end(found, state)):
        return found
    return replace(
        found,
        kind="stack_overflow",
        title=f"stack overflow ({found.title})",
        sentence=f"The stack ran out. {found.sentence}",
    )


def _at_its_end(found: Diagnosis, state: CpuState) -> bool:
    """Whether memory was refused right beside a stack pointer with a stack above it: of any stack, also a thread's."""
    pointer = state.registers.get("sp")
    if pointer is None or found.address is None or found.kind not in _REFUSALS:
        return False
    above = any(span.address < pointer + _FRAME and pointer < span.address + len(span.data) for span in state.memory)
    return above and pointer - _FRAME <= found.address < pointer + _FRAME


def sentences(
    found: Diagnosis,
    places: AddressMap,
    state: CpuState,
    frames: Sequence[Frame],
    layers: LayerMap,
    layer: Layer | None,
    left: Overrun | None,
) -> Iterator[str]:
    pointer = state.registers.get("sp")
    place = places.at(found.address) if found.address is not None else None
    where = next((f for f in frames if f.via != "scan"), None)
    spot = f" in {where.function}" + (f" at {where.place}" if where.place else "") if where is not None else ""
    running = f", {layers.label(layer)}" if layer is not None else ""
    before = " or before it" if spot and not found.precise else ""
    yield f"{found.title[:1].upper()}{found.title[1:]}{spot}{before}{running}."
    if state.message:
        yield f"The firmware says: {quoted(state.message)}."
    if found.sentence:
        yield found.sentence
    if found.kind == "stack_overflow" and pointer is not None:
        yield f"The stack pointer is 0x{pointer:08x}, {places.at(pointer).text}."
    if place is not None and found.address is not None:
        what = f"The {found.access} went to" if found.access else "The address is"
        yield f"{what} 0x{found.address:08x}, {place.text}."
    if left is not None:
        yield left.text
    if places.arena is not None and not places.arena.exists:
        start = places.arena.address
        yield f"The model was given an arena at 0x{start:08x}, {places.at(start).text}."


def notes(state: CpuState, chain: Chain, frames: Sequence[Frame], layer: Layer | None) -> Iterator[str]:
    if state.partial:
        yield "The record is incomplete: the fault path itself faulted."
    if state.layer is not None and layer is not None and layer.index != state.layer:
        yield f"The firmware noted layer {state.layer} as running; the call chain says layer {layer.index}."
    if not chain.ended:
        yield f"The call chain may be incomplete: {chain.end}."
    if any(frame.via == "scan" for frame in frames):
        yield "Frames that are guessed may be left over from earlier calls."
