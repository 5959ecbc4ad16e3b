from itertools import pairwise

import pytest

from actors.publish.ages import LEFT_MS, SAVE_INTERVAL, STEPS, Ages
from storage.outbox_marks import Mark

DAY = 86_400.0
TTL_MS = 7 * 86_400_000
STEP = TTL_MS / STEPS / 1000
"""Seconds."""


class Run:
    """One run of the agent: a payload a minute. `last_seq` is what the disk knows of, `marks` what it has."""

    def __init__(self, marks: list[Mark], last_seq: int, seq: int | None = None) -> None:
        self.now = 5000.0
        self.seq = last_seq if seq is None else seq
        self.ages = Ages(TTL_MS, marks, last_seq, self.now)
        self.marks = marks
        self.came: dict[int, float] = {}
        self.expired: dict[int, float] = {}

    def lasts(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 60.0
            self.seq += 1
            self.came[self.seq] = self.now
            self.ages.note(self.seq, self.now)
            for seq in range(len(self.expired) + 1, self.ages.past(self.now) + 1):
                self.expired[seq] = self.now
            self.marks = self.ages.due(self.now) or self.marks


def test_a_payload_expires_when_its_time_has_passed_and_little_later() -> None:
    run = Run([], 0)
    run.lasts(20 * DAY)
    assert run.expired
    for seq, at in run.expired.items():
        assert 0 < at - run.came[seq] - TTL_MS / 1000 <= 2 * STEP + SAVE_INTERVAL
    assert max(run.expired) >= run.seq - (TTL_MS / 1000 + 2 * STEP) / 60 - 2


def test_there_are_few_marks_however_long_it_lasts() -> None:
    run = Run([], 0)
    run.lasts(20 * DAY)
    assert len(run.marks) <= 2 * STEPS + 3
    assert all(before.seen_ms < after.seen_ms for before, after in pairwise(run.marks))
    assert all(before.seq <= after.seq for before, after in pairwise(run.marks))


def test_restarts_neither_make_it_live_for_ever_nor_age_it() -> None:
    """Killed every 40 minutes; how long it was down, and what the clock said, counts for nothing."""
    seq, marks = 0, list[Mark]()
    ran = 0.0
    while ran < 10 * DAY:
        run = Run(marks, seq)
        run.lasts(2400)
        ran += 2400
        assert run.ages.past(run.now) == 0 or ran >= TTL_MS / 1000
        assert run.ages.past(run.now) > 0 or ran <= TTL_MS / 1000 + 2 * STEP + ran * SAVE_INTERVAL / 2400
        marks, seq = run.marks, run.seq
    assert run.ages.past(run.now) > 0


def test_numbers_that_are_given_again_after_a_crash_are_of_new_payloads() -> None:
    first = Run([], 0)
    first.lasts(1 * DAY)
    on_disk = first.seq - 500
    run = Run(first.marks, on_disk)
    run.lasts(6 * DAY)
    assert run.ages.past(run.now) <= on_disk


def test_what_an_older_version_left_has_its_whole_time_to_live() -> None:
    run = Run([], 1000)
    run.lasts(TTL_MS / 1000)
    assert run.expired == {}
    run.lasts(2 * STEP)
    assert set(run.expired) >= set(range(1, 1001))


@pytest.mark.parametrize("ttl_ms", [1, 63, 1000])
def test_a_short_time_to_live_is_kept(ttl_ms: int) -> None:
    ages = Ages(ttl_ms)
    now = 0.0
    for seq in range(1, 2000):
        now += 0.01
        ages.note(seq, now)
        assert ages.past(now) <= max(0, seq - ttl_ms // 10)
    assert ages.past(now) >= 1999 - ttl_ms // 10 - 10


def test_marks_are_due_once_a_minute() -> None:
    ages = Ages(TTL_MS, now=100.0)
    assert ages.due(100.0 + SAVE_INTERVAL - 1) is None
    assert ages.due(100.0 + SAVE_INTERVAL) == [Mark(0, 0), Mark(60_000, 0)]
    assert ages.due(101.0 + SAVE_INTERVAL) is None
    assert ages.last(110.0 + SAVE_INTERVAL) == [Mark(0, 0), Mark(70_000, 0)]


def test_a_payload_is_as_old_as_it_is_whatever_the_clock_says_and_one_of_an_earlier_run_is_old() -> None:
    ages = Ages(TTL_MS, last_seq=10)
    assert [ages.age_ms(seq, 5000, 7000) for seq in (10, 11)] == [LEFT_MS, 2000]
    ages.shifted(12, -10_000)
    assert [ages.age_ms(seq, 5000, -3000) for seq in (11, 12)] == [2000, 0]


def test_a_stamp_is_shown_as_the_clock_would_have_it_now() -> None:
    ages = Ages(TTL_MS, last_seq=10)
    ages.shifted(15, 1000)
    assert [ages.current(seq, 5000) for seq in (5, 11, 14, 15)] == [5000, 6000, 6000, 5000]
    ages.shifted(20, 0)
    assert [ages.current(seq, 5000) for seq in (5, 11, 14, 15, 20)] == [5000, 5000, 5000, 4000, 5000]
