"""A profile as a picture: an SVG that needs nothing else, one box for each function, as wide as what it costs.

The caller stands above what it calls. A pointer over a box shows its name, its count and its share. Nothing in the file
is a script, and every name is escaped by the library that writes it.
"""

from __future__ import annotations

import hashlib
from xml.etree import ElementTree as xml

from harness.report.slices import Slice, Slices

WIDTH = 1200.0  # pixels, as all that follows
_ROW = 20.0
_TOP = 44.0  # above the first row: title and unit
_LETTER = 7.2  # of the monospaced font at its size
_THINNEST = 0.2  # a box below it is not drawn; its cost is part of the box above


def flame_graph(slices: Slices) -> str:
    """The text of the SVG file."""
    depth = max(len(chain) for chain in slices.root.walk())
    height = _TOP + depth * _ROW + 8
    picture = xml.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH:g} {height:g}",
            "width": f"{WIDTH:g}",
            "height": f"{height:g}",
            "font-family": "monospace",
            "font-size": "12",
        },
    )
    xml.SubElement(picture, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    _text(picture, 8, 18, slices.title, {"font-size": "14", "font-weight": "bold"})
    _text(picture, 8, 35, f"{slices.root.total:,} {slices.unit}; the width of a box is its share of them", {})
    _draw(picture, slices.root, 0.0, 0, slices)
    xml.indent(picture)
    return xml.tostring(picture, encoding="unicode") + "\n"


def _draw(picture: xml.Element, part: Slice, start: float, row: int, slices: Slices) -> None:
    """The box of `part` and those below it. `start` is its left edge."""
    whole = slices.root.total
    width = WIDTH * part.total / whole if whole else 0.0
    if width < _THINNEST:
        return
    group = xml.SubElement(picture, "g")
    title = f"{part.label}\n{part.total:,} {slices.unit}, {part.total / whole:.2%}; {part.own:,} of its own"
    xml.SubElement(group, "title").text = title
    top = _TOP + row * _ROW
    box = {"x": f"{start:.2f}", "y": f"{top:g}", "width": f"{max(width - 0.5, 0.1):.2f}", "height": f"{_ROW - 1:g}"}
    xml.SubElement(group, "rect", {**box, "rx": "2", "fill": _colour(part)})
    letters = int((width - 6) / _LETTER)
    if letters >= 3:
        _text(group, start + 3, top + 14, _beginning(part.label, letters), {})
    for child in part.parts:
        _draw(picture, child, start, row + 1, slices)
        start += WIDTH * child.total / whole


def _beginning(label: str, letters: int) -> str:
    return label if len(label) <= letters else label[: letters - 1] + "…"


def _text(parent: xml.Element, left: float, base: float, words: str, style: dict[str, str]) -> None:
    xml.SubElement(parent, "text", {"x": f"{left:.2f}", "y": f"{base:g}", **style}).text = words


def _colour(part: Slice) -> str:
    """The same for a name in every picture: layers blue to green, other functions yellow to red."""
    hue = hashlib.sha256(part.name.encode()).digest()[0]
    return f"hsl({150 + hue * 70 // 255}, 55%, 78%)" if part.layer is not None else f"hsl({hue * 55 // 255}, 80%, 78%)"
