"""Where a stack ends, as far as the program itself says: nothing beyond its end was pushed onto it."""

from __future__ import annotations

from harness.debug.image import Image

# What linker scripts call the end that a stack starts from: ours, CMSIS's, GNU's, newlib's, ST's, Arduino's, picolibc's
_TOPS = ("harness_stack_top", "__StackTop", "__stack", "__stack_top", "_estack", "_stack", "_stack_end", "__stack_end__")


def stack_top(image: Image, pointer: int) -> int | None:
    """The end of the stack that `pointer` points into: of the variable it is, or the next that a linker script names.

    None when neither is known. A pointer that has run past the other end has no stack, or its neighbour.
    """
    variable = image.object_at(pointer)
    if variable is not None:
        return variable.address + variable.size
    named = (symbol.address for name in _TOPS if (symbol := image.symbol(name)) is not None)
    return min((top for top in named if top > pointer), default=None)
