"""A profile for https://www.speedscope.app: its file format, as a sampled profile whose weights are counts."""

from __future__ import annotations

from typing import Any

from harness.report.slices import Slices

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def speedscope(slices: Slices) -> dict[str, Any]:
    """One sample for each chain of functions, in the order in which they were first entered.

    The format has no unit for counts: numbers are plain ("none").
    """
    frames: list[dict[str, str]] = []
    numbers: dict[str, int] = {}
    samples, weights = [], []
    for chain in slices.root.walk():
        for part in chain:
            if part.label not in numbers:
                numbers[part.label] = len(frames)
                frames.append({"name": part.label})
        if chain[-1].own:
            samples.append([numbers[part.label] for part in chain])
            weights.append(chain[-1].own)
    return {
        "$schema": SCHEMA,
        "name": slices.title,
        "exporter": "layerproof",
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": [
            {
                "type": "sampled",
                "name": f"{slices.title}: {slices.unit}",
                "unit": "none",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }
