"""Series as they were recorded, or would have been: one sample every 30 s, in MB."""

import math
import random

import pytest

from actors.host.growth import Growth, Window, slope

MINUTE = 60.0


def watched(series, threshold=15.0, interval=30.0):
    """The minutes at which a leak is suspected, and what the watch knows at the end."""
    growth, suspected = Growth(threshold), []
    for number, resident in enumerate(series):
        growth.add(number * interval, resident)
        if growth.leaking:
            suspected.append(number * interval / MINUTE)
    return suspected, growth


def noise(seed, size=0.2):
    return random.Random(seed).uniform(-size, size)


def minutes(count, resident, interval=30.0):
    return [resident(number * interval / MINUTE) for number in range(int(count * MINUTE / interval))]


QUIET = {
    "flat": minutes(600, lambda m: 62 + noise(m, 0.3)),
    "a step, then flat": minutes(300, lambda m: (62 if m < 40 else 140) + noise(m)),
    "a sawtooth of 4 minutes": minutes(600, lambda m: 62 + 10 * (m % 4) + noise(m)),
    "a sawtooth of 30 minutes, from its second tooth on": minutes(300, lambda m: 90 + 0.4 * (m % 30)),
    "a plateau that is soon reached": minutes(300, lambda m: 60 + 90 * (1 - math.exp(-m / 5)) + noise(m)),
    "a start that takes three minutes": minutes(120, lambda m: 60 + 60 * min(m, 3) + noise(m)),
    "load that goes and comes back": minutes(300, lambda m: 150 if m % 60 < 30 else 80),
    "memory that is given back": minutes(300, lambda m: 300 - m * 0.5),
    "noise of five megabytes": minutes(600, lambda m: 80 + noise(m, 5)),
    "the counts of 5,000 endpoints": minutes(300, lambda m: 300 + 20 * min(m / 16, 1) + noise(m)),
    "an outage that fills the memory of an outbox": minutes(
        300, lambda m: 70 + (min(m - 60, 8) * 4 if m >= 60 else 0) + noise(m)
    ),
}


@pytest.mark.parametrize("name", QUIET)
def test_what_is_no_leak_is_not_suspected(name):
    suspected, _ = watched(QUIET[name])
    assert not suspected


def test_what_each_day_brings_is_at_most_suspected_on_the_first():
    days = minutes(4 * 1440, lambda m: 120 + 40 * math.sin(m / 1440 * 2 * math.pi) + noise(m))
    suspected, _ = watched(days)
    assert not [at for at in suspected if at > 1440]


def test_stairs_are_a_leak_after_hours():
    """Such as what a job leaves behind each time."""
    suspected, _ = watched(minutes(600, lambda m: 62 + 8 * (m // 60) + noise(m)))
    assert suspected[0] > 240


@pytest.mark.parametrize(
    ("rate", "within"), [(1.0, 40), (5.0, 30), (0.5, 90), (0.1, 420), (20.0, 30)], ids=str
)
def test_a_leak_is_found(rate, within):
    suspected, growth = watched(minutes(500, lambda m: 62 + rate * m + noise(m)))
    assert suspected
    assert suspected[0] <= within
    assert growth.standing == "leaking"


def test_a_leak_that_sets_in_later_is_found_too():
    suspected, _ = watched(minutes(600, lambda m: 62 + max(0, m - 300) + noise(m)))
    assert 300 < suspected[0] < 345


def test_what_grows_under_a_sawtooth_is_found_by_its_floor():
    suspected, _ = watched(minutes(600, lambda m: 62 + m + 6 * (m % 2) + noise(m)))
    assert suspected


def test_a_leak_that_has_stopped_is_none_any_more():
    suspected, growth = watched(minutes(300, lambda m: 62 + min(m, 60) + noise(m)))
    assert suspected
    assert suspected[-1] < 75
    assert growth.standing == "stable"
    assert growth.grown < 2  # the baseline has come along


def test_growth_below_the_threshold_is_growth_and_no_leak():
    suspected, growth = watched(minutes(25, lambda m: 62 + m), threshold=100)
    assert not suspected
    assert growth.standing == "growing"
    assert growth.count > 10
    assert growth.rate == pytest.approx(1.0, abs=0.01)


def test_the_first_minute_does_not_count():
    _, growth = watched(minutes(2, lambda m: 30 + 60 * min(m, 0.9)))
    assert growth.initial == 30
    assert growth.baseline == pytest.approx(84)
    assert growth.standing == "warming-up"


@pytest.mark.parametrize("interval", [1.0, 5.0, 120.0])
def test_how_often_memory_is_looked_at_is_no_part_of_the_verdict(interval):
    steady = minutes(120, lambda m: 62 + noise(m), interval)
    assert not watched(steady, interval=interval)[0]
    leak = minutes(120, lambda m: 62 + m, interval)
    assert watched(leak, interval=interval)[0]


def test_a_sleep_of_the_machine_is_a_gap_and_no_growth():
    growth = Growth(15)
    for number in range(40):
        growth.add(number * 30, 62)
    growth.add(1e6, 62)
    assert growth.standing == "stable"


def test_a_window_takes_the_least_of_each_bucket():
    window = Window(30)
    filled = [window.add(at, value) for at, value in [(0, 9), (10, 4), (20, 7), (30, 8), (31, 1)]]
    assert filled == [False, False, False, True, False]
    assert [(one.at, one.low, one.high) for one in window.buckets] == [(30, 4, 9)]


def test_a_line_through_points():
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(1, 1), (1, 9)]) == 0
