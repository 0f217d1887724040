"""Traces and pictures of a profile: what their formats demand, and that nothing in a name can act in them."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as xml

import pytest

from harness.profile import Profile
from harness.report.chrome_trace import chrome_trace
from harness.report.flame_graph import WIDTH, flame_graph
from harness.report.slices import slices
from harness.report.speedscope import speedscope
from tests.report.profiles import NASTY, named, sample

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=[False, True], ids=["instructions", "cycles"])
def profile(request: pytest.FixtureRequest) -> Profile:
    return sample(cycles=request.param)


def whole(profile: Profile) -> int:
    total = profile.measurement.total
    return total.cycles if total.instructions is None else total.instructions  # type: ignore[return-value]


# ---- slices


def test_slices_add_up(profile: Profile) -> None:
    found = slices(profile)
    assert found.root.total == whole(profile)
    assert found.unit == ("instructions" if profile.measurement.tree else "cycles")
    assert [part.layer for part in found.root.parts] == [0, 1, 2]


def test_layers_that_cost_more_alone_than_the_whole(profile: Profile) -> None:
    """As on a board with caches: nothing may become negative."""
    assert all(chain[-1].own >= 0 for chain in slices(profile).root.walk())


# ---- speedscope: the fields of https://www.speedscope.app/file-format-schema.json


def check_speedscope(data: dict[str, Any]) -> None:
    assert data["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert set(data) <= {"$schema", "shared", "profiles", "name", "activeProfileIndex", "exporter"}
    frames = data["shared"]["frames"]
    for frame in frames:
        assert set(frame) <= {"name", "file", "line", "col"}
        assert isinstance(frame["name"], str)
    for profile in data["profiles"]:
        assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
        assert profile["type"] == "sampled"
        assert profile["unit"] in {"none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"}
        assert len(profile["samples"]) == len(profile["weights"])
        assert all(weight > 0 for weight in profile["weights"])
        assert all(0 <= index < len(frames) for stack in profile["samples"] for index in stack)
        assert profile["endValue"] - profile["startValue"] == sum(profile["weights"])
    assert 0 <= data["activeProfileIndex"] < len(data["profiles"])


def test_speedscope_is_what_its_schema_demands(profile: Profile) -> None:
    data = json.loads(json.dumps(speedscope(slices(profile))))
    check_speedscope(data)
    assert sum(data["profiles"][0]["weights"]) == whole(profile)


def test_speedscope_keeps_the_order_of_execution_and_what_each_chain_costs() -> None:
    data = speedscope(slices(sample()))
    names = [frame["name"].split(":")[0] for frame in data["shared"]["frames"]]
    (found,) = data["profiles"]
    stacks = ["/".join(names[index] for index in stack) for stack in found["samples"]]
    assert dict(zip(stacks, found["weights"], strict=True)) == {
        "model_run": 20,
        "model_run/add_0": 100,
        "model_run/add_0/nn_kernel": 300,
        "model_run/double_1": 80,
        "model_run/double_1/nn_kernel": 400,
        "model_run/sum_2": 100,
    }
    assert names.count("nn_kernel") == 1


# ---- trace events


def test_events_lie_inside_their_callers_and_beside_their_neighbours(profile: Profile) -> None:
    events = [event for event in chrome_trace(slices(profile))["traceEvents"] if event["ph"] == "X"]
    assert events[0]["ts"] == 0
    assert events[0]["dur"] == whole(profile)
    for one in events:
        for other in events:
            first, second = sorted((one, other), key=lambda event: (event["ts"], -event["dur"]))
            apart = first["ts"] + first["dur"] <= second["ts"]
            inside = second["ts"] + second["dur"] <= first["ts"] + first["dur"]
            assert apart or inside


def test_a_function_does_its_own_part_before_what_it_calls() -> None:
    events = [event for event in chrome_trace(slices(sample()))["traceEvents"] if event["ph"] == "X"]
    assert [(event["name"], event["ts"], event["dur"]) for event in events] == [
        ("model_run", 0, 1000),
        ("add_0", 20, 400),
        ("nn_kernel", 120, 300),
        ("double_1", 420, 480),
        ("nn_kernel", 500, 400),
        ("sum_2", 900, 100),
    ]


def test_every_event_has_what_the_format_demands(profile: Profile) -> None:
    data = json.loads(json.dumps(chrome_trace(slices(profile))))
    by_phase: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in data["traceEvents"]:
        by_phase[event["ph"]].append(event)
    assert {event["name"] for event in by_phase["M"]} == {"process_name", "thread_name"}
    for event in by_phase["X"]:
        assert {"name", "cat", "ts", "dur", "pid", "tid", "args"} <= set(event)
    assert [event["args"]["layer"] for event in by_phase["X"] if event["cat"] == "layer"] == [0, 1, 2]


# ---- flame graph


def boxes(text: str) -> list[tuple[str, float, float, float]]:
    """Title, left edge, width and top of each box."""
    found = []
    for group in xml.fromstring(text).iter(f"{SVG}g"):
        title, box = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        assert box is not None
        found.append((title.text or "", float(box.attrib["x"]), float(box.attrib["width"]), float(box.attrib["y"])))
    return found


def test_boxes_are_as_wide_as_what_they_cost() -> None:
    found = boxes(flame_graph(slices(sample())))
    assert len(found) == 6
    for title, _, width, _ in found:
        count = int(title.split("\n")[1].split(" ")[0].replace(",", ""))
        assert width == pytest.approx(WIDTH * count / 1000, abs=1)


def test_boxes_of_a_row_do_not_overlap(profile: Profile) -> None:
    rows = defaultdict(list)
    for _, left, width, top in boxes(flame_graph(slices(profile))):
        rows[top].append((left, left + width))
    for spans in rows.values():
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert all(start >= 0 and end <= WIDTH for start, end in spans)


def test_names_cannot_act_in_any_file() -> None:
    found = slices(named(sample(), NASTY))
    text = flame_graph(found)
    picture = xml.fromstring(text)
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} == {"svg", "rect", "text", "g", "title"}
    assert "<script" not in text
    assert not any(attribute.startswith("on") for element in picture.iter() for attribute in element.attrib)
    check_speedscope(json.loads(json.dumps(speedscope(found))))
    for written in (text, json.dumps(chrome_trace(found), ensure_ascii=False)):
        assert "\x1b" not in written
        assert "\u202e" not in written


def test_the_picture_needs_nothing_else() -> None:
    text = flame_graph(slices(sample()))
    assert text.count("http") == 1  # the namespace
    assert "href" not in text


def test_a_model_that_executes_nothing_still_has_a_picture() -> None:
    empty = sample()
    root = empty.measurement.tree
    assert root is not None
    for chain in root.walk():
        chain[-1].instructions = 0
    assert boxes(flame_graph(slices(empty))) == []
    check_speedscope(speedscope(slices(empty)))
