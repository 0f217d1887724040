"""Faults put into generated C on purpose, to show and to test that they are found.

Each edit is derived from the text of one layer's function, changes as little of it as it can, and compiles as cleanly
as before. An edit that finds no place raises instead of leaving the layer right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from harness.compiler.csource import CSource, Layer
from harness.errors import BadInput

UNMAPPED = 0x6000_0000  # external RAM in the Armv7-M address map; the emulated boards have nothing there


@dataclass(frozen=True)
class Edit:
    """One line of one layer's file, before and after. `line` counts from 1 in the edited file."""

    layer: Layer
    line: int
    before: str  # empty: `after` was inserted
    after: str
    source: CSource  # with the edit made

    def __str__(self) -> str:
        lines = [f"{self.layer.file}:{self.line}"]
        if self.before:
            lines.append(f"-{self.before}")
        return "\n".join([*lines, f"+{self.after}"])


def miscompile(source: CSource, layer: Layer, by: int = 1) -> Edit:
    """Moves the zero point that the first store of an int8 layer's output adds, `by` steps towards zero.

    BadInput when the output is not quantised, or no store adds its zero point as a number or by an addend.
    """
    quant = source.graph.tensor(layer.outputs[0]).quant
    signed = 0 if quant is None else quant.zero_point
    zero_point = abs(signed)
    lines = source.files[layer.file].splitlines()
    for store in _stores(lines, layer):
        scaled = _with_addend(lines, store, by if signed < 0 else -by) if zero_point else None
        if scaled is not None:
            return _edited(source, layer, lines, scaled[0], lines[scaled[0]], scaled[1])
        for number in store:
            place, equals, value = lines[number].rpartition(" = ")
            # An addend, or the last argument of the function that scales and adds.
            number_of = rf"(?:(?<=[-+] ){zero_point}\b|(?<=\s){zero_point}(?=\))|(?<=\s-){zero_point}(?=\)))"
            wrong = re.sub(number_of + r"(?![^\[]*\])", str(zero_point - by), value, count=1)
            if wrong != value:
                return _edited(source, layer, lines, number, lines[number], place + equals + wrong)
    raise BadInput(f"no store of the output adds the zero point {zero_point}", where=layer.file)


def crash(source: CSource, layer: Layer) -> Edit:
    """Reads from an address where there is no memory, just before the first store of the layer's output."""
    lines = source.files[layer.file].splitlines()
    for store in _stores(lines, layer):
        number = store[0]
        indent = lines[number][: -len(lines[number].lstrip())]
        load = f"{indent}(void)*(const volatile int8_t *)0x{UNMAPPED:08x}u;"
        return _edited(source, layer, lines, number, None, load)
    raise BadInput("nothing is stored into the output", where=layer.file)


def _with_addend(lines: list[str], store: range, by: int) -> tuple[int, str] | None:
    """Of a store that scales its sum with an addend in front of a shift, the line that has the addend, with `by` more
    behind the shift; None where the store scales in another way."""
    statement = " ".join(lines[number] for number in store)
    shifts = re.findall(r"(?:nn_saturate_i8_asr_|>> )(\w+)", statement)
    if "nn_high_add" not in statement or not shifts:
        return None
    shift = next((s for s in shifts if s != "31"), shifts[-1])  # by 31 is shifted what tells sums below zero
    amount = abs(by) << int(shift) if shift.isdigit() else f"({abs(by)} << {shift})"
    addend = r"(addend\w*|(?<=, )-?\d+(?=\))|(?<=>> 31\) [-+] )\d+)"
    for number in store:
        wrong = re.sub(addend, rf"\1 {'+' if by > 0 else '-'} {amount}", lines[number], count=1)
        if wrong != lines[number]:
            return number, wrong
    return None


def _stores(lines: list[str], layer: Layer) -> list[range]:
    """The lines of each statement that stores into an output of the layer's function, from its definition on."""
    definition = next((n for n, line in enumerate(lines) if line.startswith(f"void {layer.name}(")), len(lines))
    parameters = re.findall(r"(const )?\w+ \*(?:restrict )?(\w+)", lines[definition]) if definition < len(lines) else []
    outputs = "|".join(name for const, name in parameters if not const)
    store = re.compile(rf"\s+(?:{outputs})\[.*\] =( .*)?")
    firsts = [n for n in range(definition + 1, len(lines)) if outputs and store.fullmatch(lines[n])]
    return [range(n, next((m for m in range(n, len(lines)) if lines[m].endswith(";")), n) + 1) for n in firsts]


def _edited(source: CSource, layer: Layer, lines: list[str], number: int, before: str | None, after: str) -> Edit:
    kept = lines[number:] if before is None else lines[number + 1 :]
    text = "\n".join([*lines[:number], after, *kept, ""])
    changed = replace(source, files={**source.files, layer.file: text})
    return Edit(layer, number + 1, before or "", after, changed)
