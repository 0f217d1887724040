"""Memory that a layer works in: arrays too big for the stack, which its function gets as parameters."""

from __future__ import annotations

from harness.compiler.loops import Alloc, Buffer, Program, walk


def scratch_of(program: Program) -> tuple[Buffer, ...]:
    """The scratch memory of a program, in the order in which its function takes it."""
    found = (s.buffer for s in walk(program.body) if isinstance(s, Alloc) and s.buffer.space == "scratch")
    return tuple(dict.fromkeys(found))
