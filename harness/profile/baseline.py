"""A profile against an earlier one of the same model, board and inputs: which layers got dearer, and by how much.

Counts of equal code are equal, so what differs differs for a reason. Layers are told apart by the model's operators
they compute, not by their numbers: another pass or schedule may merge or split them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from harness.errors import BadInput
from harness.profile.result import FORMAT, Profile

Row = Mapping[str, Any]  # a layer in the JSON of a profile

# What makes two layers the same, the surest first. Each is used where it fits one layer on both sides.
_IDENTITIES: tuple[Callable[[Row], object], ...] = (
    lambda row: (tuple(row["ops"]), row["op"], row["tensor"]),
    lambda row: tuple(row["ops"]),
    lambda row: (row["op"], row["tensor"]),
    lambda row: (row["op"], row["name"]),
)


@dataclass(frozen=True)
class Change:
    """Of one layer, or of the whole run. None: it is not in that profile."""

    name: str
    op: str
    tensor: str
    before: int | None
    after: int | None

    @property
    def relative(self) -> Fraction | None:
        """The difference as a share of what was before; None: there is nothing to compare with."""
        if self.before is None or self.after is None or self.before == 0:
            return None
        return Fraction(self.after - self.before, self.before)

    def exceeds(self, threshold: Fraction) -> bool:
        """Whether it got dearer by more than `threshold`; from nothing to something always does."""
        if self.before is None or self.after is None:
            return False
        return self.after > self.before * (1 + threshold)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "op": self.op,
            "tensor": self.tensor,
            "before": self.before,
            "after": self.after,
            "relative": None if self.relative is None else round(float(self.relative), 6),
        }


@dataclass(frozen=True)
class Comparison:
    """`unit` is what was compared: "instructions", or "cycles" where a board counted those."""

    baseline: Path
    unit: str
    threshold: Fraction
    layers: tuple[Change, ...]  # in this profile's order, then those that are gone
    total: Change
    notes: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Layers that got dearer by more than the threshold; the total, where it did."""
        return tuple(change for change in (*self.layers, self.total) if change.exceeds(self.threshold))

    @property
    def changed(self) -> tuple[Change, ...]:
        return tuple(change for change in self.layers if change.before != change.after)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.baseline),
            "unit": self.unit,
            "threshold": float(self.threshold),
            "total": self.total.to_json(),
            "changed": [change.to_json() for change in self.changed],
            "regressions": [change.to_json() for change in self.regressions],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Baseline:
    """An earlier profile, as its JSON has it."""

    path: Path
    data: Row

    def __getitem__(self, key: str) -> Any:
        return self.data[key]


def load_baseline(path: Path) -> Baseline:
    """BadInput: it cannot be read, or is not what `harness profile --json` writes."""
    hint = "Make it with `harness profile MODEL --board B --json FILE`."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read the baseline: {error.strerror}", where=str(path), hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the baseline is not JSON: {error}", where=str(path), hint=hint) from error
    lack = _lack(data)
    if lack:
        raise BadInput(f"the baseline is not a profile: {lack}", where=str(path), hint=hint)
    if data["format"] != FORMAT:
        raise BadInput(
            f"the baseline has format {data['format']}, this harness reads {FORMAT}", where=str(path), hint=hint
        )
    return Baseline(path, data)


def _lack(data: object) -> str:
    """What keeps `data` from being a profile; empty when nothing does."""
    if not isinstance(data, dict):
        return "it is not an object"
    wanted: dict[str, type] = {"format": int, "model": str, "model_sha256": str, "board": str, "counter": str,
                               "compiler": str, "inputs": dict, "layers": list, "total": dict}  # fmt: skip
    for key, kind in wanted.items():
        if not isinstance(data.get(key), kind):
            return f"it has no usable {key!r}"
    for index, row in enumerate(data["layers"]):
        texts = isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("name", "op", "tensor"))
        if not texts or not isinstance(row.get("ops"), list) or not all(isinstance(op, int) for op in row["ops"]):
            return f"layers[{index}] does not say which layer it is"
    for row in (*data["layers"], data["total"]):
        for unit in ("instructions", "cycles"):
            value = row.get(unit)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                return f"{unit} is {value!r:.40}"
    return ""


def compare(baseline: Baseline, profile: Profile, threshold: Fraction) -> Comparison:
    """BadInput: the two are of different models, boards, inputs or ways of counting."""
    now = profile.to_json()
    _check_same(baseline, now)
    unit = "cycles" if now["total"]["instructions"] is None else "instructions"
    pairs = _matched(baseline["layers"], now["layers"])
    changes = [_change(before, after, unit) for before, after in pairs]
    total = Change("total", "", "", baseline["total"].get(unit), now["total"][unit])
    notes = []
    if baseline["compiler"] != now["compiler"]:
        notes.append(f"the baseline was built by another compiler: {baseline['compiler']}; now {now['compiler']}")
    return Comparison(baseline.path, unit, threshold, tuple(changes), total, tuple(notes))


def _check_same(baseline: Baseline, now: Row) -> None:
    for key, what in (("board", "board"), ("counter", "way of counting")):
        if baseline[key] != now[key]:
            raise BadInput(
                f"the baseline is of another {what}: {baseline[key]!r}, not {now[key]!r}", where=str(baseline.path)
            )
    if baseline["model_sha256"] != now["model_sha256"]:
        names = "" if baseline["model"] == now["model"] else f": {baseline['model']!r}, not {now['model']!r}"
        raise BadInput(
            f"the baseline is of another model{names}",
            where=str(baseline.path),
            hint="" if names else "The file has the same name and other content: make a new baseline of it.",
        )
    if baseline["inputs"] != now["inputs"]:
        raise BadInput(
            f"the baseline was counted on other inputs: {baseline['inputs']}, not {now['inputs']}",
            where=str(baseline.path),
            hint="Give the same --seed or --inputs: what a layer costs may depend on its data.",
        )


def _matched(before: Sequence[Row], after: Sequence[Row]) -> list[tuple[Row | None, Row | None]]:
    """Pairs of the same layer, in the order of `after`; at the end those of `before` that are gone."""
    partner: dict[int, Row] = {}  # by position in `after`
    left = list(before)
    for identity in _IDENTITIES:
        for position, row in enumerate(after):
            key = identity(row)
            here = [p for p, other in enumerate(after) if p not in partner and identity(other) == key]
            there = [other for other in left if identity(other) == key]
            if here == [position] and len(there) == 1:
                partner[position] = there[0]
                left = [other for other in left if other is not there[0]]
    pairs: list[tuple[Row | None, Row | None]] = [(partner.get(p), row) for p, row in enumerate(after)]
    return [*pairs, *((row, None) for row in left)]


def _change(before: Row | None, after: Row | None, unit: str) -> Change:
    row = after if after is not None else before
    assert row is not None
    count = [None if side is None else side.get(unit) for side in (before, after)]
    return Change(row["name"], row["op"], row["tensor"], *count)
