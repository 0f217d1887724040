"""Functions that are missing from the stack because they ended by jumping to another one.

run:    bl  outer          the return address on the stack is here …
outer:  …
        b.w inner          … although it is inner that returns to it
inner:  …
"""

from __future__ import annotations

from functools import lru_cache

from harness.debug.image import Image
from harness.debug.thumb import ReadCode, call_before, fetch, jump_target

_MAX_JUMPS = 4  # from the called function to the one that runs
_MAX_BYTES = 16384  # of a function that is searched for jumps


@lru_cache(maxsize=2)
def called_functions(image: Image) -> frozenset[int]:
    """Addresses of the functions that a BL somewhere in the program calls."""
    found = set()
    for section in image.sections:
        if section.executable and not section.writable:
            for at in range(2, len(section.data) - 1, 2):
                # the second half of a BL has its top bits so: most places are told by one byte
                if section.data[at + 1] & 0xD0 == 0xD0:
                    call = call_before(image.constant, section.address + at + 2)
                    if call is not None and call.target is not None:
                        found.add(call.target)
    return frozenset(address for address in found if image.starts_function(address))


def jumps_between(image: Image, read: ReadCode, called: int, running: int) -> tuple[int, ...]:
    """Addresses of the jumps by which a call of the function at `called` comes to run the one at `running`.

    In the order they are taken. Empty when there is no such way by direct jumps, or more than one.
    """
    ways: list[tuple[int, ...]] = []
    pending: list[tuple[int, tuple[int, ...]]] = [(called, ())]
    seen = {called}
    while pending:
        function, way = pending.pop()
        for jump, target in _jumps(image, read, function):
            if target == running:
                ways.append((*way, jump))
            elif len(way) + 1 < _MAX_JUMPS and target not in seen:
                seen.add(target)
                pending.append((target, (*way, jump)))
    # several jumps of one function to the same place are one way: the first stands for them
    functions = {tuple(image.function_at(jump) for jump in way) for way in ways}
    return ways[0] if len(functions) == 1 else ()


def _jumps(image: Image, read: ReadCode, function: int) -> list[tuple[int, int]]:
    """The jumps out of the function at `function` to the first instruction of another: (address, target)."""
    symbol = image.function_at(function)
    if symbol is None or symbol.address != function:
        return []
    found = []
    at, end = function, function + min(symbol.size, _MAX_BYTES)
    while at < end:
        instruction = fetch(read, at)
        if instruction is None:
            at += 2  # a literal pool in the middle of a function
            continue
        target = jump_target(*instruction, at)
        if target is not None and target != function and image.starts_function(target):
            found.append((at, target))
        at += 2 if instruction[1] is None else 4
    return found
