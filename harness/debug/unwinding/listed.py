"""Callers that somebody else guessed: a log's own list of return addresses, or LR where no stack is known.

Some fault handlers search their stack for words before which a call stands, and print these. Left-overs of earlier
calls are among them, so they are guesses, and of them only those are taken that call the function before them. LR may
hold the return address of the function, or what its last call left there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.cpustate import CpuState
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.thumb import call_before
from harness.debug.unwinding.tailcalls import jumps_between
from harness.debug.unwinding.unwind import AT_MAIN, OUTERMOST, Chain, StackFrame

_MOST = 64  # frames taken from a list


def with_listed(chain: Chain, listed: Sequence[int], state: CpuState, image: Image, memory: Memory) -> Chain:
    """`chain`, and where it breaks off what the list says of further callers."""
    if chain.ended:
        return chain
    candidates = _beyond(chain, [*listed] or _link_register(state))
    frames = list(chain.frames)
    for address in candidates:
        if len(frames) - len(chain.frames) >= _MOST or _is_outermost(frames, image):
            break
        if _calls(address, frames[-1] if frames else None, image, memory):
            frames.append(StackFrame(address & ~1, "scan", False))
    if len(frames) == len(chain.frames):
        return chain
    return replace(chain, frames=tuple(frames), end=AT_MAIN if _is_outermost(frames, image) else chain.end)


def _link_register(state: CpuState) -> list[int]:
    if "sp" in state.registers or "pc" not in state.registers or "lr" not in state.registers:
        return []
    return [state.registers["lr"]]


def _beyond(chain: Chain, listed: Sequence[int]) -> Iterator[int]:
    """The part of the list that lies further out than the chain.

    Handlers list LR before the stack, and find it there again when the function had saved it: it counts where it is.
    """
    known = {frame.pc for frame in chain.frames}
    last = max((n for n, address in enumerate(listed) if address & ~1 in known), default=-1)
    for number, address in enumerate(listed[last + 1 :], last + 1):
        if number > 1 or address not in listed[number + 1 :]:
            yield address


def _is_outermost(frames: Sequence[StackFrame], image: Image) -> bool:
    function = image.function_at(frames[-1].inside) if frames else None
    return function is not None and (function.name in OUTERMOST or function.address == image.entry)


def _calls(address: int, frame: StackFrame | None, image: Image, memory: Memory) -> bool:
    """Whether a call ends at `address` that can have led to `frame`."""
    call = call_before(memory.code, address)
    if call is None or frame is None or call.target is None:
        return call is not None
    function = image.function_at(frame.inside)
    if function is None or call.target == function.address:
        return True
    return bool(jumps_between(image, memory.code, call.target, function.address))
