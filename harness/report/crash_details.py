"""What there is to say of a crash below its traceback: source, instructions, variables, tensors, registers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.debug.crash import Crash, Frame
from harness.debug.listing import Listing
from harness.report.text import printable

_VARIABLES = 12  # of a frame that are shown unless more is asked for
_MARKED = "bold"
_REGISTERS = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr")


def details(crash: Crash, verbose: bool = False) -> Iterator[RenderableType]:
    """The innermost frame of the user's code and the layer's; `verbose`: every frame, registers, status bits."""
    shown = [listing.frame for listing in crash.listings]
    for listing in crash.listings:
        yield from _listing(listing)
        yield from _variables(crash.frames[listing.frame], verbose)
    if verbose:
        for index, frame in enumerate(crash.frames):
            if index not in shown:
                yield from _variables(frame, verbose)
    yield from _layer(crash)
    if verbose:
        yield from _machine(crash)
    if crash.fingerprint is not None:
        yield Text()
        yield Text(f"fingerprint: {crash.fingerprint}")


def _line(text: str, marked: bool = False) -> Text:
    return Text(printable(text), style=_MARKED if marked else "", no_wrap=True, overflow="ellipsis")


def _listing(listing: Listing) -> Iterator[RenderableType]:
    yield Text()
    name = PurePath(listing.file).name if listing.file is not None else ""
    yield _line(f"{listing.function}{f' in {name}' if name and listing.source else ''}:")
    width = max((len(str(line.number)) for line in listing.source), default=0)
    for line in listing.source:
        marked = line.number == listing.line
        yield _line(f"  {'>' if marked else ' '} {line.number:>{width}}  {line.text.expandtabs(4)}".rstrip(), marked)
    if listing.source and listing.instructions:
        yield Text()
    for instruction in listing.instructions:
        marked = instruction.address == listing.at
        yield _line(f"  {'>' if marked else ' '} 0x{instruction.address:08x}  {instruction.text}", marked)


def _variables(frame: Frame, verbose: bool) -> Iterator[RenderableType]:
    """A line for each that is known, and one for all of which nothing is known for the same reason."""
    if not frame.variables:
        return
    yield Text()
    yield _line(f"variables of {frame.function}:")
    known = [(variable, variable.value) for variable in frame.variables if variable.value is not None]
    shown = known if verbose else known[:_VARIABLES]
    width = max((len(variable.name) for variable, _ in shown), default=0)
    for variable, value in shown:
        yield _line(f"    {variable.name:<{width}} = {value}{f'  ({variable.type})' if verbose else ''}")
    if len(shown) < len(known):
        yield _line(f"    … and {len(known) - len(shown)} more")
    unknown: dict[str, list[str]] = {}
    for variable in frame.variables:
        if variable.value is None:
            unknown.setdefault(variable.why, []).append(variable.name)
    for why, names in unknown.items():
        yield Text(printable(f"    {why}: {', '.join(names)}"))


def _layer(crash: Crash) -> Iterator[RenderableType]:
    if crash.running is None or not crash.running.tensors:
        return
    yield Text()
    yield _line(f"{crash.running.label} works on:")
    rows = [
        (
            f"    {tensor.role}",
            tensor.label,
            "×".join(map(str, tensor.shape)) + (f" {tensor.dtype}" if tensor.dtype else " bytes"),
            tensor.place,
        )
        for tensor in crash.running.tensors
    ]
    yield _table(rows)


def _machine(crash: Crash) -> Iterator[RenderableType]:
    """Registers with what they point to, and what the status bits say."""
    if crash.registers:
        yield Text()
        yield _line("registers:")
        first = [name for name in _REGISTERS if name in crash.registers]
        names = [*first, *(name for name in crash.registers if name not in first)]
        yield _table(
            [(f"    {name}", f"0x{crash.registers[name]:08x}", crash.register_places.get(name, "")) for name in names]
        )
    if crash.fault_status:
        yield Text()
        yield _line("fault status:")
        yield _table([(f"    {name}", f"0x{value:08x}") for name, value in crash.fault_status.items()])
        for text in crash.status_bits:
            yield Text(f"    {printable(text)}")


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in rows[0]:
        table.add_column(no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
