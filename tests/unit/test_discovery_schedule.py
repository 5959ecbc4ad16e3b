"""When rules are due, whatever the clock says."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.discovery.schedule import JITTER, SOON_MS, SPREAD_MS, Schedule

HOUR = 3_600_000
NOW = 1_800_000_000_000
STAMPS = st.integers(-(2**40), 2**52)


def test_a_new_rule_is_due_soon() -> None:
    schedule = Schedule("a")
    schedule.change(HOUR, None, NOW, 1000)
    assert schedule.due_at is not None
    assert 1000 + SOON_MS <= schedule.due_at <= 1000 + SOON_MS + SPREAD_MS
    assert not schedule.is_due(1000)
    assert schedule.is_due(schedule.due_at)
    assert schedule.next_at(NOW, 1000) == NOW + schedule.due_at - 1000


def test_a_start_does_not_run_all_that_is_due_at_once_nor_what_is_not() -> None:
    overdue = []
    for number in range(200):
        schedule = Schedule(f"rule-{number}")
        schedule.resume(HOUR, NOW - HOUR, NOW, 0)
        assert schedule.due_at is not None
        overdue.append(schedule.due_at)
        schedule.resume(HOUR, NOW + 1_800_000, NOW, 0)
        assert schedule.due_at == 1_800_000
    assert max(b - a for a, b in pairwise(sorted(overdue))) < SPREAD_MS / 5
    assert max(overdue) <= SOON_MS + SPREAD_MS == 60_000


@given(STAMPS, STAMPS, st.integers(60_000, 2_592_000_000), st.text(max_size=9))
def test_no_clock_puts_a_run_off_for_longer_than_the_interval(
    now: int, stamp: int, interval: int, uuid: str
) -> None:
    for begin in (Schedule.resume, Schedule.change):
        schedule = Schedule(uuid)
        begin(schedule, interval, stamp, now, 5000)
        assert schedule.due_at is not None
        assert SOON_MS <= schedule.due_at - 5000 <= max(interval * (1 + JITTER), SOON_MS + SPREAD_MS)


@given(st.integers(60_000, 2_592_000_000), st.text(max_size=9))
def test_equal_rules_drift_apart_by_no_more_than_the_jitter(interval: int, uuid: str) -> None:
    schedule = Schedule(uuid)
    schedule.ran(interval, 0)
    assert schedule.due_at is not None
    assert interval <= schedule.due_at <= interval * (1 + JITTER)


@pytest.mark.parametrize(("last", "left"), [(NOW - 600_000, 3_000_000), (NOW + HOUR, HOUR)])
def test_another_interval_counts_from_the_last_run(last: int, left: int) -> None:
    schedule = Schedule("")
    schedule.change(HOUR, last, NOW, 0)
    assert schedule.due_at == left


def test_one_that_is_stopped_is_never_due() -> None:
    schedule = Schedule("a")
    schedule.ran(HOUR, 0)
    schedule.stop()
    assert not schedule.is_due(2**60)
    assert schedule.next_at(NOW, 0) is None
