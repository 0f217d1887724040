"""Renode's platform descriptions, as far as two of them can be compared: names are free, the rest is not."""

from __future__ import annotations

import re

Peripheral = tuple[str, str, tuple[str, ...]]  # type, where it is registered, attributes and connections in order


def peripherals(text: str) -> dict[str, Peripheral]:
    """Every peripheral of a description by its name."""
    text = re.sub(r"//.*", "", text)
    found = {}
    for entry in re.split(r"\n(?=\w)", text):
        lines = [line.strip() for line in entry.splitlines() if line.strip()]
        if lines:
            head = re.fullmatch(r"(\w+): ([\w.]+) @ (.+)", lines[0])
            assert head is not None, lines[0]
            found[head[1]] = (head[2], head[3], tuple(sorted(lines[1:])))
    return found


def memories(text: str) -> set[range]:
    """The addresses of all memories."""
    return {
        range(start := int(place.split()[1], 0), start + int(_value(attributes, "size"), 0))
        for kind, place, attributes in peripherals(text).values()
        if kind == "Memory.MappedMemory"
    }


def uart(text: str, name: str) -> tuple[str, int, int, int]:
    """Type, address, and the interrupts of receiver and transmitter."""
    kind, place, attributes = peripherals(text)[name]
    address = re.search(r"0x[0-9A-Fa-f]+", place)
    assert address is not None
    lines = {wire.split(" -> ")[0]: int(wire.split("nvic@")[1]) for wire in attributes if " -> nvic@" in wire}
    return kind, int(address[0], 0), lines["RxInterrupt"], lines["TxInterrupt"]


def _value(attributes: tuple[str, ...], key: str) -> str:
    return next(line.split(": ")[1] for line in attributes if line.startswith(f"{key}: "))
