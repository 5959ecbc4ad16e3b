"""Drift of devices that tell what has changed."""

from time import process_time
from typing import Any

import msgspec
import pytest

from actors.outputs.baseline import Baseline, decode, encode
from actors.outputs.drift import Drift, Watch
from actors.outputs.fields import NUMBER
from actors.outputs.options import read
from actors.outputs.picture import REGULAR, STEP_MS
from actors.readings.batch import Batch, Point, Source

SECOND = 1000
DAY = 86_400_000


class Device:
    """Every second it tells something; its points are those that it was given."""

    def __init__(self, *points: str, baseline: Baseline | None = None, **options: Any) -> None:
        self.options = read({"warmupBatches": 5, "windowMs": 0, "consecutiveMissingThreshold": 3, **options})
        self.watch = Watch("uuid-1", "press", baseline or Baseline(), self.options)
        self.source = Source("e", "cell", "opcua", "uuid-1", "press", _points(points), (), pushed=True)
        self.now = 1_700_000_000_000

    def tell(self, times: int = 1, every: int = SECOND, **values: Any) -> list[tuple[str, str]]:
        """What was found; names that it does not have yet are new points, an `Exception` is BAD."""
        names = [point.name for point in self.source.points]
        self.grow(*(name for name in values if name not in names))
        names = [point.name for point in self.source.points]
        bad = [isinstance(value, Exception) for value in values.values()]
        found: list[Drift] = []
        for _ in range(times):
            self.now += every
            batch = Batch(
                self.source,
                self.now,
                [None if isinstance(value, Exception) else value for value in values.values()],
                ["BAD_NODE" if one else None for one in bad] if any(bad) else None,
                indices=[names.index(name) for name in values],
            )
            found += self.watch.observe(batch, self.now)
        return [(drift.drift_type, drift.field.partition(":")[2]) for drift in found]

    def grow(self, *names: str) -> None:
        if names:
            points = self.source.points + _points(names)
            self.source = msgspec.structs.replace(self.source, points=points)

    def offline(self, times: int) -> None:
        for _ in range(times):
            self.now += SECOND
            count = len(self.source.points)
            self.watch.observe(Batch(self.source, self.now, [None] * count, ["OFFLINE"] * count), self.now)


def _points(names: Any) -> tuple[Point, ...]:
    return tuple(Point(name) for name in names)


def learnt(*points: str, **options: Any) -> Device:
    device = Device(*points, **options)
    device.tell(6, **dict.fromkeys(points, 1))
    assert device.watch.baseline.learned
    return device


BROKEN = Exception()


def test_what_is_not_in_a_batch_is_not_missing() -> None:
    device = learnt("speed", "load", "heat")
    assert device.tell(1000, speed=2) == []
    assert not any(field.missed for field in device.watch.baseline.fields.values())
    device.watch.settle()
    assert {field.seen for field in device.watch.baseline.fields.values()} == {1006}


def test_a_type_that_changes_is_drift_and_others_are_as_they_were() -> None:
    device = learnt("speed", "load")
    assert device.tell(2, speed=3.5) == []
    assert device.tell(1, load="broken") + device.tell(1, speed=1) == [("type-drift", "load")]


def test_a_bad_reading_is_an_absent_field_until_it_is_good_again() -> None:
    device = learnt("speed", "load")
    assert device.tell(1, load=BROKEN) == []
    assert device.tell(3, speed=1) == [("missing-field", "load")]
    assert device.tell(1, load=4) == []
    assert not device.watch.baseline.fields["reading:load"].missed


def test_a_point_that_turns_up_by_itself_is_new_and_a_configured_one_is_not() -> None:
    device = Device("speed", "late")
    device.tell(6, speed=1)
    assert device.tell(1, late={"a": 1}) + device.tell(5, speed=1) == []
    assert device.tell(1, other=1) + device.tell(5, speed=1) == [("new-field", "other")]


def test_a_key_that_turns_up_in_a_value_is_new() -> None:
    device = Device("state")
    device.tell(6, state={"speed": 1})
    assert device.tell(2, state={"speed": 1, "load": 2}) == [("new-field", "state.load")]


def test_a_whole_device_that_is_away_is_not_drift() -> None:
    device = learnt("speed", "load")
    device.offline(100)
    assert device.tell(100, speed=1) == []


def test_what_comes_within_a_second_counts_as_one_poll() -> None:
    device = Device("speed", "load", "heat")
    for _ in range(10):
        for name in ("speed", "load", "heat"):
            device.tell(1, every=100, **{name: 1})
    assert device.watch.baseline.batches == 3


def test_a_field_that_was_heard_regularly_and_is_silent_is_missing() -> None:
    device = learnt("speed", "load", "heat", silentMs=DAY // 24)
    device.tell(REGULAR, speed=1, load=1)
    assert device.tell(58, every=STEP_MS, speed=1) == []
    assert device.tell(10, every=STEP_MS, speed=1) == [("missing-field", "load")], "heat was seldom heard"
    assert device.tell(1, load=1) == []
    assert device.tell(9 * 60, every=STEP_MS, speed=1) == [], "it has been silent for an hour before"


def test_silence_means_nothing_if_it_is_to_mean_nothing() -> None:
    device = learnt("speed", "load", silentMs=0)
    device.tell(REGULAR, speed=1, load=1)
    assert device.tell(100, every=DAY, speed=1) == []


def test_while_the_device_is_off_nobody_is_silent() -> None:
    device = learnt("speed", "load", silentMs=DAY)
    device.tell(REGULAR, speed=1, load=1)
    device.now += 7 * DAY
    assert device.tell(20, speed=1) == []


def test_after_a_restart_what_has_not_been_heard_is_as_it_was() -> None:
    before = learnt("speed", "load")
    before.watch.settle()
    device = Device(baseline=decode(encode(before.watch.baseline)))
    assert device.tell(100, speed=1) == []
    assert device.tell(1, load="text") + device.tell(1, speed=1) == [("type-drift", "load")]


def test_a_device_that_is_polled_from_now_on_is_watched_as_polled_ones_are() -> None:
    device = learnt("speed", "load")
    device.source = msgspec.structs.replace(device.source, pushed=False)
    for _ in range(5):
        device.now += SECOND
        assert device.watch.observe(Batch(device.source, device.now, [1, 2]), device.now) == ()
    assert device.watch.baseline.batches == 11


def test_a_device_whose_points_become_more_is_not_read_anew() -> None:
    device = Device()
    for number in range(200):
        device.tell(1, every=STEP_MS, **{f"p{number}": number})
    assert len(device.watch.baseline.fields) == 200
    assert device.watch.baseline.fields["reading:p7"].kind == NUMBER


@pytest.mark.parametrize("points", [10, 1000])
def test_a_reading_costs_the_same_however_many_points_a_device_has(points: int) -> None:
    few, many = Device(*(f"p{n}" for n in range(10))), Device(*(f"p{n}" for n in range(points)))
    taken = []
    for device in (few, many):
        device.tell(6, **{point.name: 1 for point in device.source.points})
        batches = [Batch(device.source, device.now, [n], indices=[3]) for n in range(2000)]
        began = process_time()
        for batch in batches:
            device.watch.observe(batch, device.now)
        taken.append(process_time() - began)
    assert taken[1] < 5 * taken[0] + 0.05
