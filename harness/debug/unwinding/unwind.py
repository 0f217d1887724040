"""The chain of calls that led to where a Cortex-M stopped.

For each function, in this order, until one of them names a caller that can be one:

1. the function was about to leave: what it would have done up to its return is carried out on paper;
2. `.debug_frame` says where the return address is;
3. the function's own first instructions say it, and LR for one that has saved nothing yet;
4. the words on the stack are searched for a return address: a guess, marked as one, as is all that rests on it.

Whatever way it was found, a return address is only believed when a BL or BLX ends there. Nothing here raises: registers
and memory may be garbage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.cpustate import CpuState
from harness.debug.dwarf.cfi import Caller, CallFrames
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.thumb import call_before
from harness.debug.unwinding import epilogue, prologue
from harness.debug.unwinding.exception_frame import is_exception_return, unstack, uses_process_stack
from harness.debug.unwinding.stacks import stack_top
from harness.debug.unwinding.tailcalls import called_functions, jumps_between

Via = Literal["pc", "lr", "cfi", "scan"]

OUTERMOST = frozenset({"main", "Reset_Handler", "_start"})  # functions whose caller is of no interest
_MAX_FRAMES = 128
_MAX_SCANNED = 1024  # words of stack searched for one return address
_MAX_OVERFLOW = 4096  # bytes that a stack pointer may be below the stack it belongs to
_RESET_LR = 0xFFFFFFFF  # DDI 0403E B1.5.5


@dataclass(frozen=True)
class StackFrame:
    """A function that was running or waiting for a call to return."""

    pc: int  # the instruction it was at; for a caller its return address. Without the Thumb bit
    via: Via  # how it was found
    exact: bool  # pc is the instruction itself and not a return address
    registers: Mapping[str, int] = field(default_factory=dict)  # those known there

    @property
    def inside(self) -> int:
        """An address within the instruction that was executing: what to look up in debug information."""
        return self.pc if self.exact else self.pc - 1


@dataclass(frozen=True)
class Chain:
    frames: tuple[StackFrame, ...]  # innermost first
    end: str  # why there are no more, as a phrase

    @property
    def ended(self) -> bool:
        """It reached a function that nothing calls."""
        return self.end in _NATURAL_ENDS

    @property
    def complete(self) -> bool:
        """It reached a function that nothing calls, without a guess."""
        return self.ended and all(frame.via != "scan" for frame in self.frames)


AT_MAIN = "outermost function"
_AT_ENTRY = "nothing called it"
_AT_NOTHING = "no return address found"
_AT_CYCLE = "the stack leads back to itself"
_AT_DEPTH = f"stopped after {_MAX_FRAMES} frames"
_NATURAL_ENDS = (AT_MAIN, _AT_ENTRY)


class _End(Exception):
    """The chain ends; the argument says why."""


class Unwinder:
    """Unwinds over one image and one state of memory; `call_frames` of the same image may be shared between states."""

    def __init__(self, image: Image, memory: Memory, call_frames: CallFrames | None = None) -> None:
        self._image = image
        self._memory = memory
        self._call_frames = call_frames or CallFrames(image)
        self._innermost: int | None = None  # stack pointer of the innermost frame on the stack that is being unwound

    def unwind(self, state: CpuState) -> Chain:
        """The chain from `state`. A program counter outside the code makes no frame: its caller is the first."""
        frames: list[StackFrame] = []
        end = _AT_DEPTH
        try:
            for frame in self._frames(state):
                frames.append(frame)
                if len(frames) == _MAX_FRAMES:
                    break
        except _End as reason:
            end = str(reason)
        return Chain(tuple(frames), end)

    def _frames(self, state: CpuState) -> Iterator[StackFrame]:
        registers = {name: value & 0xFFFFFFFF for name, value in state.registers.items()}
        self._innermost = registers.get("sp")
        frame: StackFrame | None
        if "pc" in registers:
            registers["pc"] &= ~1
            frame = StackFrame(registers["pc"], "pc", True, registers)
            if self._image.may_run(frame.pc):
                yield frame
            else:
                frame = self._from_nowhere(frame, state)
                yield frame
        else:
            frame = self._scanned(registers.get("sp"), None)
            if frame is None:
                raise _End(_AT_NOTHING)
            yield frame
        seen: set[tuple[int, int | None]] = set()
        while True:
            key = (frame.pc, frame.registers.get("sp"))
            if key in seen:
                raise _End(_AT_CYCLE)
            seen.add(key)
            for caller in self._callers(frame, state):
                yield caller
                frame = caller

    def _callers(self, frame: StackFrame, state: CpuState) -> tuple[StackFrame, ...]:
        """The frame that called `frame`, after those that a tail call hid."""
        function = self._image.function_at(frame.inside)
        if function is not None and (function.name in OUTERMOST or function.address == self._image.entry):
            raise _End(AT_MAIN)
        reasons = []
        for found, via in self._steps(frame):
            step = self._accepted(found, frame, via, state)
            if isinstance(step, StackFrame):
                return (*self._hidden(frame, step), step)
            reasons.append(step)
        if _AT_ENTRY in reasons:
            raise _End(_AT_ENTRY)
        sp = next((found.sp for found, _ in self._steps(frame)), frame.registers.get("sp"))
        guess = self._scanned(sp, frame)
        if guess is None:
            raise _End(_AT_NOTHING)
        return (guess,)

    def _steps(self, frame: StackFrame) -> Iterator[tuple[Caller, Via]]:
        """What the methods that do not guess say of the caller, the more trustworthy first."""
        if frame.exact:
            leaving = epilogue.caller(frame.pc, frame.registers, self._memory, self._memory.code)
            if leaving is not None:
                yield leaving, "cfi" if leaving.saved else "lr"
        found = self._call_frames.caller(frame.inside, frame.registers, self._memory, frame.exact)
        if found is not None:
            yield found, "cfi" if found.saved else "lr"
        function = self._image.function_at(frame.inside)
        if function is not None:
            walked = prologue.caller(
                function.address, frame.pc, frame.registers, self._memory, self._memory.code, frame.exact
            )
            if walked is not None:
                yield walked, "lr"

    def _accepted(self, found: Caller, frame: StackFrame, via: Via, state: CpuState) -> StackFrame | str:
        """The caller as a frame, or why it cannot be one."""
        below = frame.registers.get("sp")
        if below is not None and found.sp < below:
            return _AT_NOTHING
        if is_exception_return(found.return_address):
            return self._interrupted(found, frame, state) or _AT_NOTHING
        if found.return_address in (0, _RESET_LR):
            return _AT_NOTHING if found.saved and self._is_called_at_all(frame) else _AT_ENTRY
        if not self._is_return_address(found.return_address):
            # A thread starts with a return address that nobody called from: code, but after no call.
            return _AT_ENTRY if self._image.is_code(found.return_address & ~1) else _AT_NOTHING
        registers = {**found.registers, "sp": found.sp}
        return StackFrame(found.return_address & ~1, _tainted(via, frame), False, registers)

    def _interrupted(self, found: Caller, frame: StackFrame, state: CpuState) -> StackFrame | None:
        """The code that an exception interrupted, when a handler is about to return to it."""
        exception_return = found.return_address
        top = state.registers.get("psp") if uses_process_stack(exception_return) else found.sp
        registers = None if top is None else unstack(exception_return, top, found.registers, self._memory)
        if registers is None or not self._image.may_run(registers["pc"]):
            return None
        self._innermost = registers["sp"]
        return StackFrame(registers["pc"], _tainted("pc", frame), True, registers)

    def _is_return_address(self, value: int) -> bool:
        # the call is code even when what follows a function that never returns is a literal pool
        return bool(value & 1) and call_before(self._memory.code, value) is not None

    def _is_called_at_all(self, frame: StackFrame) -> bool:
        """Whether `frame` stands in a function that the program calls: no thread begins there, and the return address
        that was saved was overwritten."""
        function = self._image.function_at(frame.inside)
        return function is not None and function.address in called_functions(self._image)

    def _hidden(self, frame: StackFrame, step: StackFrame) -> tuple[StackFrame, ...]:
        """Functions between `frame` and the call it will return to, innermost first."""
        function = self._image.function_at(frame.inside)
        call = None if step.exact else call_before(self._memory.code, step.pc)
        if function is None or call is None or call.target in (None, function.address):
            return ()
        assert call.target is not None
        jumps = jumps_between(self._image, self._memory.code, call.target, function.address)
        return tuple(StackFrame(jump, step.via, True) for jump in reversed(jumps))

    def _from_nowhere(self, frame: StackFrame, state: CpuState) -> StackFrame:
        """The function that jumped to `frame`, which stands where there is no code. Raises `_End` without one."""
        registers = frame.registers
        lr, sp = registers.get("lr"), registers.get("sp")
        found = Caller(sp or 0, lr or 0, False, {n: v for n, v in registers.items() if n in _CALLEE_SAVED})
        step = self._accepted(found, frame, "lr", state) if lr is not None and sp is not None else _AT_NOTHING
        if not isinstance(step, StackFrame):
            guess = self._scanned(sp, None)
            if guess is None:
                raise _End(step)
            return guess
        if step.exact or self._jumped(frame, step) or self._is_called(step):
            return step
        # Perhaps it did not jump but *return* to nowhere, because its return address was overwritten. LR still names a
        # function that was running, but what the stack pointer was there is not known.
        return replace(step, registers={})

    def _jumped(self, frame: StackFrame, step: StackFrame) -> bool:
        """Whether the call that ends at `step.pc` is for certain the one that led to `frame.pc`."""
        call = call_before(self._memory.code, step.pc)
        if call is None:
            return False
        if call.register is not None:
            return frame.registers.get(call.register, -1) & ~1 == frame.pc
        return call.target == frame.pc

    def _is_called(self, frame: StackFrame) -> bool:
        """Whether the stack has a return address of a call of the very function that `frame` stands in."""
        function = self._image.function_at(frame.inside)
        for found, _ in self._steps(frame):
            if is_exception_return(found.return_address):
                return True
            call = call_before(self._memory.code, found.return_address)
            if call is not None and function is not None and call.target in (None, function.address):
                return True
        return False

    def _scanned(self, sp: int | None, frame: StackFrame | None) -> StackFrame | None:
        """The first word from `sp` upwards that looks like the return address of a call of `frame`'s function."""
        if sp is None:
            return None
        function = self._image.function_at(frame.inside) if frame is not None else None
        start = (sp + 3) & ~3
        if self._memory.word(start) is None:
            # the pointer of a stack that overflowed is below it
            above = self._memory.next_span(start, _MAX_OVERFLOW)
            if above is None:
                return None
            start = (above + 3) & ~3
        top = stack_top(self._image, start if self._innermost is None else self._innermost) or 1 << 32
        for address in range(start, min(start + 4 * _MAX_SCANNED, top), 4):
            word = self._memory.word(address)
            if word is None:
                return None
            if not word & 1:
                continue
            call = call_before(self._memory.code, word)
            if call is None or (function is not None and call.target not in (None, function.address)):
                continue
            return StackFrame(word & ~1, "scan", False, {"sp": address + 4})
        return None


_CALLEE_SAVED = frozenset(f"r{n}" for n in range(4, 12))


def _tainted(via: Via, frame: StackFrame) -> Via:
    return "scan" if frame.via == "scan" else via
