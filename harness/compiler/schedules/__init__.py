"""Which transformations each kind of layer gets. A schedule is a function from program to program; what it may do is
checked by the verifier and its result compared with the unscheduled program by the interpreter.

common   the steps every schedule begins and ends with
scalar   cores that multiply one pair at a time, and what no other file has a better way for
dsp      cores that multiply two pairs of 16-bit lanes at a time: Cortex-M4, M7, M33
mve      Cortex-M55: 128-bit vectors
elements an element of the output from one of each operand
"""

from __future__ import annotations

from collections.abc import Callable

from harness.board import Target
from harness.compiler.loops import Program
from harness.compiler.schedules import dsp, elements, scalar
from harness.compiler.schedules.common import plain, tidy

Schedule = Callable[[Program, Target], Program]

__all__ = ["Schedule", "contraction", "depthwise", "elementwise", "plain", "pool", "tidy"]


def contraction(program: Program, target: Target) -> Program:
    """Convolution and matrix product."""
    if "dsp" in target.features:
        return dsp.contraction(program, target)
    return scalar.contraction(program, target)


def depthwise(program: Program, target: Target) -> Program:
    """Depthwise convolution."""
    return scalar.depthwise(program, target)


def pool(program: Program, target: Target) -> Program:
    """Average and maximum over windows."""
    return scalar.pool(program, target)


def elementwise(program: Program, target: Target) -> Program:
    """One loop over the elements of the output."""
    return elements.elementwise(program, target)
