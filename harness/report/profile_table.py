"""A profile on the terminal: a row a layer, the totals, and what changed since a baseline."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.profile import Profile
from harness.profile.baseline import Change, Comparison
from harness.profile.measurement import Figures
from harness.report.columns import WIDTH, column, table
from harness.report.text import printable, shortened

_LEAVING = ("tensor", "operator", "arena", "MACs", "flash", "written", "stack", "share", "per MAC",
            "estimated cycles")  # in order  # fmt: skip
_NAME = 24  # characters of a tensor's name where there is room
_MOST_FUNCTIONS = 15
_MOST_LINES = 15


def body(profile: Profile, width: int = WIDTH) -> RenderableType:
    """Layer table, totals, memory, remarks."""
    parts: list[RenderableType] = [layer_table(profile, width), Text(), *map(Text, summary(profile))]
    parts += [Text(printable(note)) for note in profile.measurement.notes]
    return Group(*parts)


def layer_table(profile: Profile, width: int = WIDTH) -> Table:
    layers, measured, sizes = profile.layers, profile.measurement.layers, profile.footprints
    counts = [_count(figures) for figures in measured]
    whole = _count(profile.measurement.total) or 0
    estimates = [figures.estimate for figures in measured]
    per_mac = [
        "" if figures.instructions is None or not layer.macs else f"{figures.instructions / layer.macs:.2f}"
        for layer, figures in zip(layers, measured, strict=True)
    ]
    columns = [
        column("", [str(layer.index) for layer in layers], right=True),
        column("layer", [layer.name for layer in layers]),
        column("operator", [layer.op for layer in layers]),
        column("tensor", [shortened(printable(profile.tensor(layer)), _NAME) for layer in layers]),
        column(unit(profile), [_number(count) for count in counts], right=True),
        column("share", [f"{(count or 0) / whole:.1%}" if whole else "" for count in counts], right=True),
        *(
            [column("estimated cycles", [_number(e.middle if e else None) for e in estimates], right=True)]
            if any(estimates)
            else []
        ),
        column("MACs", [_number(layer.macs) for layer in layers], right=True),
        *([column("per MAC", per_mac, right=True)] if any(per_mac) else []),
        column("flash", [_number(size.flash) for size in sizes], right=True),
        column("arena", [_number(size.arena) for size in sizes], right=True),
        column("stack", [_number(size.stack) for size in sizes], right=True),
        column("written", [_number(figures.stack) for figures in measured], right=True),
    ]
    return table(columns, width, _LEAVING, "tensor")


def unit(profile: Profile) -> str:
    """What was counted."""
    return "cycles" if profile.measurement.total.instructions is None else "instructions"


def summary(profile: Profile) -> list[str]:
    """Totals and memory, a line each."""
    total, memory = profile.measurement.total, profile.memory()
    per_mac = ""
    if total.instructions is not None and profile.macs:
        per_mac = f" · {profile.macs:,} MACs · {total.instructions / profile.macs:.2f} instructions per MAC"
    lines = [f"one model_run: {_number(_count(total))} {unit(profile)}{per_mac}"]
    if total.estimate is not None and profile.timing is not None:
        low, high = total.estimate.low, total.estimate.high
        span = "" if low == high else f", {low:,} to {high:,}"
        lines.append(
            f"estimated cycles: {total.estimate.middle:,}{span}; no measurement, but the published timing table of "
            f"{profile.timing.title}"
        )
    own, library = _number(memory["flash_model_code_bytes"]), _number(memory["flash_library_bytes"])
    lines.append(
        f"flash {_number(memory['flash_bytes'])} B · without weights {_number(memory['flash_code_bytes'])} B, of it "
        f"{own} the model's code, {library} libraries"
    )
    stack = f"stack {_number(memory['stack_bytes'])} B at most"
    if memory["stack_written_bytes"] is not None:
        stack += f", {memory['stack_written_bytes']:,} written"
    if memory["stack_used_bytes"] is not None:
        stack += (
            f"; of {_number(memory['stack_reserved_bytes'])} reserved {memory['stack_used_bytes']:,} with the stub's"
        )
    lines.append(f"arena {_number(memory['arena_bytes'])} B · RAM {_number(memory['ram_bytes'])} B · {stack}")
    return lines


def details(profile: Profile) -> RenderableType:
    """The functions and the source lines that cost most; nothing where they were not counted."""
    functions = profile.measurement.functions[:_MOST_FUNCTIONS]
    lines = profile.measurement.lines[:_MOST_LINES]
    if not functions:
        return Text()
    by_function = Table(box=None, pad_edge=False, header_style="bold")
    by_function.add_column("function")
    for heading in ("own instructions", "with callees", "calls"):
        by_function.add_column(heading, justify="right")
    by_function.add_column("place")
    for function in functions:
        place = f"{function.file}:{function.line}" if function.file and function.line else ""
        by_function.add_row(
            Text(printable(function.name)), _number(function.own.instructions), _number(function.inclusive),
            _number(function.calls), Text(printable(place)),
        )  # fmt: skip
    by_line = Table(box=None, pad_edge=False, header_style="bold")
    by_line.add_column("instructions", justify="right")
    by_line.add_column("source line")
    for line in lines:
        by_line.add_row(f"{line.instructions:,}", Text(printable(f"{line.file}:{line.line}")))
    return Group(Text(), by_function, Text(), by_line)


def comparison_body(comparison: Comparison) -> RenderableType:
    """What changed since the baseline, and the verdict on it."""
    changes = [*comparison.changed, *([comparison.total] if comparison.total.before != comparison.total.after else [])]
    parts: list[RenderableType] = [Text()]
    if changes:
        shown = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("layer", "operator", "tensor"):
            shown.add_column(heading)
        for heading in (f"{comparison.unit} before", "now", "change"):
            shown.add_column(heading, justify="right")
        for change in changes:
            style = "bold red" if change.exceeds(comparison.threshold) else "green" if _cheaper(change) else ""
            cells = (change.name, change.op, shortened(printable(change.tensor), _NAME), _number(change.before),
                     _number(change.after), _delta(change))  # fmt: skip
            shown.add_row(*(Text(printable(cell), style=style) for cell in cells))
        parts += [shown, Text()]
    parts += [Text(printable(note)) for note in comparison.notes]
    parts.append(Text(verdict(comparison), style="bold red" if comparison.regressions else "bold green"))
    return Group(*parts)


def verdict(comparison: Comparison) -> str:
    """One line: which layers regressed, or that none did."""
    name = printable(comparison.baseline.name)
    limit = f"{float(comparison.threshold):.2%}"
    regressions = comparison.regressions
    if regressions:
        worst = ", ".join(f"{printable(change.name)} {_delta(change)}" for change in regressions)
        return f"regression: more than {limit} above {name}: {worst}"
    if comparison.total.before == comparison.total.after and not comparison.changed:
        return f"no change against {name}"
    return f"no regression: nothing is more than {limit} above {name}; total {_delta(comparison.total)}"


def _cheaper(change: Change) -> bool:
    return change.before is not None and change.after is not None and change.after < change.before


def _delta(change: Change) -> str:
    if change.before is None:
        return "new"
    if change.after is None:
        return "gone"
    share = "" if change.relative is None else f" ({float(change.relative):+.2%})"
    return f"{change.after - change.before:+,}{share}"


def _count(figures: Figures) -> int | None:
    return figures.cycles if figures.instructions is None else figures.instructions


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
