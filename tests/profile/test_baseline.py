"""A profile against an earlier one: what regressed, what is not comparable, and that equal counts raise no alarm."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from harness.errors import BadInput
from harness.profile import Profile, profile
from harness.profile.baseline import Comparison, compare, load_baseline
from tests.edited_sources import four_layers

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm", "gcc"))),
    reason="needs arm-none-eabi-gcc, qemu-system-arm and gcc",
)
ONE_PERCENT = Fraction(1, 100)
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return profile(four_layers(tmp_path_factory.mktemp("model") / "four.tflite"), "qemu_cortex_m3")


@pytest.fixture
def against(found: Profile, tmp_path: Path) -> Callable[..., Comparison]:
    """against(edit, threshold) -> the profile compared with itself after `edit` of the JSON."""

    def make(edit: Edit = lambda data: None, threshold: Fraction = ONE_PERCENT) -> Comparison:
        data = copy.deepcopy(found.to_json())
        edit(data)
        path = tmp_path / "base.json"
        path.write_text(json.dumps(data))
        return compare(load_baseline(path), found, threshold)

    return make


def scale(index: int, numerator: int, denominator: int) -> Edit:
    """Makes one layer of the baseline cost that share of what it costs now."""

    def edit(data: dict[str, Any]) -> None:
        row = data["layers"][index]
        row["instructions"] = row["instructions"] * numerator // denominator

    return edit


def test_equal_counts_raise_no_alarm(against: Callable[..., Comparison]) -> None:
    for threshold in (Fraction(0), ONE_PERCENT):
        comparison = against(threshold=threshold)
        assert comparison.regressions == ()
        assert comparison.changed == ()
        assert comparison.total.relative == 0


def test_a_layer_above_the_threshold_is_named(against: Callable[..., Comparison]) -> None:
    (worse,) = against(scale(1, 9, 10)).regressions
    assert worse.name == "depthwise_conv2d_1"
    assert worse.relative is not None
    assert worse.relative > Fraction(1, 10)
    assert against(scale(1, 9, 10), Fraction(1, 2)).regressions == ()


def test_the_threshold_itself_is_allowed(against: Callable[..., Comparison], found: Profile) -> None:
    count = found.measurement.layers[0].instructions
    assert count is not None

    def one_less(data: dict[str, Any]) -> None:
        data["layers"][0]["instructions"] = count - 1

    exact = Fraction(1, count - 1)
    assert against(one_less, exact).regressions == ()
    assert len(against(one_less, exact * Fraction(999, 1000)).regressions) == 1
    assert len(against(one_less, Fraction(0)).regressions) == 1


def test_improvements_are_shown_and_raise_no_alarm(against: Callable[..., Comparison]) -> None:
    comparison = against(scale(0, 2, 1))
    assert comparison.regressions == ()
    assert [change.name for change in comparison.changed] == ["conv2d_0"]
    assert comparison.changed[0].relative == Fraction(-1, 2)


def test_the_total_counts_by_itself(against: Callable[..., Comparison]) -> None:
    def cheaper(data: dict[str, Any]) -> None:
        data["total"]["instructions"] //= 2

    assert [change.name for change in against(cheaper).regressions] == ["total"]


def test_layers_are_matched_by_what_they_compute(against: Callable[..., Comparison]) -> None:
    """Numbers in names change when a pass adds or removes a layer before."""

    def renumbered(data: dict[str, Any]) -> None:
        gone = copy.deepcopy(data["layers"][0])
        gone.update(name="pad_0", op="PAD", ops=[99], tensor="padded")
        for row in data["layers"]:
            row["index"] += 1
            row["name"] = f"{row['name'].rpartition('_')[0]}_{row['index']}"
        data["layers"].insert(0, gone)

    comparison = against(renumbered)
    assert comparison.regressions == ()
    assert [(change.name, change.after) for change in comparison.changed] == [("pad_0", None)]


def test_a_layer_that_is_new_has_nothing_to_exceed(against: Callable[..., Comparison]) -> None:
    def without_last(data: dict[str, Any]) -> None:
        data["layers"].pop()

    comparison = against(without_last)
    assert [(change.name, change.before) for change in comparison.changed] == [("softmax_3", None)]
    assert comparison.regressions == ()


def test_from_nothing_to_something_is_above_every_threshold(against: Callable[..., Comparison]) -> None:
    def free(data: dict[str, Any]) -> None:
        data["layers"][0]["instructions"] = 0

    (worse,) = against(free, Fraction(1000)).regressions
    assert (worse.name, worse.relative) == ("conv2d_0", None)


def test_layers_that_look_alike_are_not_mixed_up(against: Callable[..., Comparison]) -> None:
    """All of one operator, tensor and no ops: only the names are left."""

    def alike(data: dict[str, Any]) -> None:
        for row in data["layers"]:
            row.update(tensor="", ops=[])

    assert against(alike).changed == ()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("board", "qemu_cortex_m4", "another board"),
        ("counter", "DWT cycle counter", "another way of counting"),
        ("model_sha256", "00", "another model"),
        ("inputs", {"seed": 7}, "other inputs"),
    ],
)
def test_what_is_not_comparable_is_refused(
    against: Callable[..., Comparison], key: str, value: object, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        against(lambda data: data.update({key: value}))


def test_another_compiler_is_told(against: Callable[..., Comparison]) -> None:
    comparison = against(lambda data: data.update(compiler="gcc 99"))
    assert "gcc 99" in comparison.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an object"),
        ('{"format": 1}', "no usable 'model'"),
        ('{"verdict": "match", "layers": []}', "no usable 'format'"),
    ],
)
def test_what_is_no_profile_is_one_message(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "base.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=words) as error:
        load_baseline(path)
    assert "harness profile" in error.value.hint


def test_damaged_rows(found: Profile, tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    for damage in ({"instructions": "many"}, {"instructions": -1}, {"ops": 3}, {"name": None}):
        data = copy.deepcopy(found.to_json())
        data["layers"][1].update(damage)
        path.write_text(json.dumps(data))
        with pytest.raises(BadInput, match="not a profile"):
            load_baseline(path)
    with pytest.raises(BadInput, match="cannot read"):
        load_baseline(tmp_path / "absent.json")


def test_a_profile_of_a_later_format(found: Profile, tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text(json.dumps({**found.to_json(), "format": 99}))
    with pytest.raises(BadInput, match="format 99"):
        load_baseline(path)
