"""A profile in the Trace Event Format, for https://ui.perfetto.dev and chrome://tracing.

The time axis counts instructions (or cycles), one as a microsecond: the format knows no other unit. All calls of a
function by the same chain of functions are drawn as one, after what the caller did itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.report.slices import Slice, Slices

_PROCESS = _THREAD = 1


def chrome_trace(slices: Slices) -> dict[str, Any]:
    """Complete events ("ph": "X"), a function before those it calls."""
    names = (("process_name", slices.title), ("thread_name", f"{slices.unit}, one as 1 µs"))
    metadata = [
        {"ph": "M", "name": kind, "pid": _PROCESS, "tid": _THREAD, "args": {"name": name}} for kind, name in names
    ]
    return {
        "traceEvents": [*metadata, *_events(slices.root, 0, slices)],
        "otherData": {"unit": slices.unit, "exporter": "layerproof"},
    }


def _events(part: Slice, start: int, slices: Slices) -> Iterator[dict[str, Any]]:
    share = part.total / slices.root.total if slices.root.total else 0.0
    details: dict[str, Any] = {slices.unit: part.total, f"own {slices.unit}": part.own, "share": f"{share:.2%}"}
    if part.layer is not None:
        details["layer"] = part.layer
    yield {
        "ph": "X",
        "name": part.name,
        "cat": "function" if part.layer is None else "layer",
        "ts": start,
        "dur": part.total,
        "pid": _PROCESS,
        "tid": _THREAD,
        "args": {**details, "label": part.label},
    }
    start += part.own
    for child in part.parts:
        yield from _events(child, start, slices)
        start += child.total
