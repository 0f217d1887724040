"""Prints a kernel, an innermost loop marked so by its schedule, as a function of assembly.

base     what all instruction sets share: pointers, temporaries, the function around the loop
core     Thumb-2 and the DSP extension, in core registers
vector   MVE

A function of its own has all registers for the kernel, whatever surrounds the loop, and layers whose kernels read the
same share one. A layer has the plain C of its loop beside the call, for machines of another kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.compiler.loops import Expr, For, Let, Load, Program, walk
from harness.compiler.render_asm.base import MOST_SUMS, Kernel, KernelFunction, TooFewRegisters
from harness.compiler.render_asm.core import CoreKernel
from harness.compiler.render_asm.vector import VectorKernel

__all__ = ["MOST_SUMS", "KernelFunction", "kernel", "kernels_of", "printable"]


def kernel(loop: For, expression: Callable[[Expr], str], plain: list[str], pad: str) -> list[str]:
    """C lines of `loop`: the call, and `plain`, its ordinary C, for where there is no such assembly.

    Raises CompilerBug for what cannot be printed as assembly.
    """
    made = _made(loop)
    return [f"#if {made.guard}", pad + made.call_text(expression), "#else", *plain, "#endif"]


def printable(loop: For) -> bool:
    """Whether the kernel's values fit into the registers there are."""
    try:
        _made(loop)
    except TooFewRegisters:
        return False
    return True


def kernels_of(program: Program) -> Iterator[KernelFunction]:
    """The functions that the program's kernels call."""
    for s in walk(program.body):
        if isinstance(s, For) and s.kernel:
            yield _made(s).function


_MADE: dict[int, tuple[For, Kernel]] = {}  # by the identity of the loop: a layer's kernels are asked for several times
_MOST = 256  # kernels remembered


def _made(loop: For) -> Kernel:
    if id(loop) not in _MADE:
        if len(_MADE) == _MOST:
            _MADE.clear()
        loads = (s.value for s in loop.body if isinstance(s, Let) and isinstance(s.value, Load))
        wide = any(load.lanes is not None and load.lanes.bytes == 16 for load in loads)
        _MADE[id(loop)] = (loop, VectorKernel(loop) if wide else CoreKernel(loop))
    return _MADE[id(loop)][1]
