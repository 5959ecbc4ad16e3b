"""Whatever batches come and whatever a subscription asks for: what goes out is what came in and is wanted,
each reading once, with its own time, and those of a point in order."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from actors.publish import formats, selection
from actors.publish.formats import MessageIds, sparkplug
from actors.publish.subscription_route import SubscriptionRoute
from actors.readings.batch import Batch, Point, Source, quality
from actors.readings.interest import Choice, select
from storage.timestamps import iso

POINTS = tuple(Point(f"p{number}", "bar" if number % 2 else None) for number in range(6))
SOURCE = Source("e-1", "line-1", "opcua", "d-1", "press-4", POINTS, ("opcua/line-1/press-4/",), pushed=True)
IDS = MessageIds("agent")
Told = tuple[str, Any, int]
"""Metric, value or quality code, own time."""


@st.composite
def batches(draw: st.DrawFn) -> list[Batch]:
    """Every reading has a value of its own."""
    made, value = [], 0
    for number in range(draw(st.integers(1, 5))):
        whole = draw(st.booleans())
        indices = list(range(6)) if whole else draw(st.permutations(range(6)))[: draw(st.integers(1, 6))]
        codes = [draw(st.sampled_from([None, None, "STALE", "TIMEOUT"])) for _ in indices]
        own = [draw(st.integers(0, 3)) + 10 * number for _ in indices]
        values = [value + position for position in range(len(indices))]
        value += len(indices)
        made.append(
            Batch(
                SOURCE,
                100 + 10 * number,
                [None if code == "TIMEOUT" else one for one, code in zip(values, codes, strict=True)],
                codes if any(codes) else None,
                {},
                indices=None if whole and draw(st.booleans()) else indices,
                times=own if draw(st.booleans()) else None,
            )
        )
    return made


@st.composite
def routes(draw: st.DrawFn) -> dict[str, Any]:
    names = st.lists(st.sampled_from([point.name for point in POINTS]), max_size=3).map(tuple)
    return {
        "topics": draw(st.sampled_from([(), ("opcua/line-1/press-4/#",), ("opcua/line-1/press-4/p1",)])),
        "include_metrics": draw(names),
        "exclude_metrics": draw(names),
        "qualities": draw(st.sampled_from([(), ("GOOD",), ("BAD", "UNCERTAIN"), ("GOOD", "BAD")])),
        "max_points_per_message": draw(st.sampled_from([0, 1, 2, 4, 100])),
    }


def wanted(route: SubscriptionRoute, taken: list[Batch]) -> Iterator[tuple[Told, Any]]:
    """What is to go out, in order, and the value."""
    chosen = select(route.interest, SOURCE)
    for batch in taken:
        for position, index in enumerate(range(6) if batch.indices is None else batch.indices):
            value = batch.values[position]
            code = None if batch.qualities is None else batch.qualities[position]
            if chosen is not None and index not in chosen:
                continue
            if route.qualities and quality(value, code) not in route.qualities:
                continue
            time = batch.timestamp if batch.times is None else batch.times[position]
            yield (f"p{index}", value if code is None else code, time), value


def published(route: SubscriptionRoute, taken: list[Batch]) -> list[bytes]:
    own = formats.find(route.payload_format)
    choice = Choice(select(route.interest, SOURCE))
    made = selection.messages(route, choice, taken, own.per_poll, own.per_time)
    payloads = [formats.encode(own.name, "json", pieces, IDS) for pieces in made]
    limit = route.max_points_per_message
    if limit:
        for pieces in made:
            sizes = (len(batch.values if places is None else places) for batch, places in pieces)
            assert sum(sizes) <= limit
    return [payload for payload in payloads if payload is not None]


def told_custom(payload: bytes) -> Iterator[tuple[str, Any, Any]]:
    for one in json.loads(payload)["messages"]:
        assert one.get("unit") == POINTS[int(one["metric"][1:])].unit
        yield one["metric"], one.get("qualityCode", one["value"]), one["timestamp"]


def told_tags(payload: bytes) -> Iterator[Told]:
    body = json.loads(payload)
    for tag in body["tags"]:
        yield tag["name"], tag.get("error", tag.get("value")), body["timestamp"]


def told_line(payload: bytes) -> Iterator[Told]:
    point = parse_line(f"m,{payload.decode()}")
    for name, value in point["fields"].items():
        yield name, value, point["time"]


def told_sparkplug(payload: bytes) -> Iterator[Told]:
    stored = sparkplug.read(payload)
    count = len(stored.names)
    codes, times = stored.codes or [None] * count, stored.times or [stored.timestamp] * count
    for name, unit, value, code, time in zip(
        stored.names, stored.units, stored.values, codes, times, strict=True
    ):
        assert unit == POINTS[int(name[1:])].unit
        yield name, value if code is None else code, time


DECODED: dict[str, Any] = {
    "custom": told_custom,
    "tags": told_tags,
    "ecp": told_tags,
    "line-protocol": told_line,
    "sparkplug": told_sparkplug,
}


@pytest.mark.parametrize("name", DECODED)
@given(batches(), routes())
def test_what_goes_out_is_what_came_in(name: str, taken: list[Batch], parts: dict[str, Any]) -> None:
    route = SubscriptionRoute(topic="out", payload_format=name, compression=None, **parts)
    found = [told for payload in published(route, taken) for told in DECODED[name](payload)]
    expected = list(wanted(route, taken))
    if name in ("ecp", "line-protocol"):  # they have no place for what has no value, nor for a code
        told = [(metric, value, time) for (metric, _, time), value in expected if value is not None]
    elif name == "custom":
        told = [(metric, what, iso(time)) for (metric, what, time), _ in expected]
    else:
        told = [reading for reading, _ in expected]
    assert len(found) == len(told)
    for point in POINTS:
        of_point = [one[1:] for one in found if one[0] == point.name]
        assert of_point == [one[1:] for one in told if one[0] == point.name]
