import random
from typing import Any

import pytest
from drifting_device import BAD, SECOND, Device, options, told

from actors.outputs import baseline
from actors.outputs.drift import MEMORY, Drift, Watch
from actors.outputs.fields import ARRAY, NUMBER, STRING
from actors.outputs.options import DriftOptions
from actors.readings.batch import Batch

# Warm-up


def test_nothing_is_reported_during_the_warm_up() -> None:
    device = Device(warmupBatches=20)
    for number in range(19):
        assert device.poll(speed=1 if number % 2 else "fast", **{f"field_{number}": 1}) == []
    assert not device.watch.baseline.learned
    device.poll(speed=1)
    assert device.watch.baseline.learned


def test_what_is_there_often_enough_in_the_warm_up_is_expected() -> None:
    device = Device(warmupBatches=10, minFieldPresenceRatio=0.5)
    device.poll(5, always=1, half=1)
    device.poll(4, always=1, seldom=1)
    device.poll(1, always=1)
    assert device.expected == {"always", "half"}


def test_a_device_without_a_warm_up_expects_what_its_first_batch_holds() -> None:
    device = Device(warmupBatches=0)
    device.poll(speed=1)
    assert device.expected == {"speed"}


def test_what_was_seen_in_the_warm_up_is_not_new_though_not_expected() -> None:
    device = Device(warmupBatches=5)
    device.poll(speed=1, seldom=1)
    device.poll(4, speed=1)
    assert device.poll(3, speed=1, seldom=1) == []


# Missing


def test_an_expected_field_is_missing_after_so_many_batches_without_it() -> None:
    device = Device(consecutiveMissingThreshold=10)
    device.poll(5, speed=1.5, load=1)
    assert device.poll(9, load=1) == []
    assert device.poll(load=1) == [Drift("missing-field", "reading:speed", device.now, NUMBER)]


def test_a_missing_field_is_reported_once() -> None:
    device = Device(consecutiveMissingThreshold=3, adaptiveRetireBatches=1000)
    device.poll(5, speed=1, load=1)
    assert len(device.poll(900, load=1)) == 1


def test_batches_without_the_field_count_only_in_a_row() -> None:
    device = Device(consecutiveMissingThreshold=3)
    device.poll(5, speed=1, load=1)
    for _ in range(5):
        assert device.poll(2, load=1) == []
        assert device.poll(1, speed=1, load=1) == []


def test_a_field_is_missing_only_once_its_window_is_over_too() -> None:
    device = Device(consecutiveMissingThreshold=3, windowMs=60 * SECOND)
    device.poll(5, speed=1, load=1)
    assert device.poll(60, load=1) == []
    assert told(device.poll(1, load=1)) == [("missing-field", "speed")]


def test_a_bad_reading_among_good_ones_is_absent() -> None:
    device = Device(consecutiveMissingThreshold=3)
    device.poll(5, speed=1, load=1)
    assert told(device.poll(3, speed=BAD, load=1)) == [("missing-field", "speed")]


def test_an_offline_device_misses_nothing() -> None:
    device = Device(consecutiveMissingThreshold=3, adaptiveRetireBatches=5)
    device.poll(5, speed=1, load=1)
    assert device.poll(100) == []
    assert device.poll(5, speed=1, load=1) == []
    assert device.watch.baseline.batches == 10


# Types


def test_an_unusual_type_is_reported_once() -> None:
    device = Device()
    device.poll(5, speed=1)
    assert device.poll(10, speed="fast") == [
        Drift("type-drift", "reading:speed", device.now - 9000, NUMBER, STRING)
    ]


def test_integers_and_floats_are_both_numbers() -> None:
    device = Device()
    for number in range(40):
        device.poll(speed=1 if number % 3 else 1.5)
    assert device.found == []


def test_a_type_of_a_large_enough_share_is_usual() -> None:
    device = Device(warmupBatches=20, minTypeDominanceRatio=0.15)
    device.poll(14, speed=1)
    device.poll(6, speed="fast")
    for _ in range(5):
        device.poll(5, speed=1)
        device.poll(1, speed="fast")
    assert device.found == []


def test_a_type_of_too_small_a_share_is_not() -> None:
    device = Device(warmupBatches=20, minTypeDominanceRatio=0.15)
    device.poll(2, speed="fast")
    device.poll(18, speed=1)
    assert told(device.poll(1, speed="fast")) == [("type-drift", "speed")]


def test_a_type_that_does_not_last_its_window_is_not_reported() -> None:
    device = Device(windowMs=10 * SECOND)
    device.poll(5, speed=1)
    device.poll(10, speed="fast")
    assert device.poll(5, speed=1) == []


def test_a_type_that_lasts_is_reported_though_it_gains_share_meanwhile() -> None:
    device = Device(windowMs=60 * SECOND)
    device.poll(5, speed=1)
    assert device.poll(60, speed="fast") == []
    assert told(device.poll(1, speed="fast")) == [("type-drift", "speed")]


def test_a_type_that_stays_becomes_usual() -> None:
    device = Device(alertCooldownMs=0)
    device.poll(5, speed=1)
    device.poll(50 * MEMORY, speed=1)
    device.poll(1, speed="fast")
    device.poll(500, speed="fast")
    device.poll(1, speed=1)
    assert device.poll(1, speed="fast") == []
    assert told(device.found) == [("type-drift", "speed")]


def test_types_of_values_inside_an_object_are_watched() -> None:
    device = Device()
    device.poll(5, position={"x": 1, "inner": {"y": True}})
    assert [(d.field, d.observed_type) for d in device.poll(position={"x": [1], "inner": {"y": True}})] == [
        ("key:position.x", ARRAY)
    ]


# New


def test_an_unseen_field_is_new_once() -> None:
    device = Device()
    device.poll(5, speed=1)
    assert device.poll(10, speed=1, load=True) == [
        Drift("new-field", "reading:load", device.now - 9000, observed_type=2)
    ]
    device.poll(10, speed=1)
    assert device.poll(10, speed=1, load=True) == []


def test_a_new_field_is_reported_when_it_has_lasted() -> None:
    device = Device(windowMs=10 * SECOND, adaptiveRetireBatches=30)
    device.poll(5, speed=1)
    device.poll(2, speed=1, glitch=1)
    assert device.poll(60, speed=1) == []
    assert device.poll(10, speed=1, load=1) == []
    assert told(device.poll(1, speed=1, load=1)) == [("new-field", "load")]


def test_a_new_field_that_is_there_often_becomes_expected() -> None:
    device = Device(adaptivePromotionBatches=50, adaptivePromotionRatio=0.6)
    device.poll(5, speed=1)
    device.poll(30, speed=1, load=1)
    device.poll(19, speed=1)
    assert device.expected == {"speed"}
    device.poll(1, speed=1)
    assert device.expected == {"speed", "load"}


def test_a_new_field_that_is_there_too_seldom_gets_another_trial() -> None:
    device = Device(adaptivePromotionBatches=50, adaptivePromotionRatio=0.6)
    device.poll(5, speed=1)
    device.poll(29, speed=1, load=1)
    device.poll(21, speed=1)
    assert device.expected == {"speed"}
    device.poll(50, speed=1, load=1)
    assert device.expected == {"speed", "load"}


# Renames


def test_a_new_field_that_resembles_a_missing_one_is_perhaps_a_rename() -> None:
    device = Device(consecutiveMissingThreshold=3)
    device.poll(5, motor_speed=1, load=1)
    assert device.poll(2, motor_speed_1=1.5, load=1) == []
    missing, renamed = device.poll(1, motor_speed_1=1.5, load=1)
    assert missing == Drift("missing-field", "reading:motor_speed", device.now, NUMBER)
    assert renamed == Drift(
        "rename-candidate",
        "reading:motor_speed_1",
        device.now,
        NUMBER,
        NUMBER,
        "reading:motor_speed",
        0.846,
    )
    assert device.poll(40, motor_speed_1=1.5, load=1) == []


def test_a_new_field_that_resembles_none_is_new_once_the_old_one_is_missing() -> None:
    device = Device(consecutiveMissingThreshold=3)
    device.poll(5, motor_speed=1, load=1)
    assert device.poll(2, temperature=1, load=1) == []
    assert told(device.poll(1, temperature=1, load=1)) == [
        ("missing-field", "motor_speed"),
        ("new-field", "temperature"),
    ]


def test_a_missing_field_has_one_new_name() -> None:
    device = Device(consecutiveMissingThreshold=3)
    device.poll(5, motor_speed=1, load=1)
    device.poll(3, load=1)
    device.poll(20, load=1, motor_speed_3=1, motor_speed_22=1)
    assert told(device.found) == [
        ("missing-field", "motor_speed"),
        ("rename-candidate", "motor_speed_3"),
        ("new-field", "motor_speed_22"),
    ]


def test_the_new_name_may_come_after_the_old_one_was_missed() -> None:
    device = Device(consecutiveMissingThreshold=3)
    device.poll(5, motor_speed=1, load=1)
    assert told(device.poll(5, load=1)) == [("missing-field", "motor_speed")]
    assert told(device.poll(1, motor_speed2=1, load=1)) == [("rename-candidate", "motor_speed2")]


def test_a_new_field_does_not_wait_for_ever_for_those_that_come_and_go() -> None:
    device = Device(consecutiveMissingThreshold=4)
    device.poll(5, this=1, that=1)
    for _ in range(2):
        assert device.poll(1, this=1, extra=1) == []
        assert device.poll(1, that=1, extra=1) == []
    assert told(device.poll(1, this=1, extra=1)) == [("new-field", "extra")]


@pytest.mark.parametrize("bound", [{"maxRenameCandidates": 0}, {"maxRenameFieldLength": 5}])
def test_renames_are_looked_for_within_bounds(bound: dict[str, int]) -> None:
    device = Device(consecutiveMissingThreshold=3, **bound)
    device.poll(5, motor_speed=1, load=1)
    device.poll(10, motor_speed_1=1, load=1)
    assert told(device.found) == [("missing-field", "motor_speed"), ("new-field", "motor_speed_1")]


# Not twice


def test_the_same_event_is_not_repeated_during_its_cooldown() -> None:
    device = Device(consecutiveMissingThreshold=2, alertCooldownMs=1000 * SECOND)
    device.poll(5, speed=1, load=1)
    assert len(device.poll(2, load=1)) == 1
    device.poll(1, speed=1, load=1)
    assert device.poll(900, load=1) == []
    assert told(device.poll(100, load=1)) == [("missing-field", "speed")]


def test_a_cooldown_is_of_one_field_and_one_type() -> None:
    device = Device(consecutiveMissingThreshold=2)
    device.poll(5, speed=1, load=1, heat=1)
    assert told(device.poll(2, load=1, heat=1)) == [("missing-field", "speed")]
    assert told(device.poll(2, heat=1)) == [("missing-field", "load")]
    assert told(device.poll(1, speed="fast", heat=1)) == [("type-drift", "speed")]


# Forgetting


def test_a_missing_field_is_forgotten_but_for_its_tombstone() -> None:
    device = Device(consecutiveMissingThreshold=3, adaptiveRetireBatches=20, alertCooldownMs=0)
    device.poll(5, speed=1, load=1)
    device.poll(19, load=1)
    assert device.expected == {"speed", "load"}
    device.poll(1, load=1)
    assert device.expected == {"load"}
    assert device.field("reading:speed").retired
    assert device.poll(10, speed=1, load=1) == []  # neither new
    assert told(device.poll(10, load=1)) == []  # nor missing
    assert told(device.found) == [("missing-field", "speed")]


def test_a_field_is_not_forgotten_before_it_was_reported() -> None:
    device = Device(consecutiveMissingThreshold=3, adaptiveRetireBatches=5, windowMs=100 * SECOND)
    device.poll(5, speed=1, load=1)
    assert told(device.poll(101, load=1)) == [("missing-field", "speed")]


def test_a_forgotten_field_that_is_back_for_long_enough_is_expected_again() -> None:
    device = Device(consecutiveMissingThreshold=3, adaptiveRetireBatches=5, adaptivePromotionBatches=10)
    device.poll(5, speed=1, load=1)
    device.poll(10, load=1)
    device.poll(9, speed=1, load=1)
    assert device.expected == {"load"}
    device.poll(1, speed=1, load=1)
    assert device.expected == {"speed", "load"}


# Bounds


@pytest.mark.parametrize("name", ["maxTrackedFields", "maxFieldCount"])
def test_no_more_fields_are_watched_than_allowed(name: str) -> None:
    device = Device(**{name: 3})
    device.poll(5, a=1, b=1)
    assert told(device.poll(20, a=1, b=1, c=1, d=1)) == [("new-field", "c")]
    assert len(device.watch.baseline.fields) == 3


def test_tombstones_make_room() -> None:
    device = Device(maxTrackedFields=2, consecutiveMissingThreshold=2, adaptiveRetireBatches=4)
    device.poll(5, alpha=1, beta=1)
    device.poll(4, alpha=1, zzz=1)
    assert set(device.watch.baseline.fields) == {"reading:alpha", "reading:beta"}
    device.poll(1, alpha=1, zzz=1)
    assert set(device.watch.baseline.fields) == {"reading:alpha", "reading:zzz"}


def test_no_more_fields_of_a_batch_are_looked_at_than_allowed() -> None:
    device = Device(maxFieldsPerBatch=2)
    device.poll(6, a=1, b={"x": 1}, c=1)
    assert set(device.watch.baseline.fields) == {"reading:a", "reading:b"}


def test_batches_are_judged_at_the_interval() -> None:
    device = Device(checkIntervalBatches=10)
    device.poll(5, speed=1)
    assert device.poll(4, speed=1, load=1) == []
    assert told(device.poll(1, speed=1, load=1)) == [("new-field", "load")]


# Time


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    device = Device(consecutiveMissingThreshold=2, windowMs=10 * SECOND)
    device.poll(5, speed=1, load=1)
    device.poll(1, load=1)
    device.now -= 86_400 * SECOND
    assert device.poll(10, load=1) == []
    assert told(device.poll(1, load=1)) == [("missing-field", "speed")]


# Going on


def test_a_stored_baseline_goes_on_where_it_was() -> None:
    device = Device(consecutiveMissingThreshold=10)
    device.poll(5, speed=1, load=1)
    device.poll(4, load=1)
    device.watch = restored(device.watch)
    assert device.poll(5, load=1) == []
    assert told(device.poll(1, load=1)) == [("missing-field", "speed")]


def test_options_apply_at_once() -> None:
    device = Device(consecutiveMissingThreshold=100)
    device.poll(5, speed=1, load=1)
    assert device.poll(50, load=1) == []
    device.change(consecutiveMissingThreshold=10)
    assert told(device.poll(1, load=1)) == [("missing-field", "speed")]


def test_there_is_something_to_store_only_when_more_than_counts_has_changed() -> None:
    device = Device()
    device.poll(5, speed=1)
    assert device.watch.changed
    device.watch.changed = False
    device.poll(2 * MEMORY, speed=1)
    assert not device.watch.changed
    device.poll(1, speed=1, load=1)
    assert device.watch.changed


# Counting without looking


class Plodder(Watch):
    """Looks at every batch."""

    def observe(self, batch: Batch, now: int) -> Any:
        self._until = 0
        return super().observe(batch, now)


class Counter(Watch):
    """Knows how often it looked."""

    looks = 0

    def _look(self, number: int, now: int) -> Any:
        self.looks += 1
        return super()._look(number, now)


def test_equal_batches_are_hardly_looked_at() -> None:
    watch = Counter("uuid-1", "press", baseline.Baseline(), options())
    device = Device(watch)
    device.poll(900, a=1, b=2.5, c=True)
    assert watch.looks <= 3


VALUES = [1, 1, 1, 2.5, "text", True, BAD, {"x": 1}, {"x": "1", "y": [{"z": 1}]}]
NAMES = ["steady", "motor_speed", "motor_speed_2", "load", "other"]


class Walk:
    """A random device, and the options it is watched with."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.present: dict[str, Any] = {"steady": 1, "motor_speed": 1}

    def options(self) -> DriftOptions:
        pick, choose = self.random.randint, self.random.choice
        return options(
            warmupBatches=pick(0, 8),
            windowMs=choose([0, 3000, 50_000]),
            consecutiveMissingThreshold=pick(1, 12),
            alertCooldownMs=choose([0, 20_000, 1_000_000]),
            adaptivePromotionBatches=pick(1, 40),
            adaptiveRetireBatches=pick(1, 40),
            maxTrackedFields=pick(1, 8),
            maxFieldsPerBatch=pick(2, 9),
            checkIntervalBatches=choose([1, 1, 3, 7]),
            minTypeDominanceRatio=choose([0.15, 0.5]),
        )

    def step(self) -> tuple[int, int, dict[str, Any]]:
        """How many polls, how far apart, and what they read."""
        name = self.random.choice(NAMES)
        if self.random.random() < 0.5 and self.present.pop(name, None) is None:
            self.present[name] = self.random.choice(VALUES)
        offline = self.random.random() < 0.05
        times = self.random.randint(1, 8 if self.random.random() < 0.8 else 100)
        every = self.random.choice([100, 1000, 1000, 7000]) if self.random.random() < 0.97 else -20_000
        return times, every, {} if offline else dict(self.present)


def restored(watch: Watch) -> Watch:
    """As after a restart of the agent."""
    watch.settle()
    stored = baseline.decode(baseline.encode(watch.baseline))
    return type(watch)(watch.device_uuid, watch.device, stored, watch.options)


@pytest.mark.parametrize("seed", range(150))
def test_counting_without_looking_finds_the_same_as_looking_at_every_batch(seed: int) -> None:
    walk = Walk(seed)
    first = walk.options()
    devices = [Device(kind("uuid-1", "press", baseline.Baseline(), first)) for kind in (Watch, Plodder)]
    quick, slow = devices
    for number in range(60):
        times, every, values = walk.step()
        for device in devices:
            device.poll(times, every, **values)
        if number % 17 == 16:
            changed = walk.options()
            for device in devices:
                device.watch.adopt(changed)
        if number % 23 == 22:
            for device in devices:
                device.watch = restored(device.watch)
        for device in devices:
            device.watch.settle()
        assert quick.found == slow.found
        assert quick.watch.baseline == slow.watch.baseline
        assert len(quick.watch.baseline.fields) <= 8
