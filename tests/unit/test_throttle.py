from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.publish.throttle import DeviceThrottle, Throttle
from actors.readings.batch import Batch, Insight, Point, Source
from actors.readings.interest import Choice

# Of polls


def admitted(interval: int, *timestamps: int) -> list[int]:
    throttle = Throttle(interval)
    return [timestamp for timestamp in timestamps if throttle.admits(timestamp)]


def test_polls_within_the_interval_are_left_out() -> None:
    times = range(1_000_000, 1_060_000, 250)
    assert admitted(10_000, *times) == [1_000_000, *(1_009_750 + 10_000 * number for number in range(6))]


def test_the_first_poll_passes_whatever_its_time() -> None:
    assert admitted(60_000, 0) == [0]
    assert admitted(60_000, 1741083325004) == [1741083325004]


@pytest.mark.parametrize("jitter", [[0, 1], [1, 0], [0, -1], [20, 0, 45, -40, 3], [0, 0, 90, 0]])
def test_polls_as_frequent_as_the_interval_all_pass_in_spite_of_jitter(jitter: list[int]) -> None:
    times = [1_000_000 + 1000 * number + jitter[number % len(jitter)] for number in range(500)]
    assert admitted(1000, *times) == times


def test_a_poll_that_is_very_late_does_not_cost_more_than_the_one_after_it() -> None:
    times = [0, 1000, 2900, 3000, 4000, 5000, 6000]
    assert admitted(1000, *times) == [0, 1000, 2900, 4000, 5000, 6000]


@pytest.mark.parametrize("interval", [1, 5, 100, 1000])
@pytest.mark.parametrize("period", [1, 7, 90, 95, 100, 130, 999, 1000])
def test_in_the_long_run_there_is_at_most_one_poll_per_interval(interval: int, period: int) -> None:
    times = list(range(0, 200 * interval, period))
    passed = admitted(interval, *times)
    assert (len(passed) - 1) * interval <= times[-1] + max(1, interval // 10)
    assert all(later - sooner >= 0.9 * interval - 1 for sooner, later in pairwise(passed))


def test_polls_slower_than_the_interval_all_pass() -> None:
    times = list(range(0, 100_000, 1001))
    assert admitted(1000, *times) == times


@pytest.mark.parametrize("back", [500, 1500, 3_600_000, 10**12])
def test_a_clock_that_is_set_back_blocks_for_little_more_than_an_interval(back: int) -> None:
    before = list(range(2 * 10**12, 2 * 10**12 + 10_000, 100))
    after = [time - back for time in range(before[-1] + 100, before[-1] + 10_000, 100)]
    throttle = Throttle(1000)
    for time in before:
        throttle.admits(time)
    passed = [time for time in after if throttle.admits(time)]
    assert passed[0] - after[0] <= 1100
    assert len(passed) >= 9


def test_a_clock_that_is_set_forward_does_not_block() -> None:
    assert admitted(1000, 0, 1000, 10**12, 10**12 + 1000) == [0, 1000, 10**12, 10**12 + 1000]


# Of devices that tell what has changed

SOURCE = Source(
    "e", "line-1", "opcua", "d", "press", tuple(Point(f"p{n}") for n in range(5)), (), pushed=True
)
INTERVAL = 1000
SLACK = 100
ALL = Choice(None)


class Line:
    """A throttle and its timer; `out` is what it let pass: when, point, value, own time."""

    def __init__(self, choice: Choice = ALL, source: Source = SOURCE) -> None:
        self.throttle = DeviceThrottle(INTERVAL)
        self.choice = choice
        self.source = source
        self.out: list[tuple[int, int, Any, int]] = []

    def until(self, now: int) -> None:
        while (at := self.throttle.release_at) is not None and at <= now:
            self._note(at, self.throttle.release(at, at))

    def tell(self, now: int, readings: dict[int, Any], **parts: Any) -> Batch | None:
        self.until(now)
        batch = Batch(self.source, now, list(readings.values()), indices=list(readings), **parts)
        if self.source.pushed and len(readings) == len(self.source.points):
            batch = msgspec.structs.replace(batch, indices=None)
        admitted = self.throttle.admit(batch, self.choice, now)
        self._note(now, admitted)
        return admitted

    def _note(self, now: int, batch: Batch | None) -> None:
        if batch is None:
            return
        numbers = range(len(batch.values)) if batch.indices is None else batch.indices
        for position, index in enumerate(numbers):
            time = batch.timestamp if batch.times is None else batch.times[position]
            if self.choice.points is None or index in self.choice.points:
                self.out.append((now, index, batch.values[position], time))


def test_each_point_has_its_own_interval() -> None:
    line = Line()
    line.tell(0, {0: "a"})
    line.tell(10, {1: "b"})
    line.tell(950, {0: "c", 1: "d"})
    assert line.out == [(0, 0, "a", 0), (10, 1, "b", 10), (950, 0, "c", 950), (950, 1, "d", 950)]


def test_the_last_reading_that_was_held_back_goes_when_the_interval_is_over() -> None:
    line = Line()
    for now, value in ((0, "a"), (100, "b"), (300, "c"), (400, "d")):
        line.tell(now, {0: value}, times=[now - 7])
    line.until(10_000)
    assert line.out == [(0, 0, "a", -7), (INTERVAL, 0, "d", 393)]
    assert line.throttle.release_at is None


def test_what_is_held_back_keeps_its_quality_and_what_is_known_of_it() -> None:
    line = Line()
    line.tell(0, {2: 1})
    known = Insight(trend="stable")
    assert line.tell(1, {2: None}, qualities=["TIMEOUT"], insights=[known]) is None
    held = line.throttle.release_all(77)
    assert held == Batch(SOURCE, 77, [None], ["TIMEOUT"], {}, insights=[known], indices=(2,), times=[1])
    assert line.throttle.release_all(78) is None


def test_a_newer_reading_takes_the_place_of_one_that_is_held() -> None:
    line = Line()
    line.tell(0, {0: "a"})
    line.tell(500, {0: "b"})
    line.tell(INTERVAL - 50, {0: "c"})
    line.until(5 * INTERVAL)
    assert [value for _, _, value, _ in line.out] == ["a", "c"]


def test_all_points_of_a_device_that_pushes_are_looked_at_one_by_one() -> None:
    line = Line()
    line.tell(0, {3: "a"})
    line.tell(500, dict.fromkeys(range(5), "b"))
    line.until(5 * INTERVAL)
    assert [told for told in line.out if told[1] == 3] == [(0, 3, "a", 0), (INTERVAL, 3, "b", 500)]
    assert {told[0] for told in line.out if told[1] != 3} == {500}


def test_polls_that_are_left_out_are_not_held() -> None:
    polled = msgspec.structs.replace(SOURCE, pushed=False)
    throttle = DeviceThrottle(INTERVAL)
    assert throttle.admit(Batch(polled, 0, [1] * 5), ALL, 0) is not None
    assert throttle.admit(Batch(polled, 1, [1] * 5), ALL, 1) is None
    assert throttle.release_at is None


def test_points_that_nobody_wants_are_not_held() -> None:
    line = Line(Choice((1,)))
    line.tell(0, {0: "a", 1: "a"})
    line.tell(1, {0: "b"})
    assert line.throttle.release_at is None


def test_points_keep_their_intervals_when_others_are_added() -> None:
    line = Line()
    line.tell(0, {0: "a"})
    line.tell(1, {0: "b"})
    line.source = msgspec.structs.replace(SOURCE, points=(*SOURCE.points, Point("new")))
    line.tell(2, {0: "c", 5: "n"})
    line.until(INTERVAL)
    assert line.out == [(0, 0, "a", 0), (2, 5, "n", 2), (INTERVAL, 0, "c", 2)]


def test_other_points_begin_anew() -> None:
    line = Line()
    line.tell(0, {0: "a"})
    line.source = msgspec.structs.replace(SOURCE, points=(Point("other"),), pushed=True)
    line.tell(1, {0: "b"})
    assert [value for _, _, value, _ in line.out] == ["a", "b"]


@given(
    st.lists(
        st.tuples(st.integers(0, 700), st.sets(st.integers(0, 4), min_size=1), st.booleans()),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([None, (0, 2), (4,)]),
)
def test_no_point_is_left_with_an_outdated_value(
    told: list[tuple[int, set[int], bool]], wanted: tuple[int, ...] | None
) -> None:
    line, now = Line(Choice(wanted)), 1_000_000
    into: list[tuple[int, int, int]] = []
    for number, (passed, points, own) in enumerate(told):
        now += passed
        times = [now - 5000 + number for _ in points] if own else None
        line.tell(now, dict.fromkeys(sorted(points), number), times=times)
        into += [(point, number, now if times is None else now - 5000 + number) for point in sorted(points)]
    line.until(now + 2 * INTERVAL)
    assert line.throttle.release_at is None
    for point in range(5) if wanted is None else wanted:
        came = [(value, time) for index, value, time in into if index == point]
        went = [(value, time) for _, index, value, time in line.out if index == point]
        assert went[-1:] == came[-1:]
        rest = iter(came)
        assert all(one in rest for one in went), "in order, and none twice"
        at = [when for when, index, *_ in line.out if index == point]
        assert all(later - sooner >= INTERVAL - SLACK for sooner, later in pairwise(at))
        assert (len(at) - 1) * INTERVAL <= (at[-1] - at[0]) + SLACK if at else True
