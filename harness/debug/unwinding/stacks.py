"""The stacks of a firmware, as far as its symbols tell: what a linker script names, and variables that are one."""

from __future__ import annotations

from dataclasses import dataclass

from harness.debug.image import Image

STACK_BOTTOM, STACK_TOP = "harness_stack_bottom", "harness_stack_top"  # of the firmware stub

# What linker scripts call the two ends of the main stack: ours, CMSIS's, GNU Arm's, ST's and others'; any of them may
# be missing, and they are mixed
_BOTTOMS = (STACK_BOTTOM, "__StackLimit", "__stack_limit", "__stack_start__", "_sstack")
_TOPS = (STACK_TOP, "__StackTop", "__stack_top", "__stack_end__", "_estack", "__stack")
_LEAST = 64  # bytes of a variable that can be a stack


@dataclass(frozen=True)
class Stack:
    name: str  # of the variable; empty: the main stack of a linker script
    bottom: int  # its lowest address
    top: int  # where it starts from, the first address above it

    @property
    def bytes(self) -> int:
        return self.top - self.bottom

    @property
    def text(self) -> str:
        return f"{self.name}, a stack of {self.bytes} bytes" if self.name else f"the stack of {self.bytes} bytes"

    def covers(self, address: int) -> bool:
        return self.bottom <= address < self.top


def stacks(image: Image) -> tuple[Stack, ...]:
    """By address. A variable is one when its name says so, as that of a thread's stack does in every system."""
    found = []
    bottom, top = _first(image, _BOTTOMS), _first(image, _TOPS)
    if bottom is not None and top is not None and bottom < top:
        found.append(Stack("", bottom, top))
    for variable in image.objects:
        section = image.section_at(variable.address)
        if "stack" in variable.name.lower() and variable.size >= _LEAST and section is not None and section.writable:
            found.append(Stack(variable.name, variable.address, variable.address + variable.size))
    return tuple(sorted(found, key=lambda stack: (stack.bottom, stack.name)))


def stack_top(image: Image, pointer: int) -> int | None:
    """Where the stack that `pointer` points into began: no word above was pushed onto it.

    It ends with the variable that it is, or where a linker script says. None when neither is known. A pointer that has
    run past the other end has no stack, or its neighbour.
    """
    variable = image.object_at(pointer)
    if variable is not None:
        return variable.address + variable.size
    named = (symbol.address for name in _TOPS if (symbol := image.symbol(name)) is not None)
    return min((top for top in named if top > pointer), default=None)


def _first(image: Image, names: tuple[str, ...]) -> int | None:
    return next((symbol.address for name in names if (symbol := image.symbol(name)) is not None), None)
