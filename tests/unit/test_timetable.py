import pytest

from actors.backups.timetable import AFTER_START_MS, HOUR_MS, RETRY_MS, Timetable
from storage.backup_schedule import Schedule

NOW = 1_800_000_000_000
DAY_MS = 24 * HOUR_MS


def timetable(last: int | None, now: int = NOW, running: int = 0, hours: int = 24) -> Timetable:
    found = Timetable()
    found.follow(Schedule(True, hours, 7, last), now, running)
    return found


def test_one_that_is_switched_off_is_never_due() -> None:
    found = Timetable()
    found.follow(Schedule(False, 1, 7, NOW - 100 * DAY_MS), NOW, 0)
    assert not found.is_due(NOW, 10 * DAY_MS)
    assert found.next_at(NOW, 0) is None


def test_the_first_is_made_soon_so_that_it_is_seen_to_work() -> None:
    found = timetable(None)
    assert found.next_at(NOW, 0) == NOW + AFTER_START_MS
    assert not found.is_due(NOW, AFTER_START_MS - 1)
    assert found.is_due(NOW, AFTER_START_MS)


def test_after_a_start_it_waits_for_what_is_left_of_the_interval() -> None:
    # xbmcbackup 147: a backup at every start
    assert timetable(NOW - 20 * HOUR_MS).due_at == 4 * HOUR_MS
    assert timetable(NOW - 1).due_at == DAY_MS - 1


def test_one_that_was_missed_while_the_agent_was_off_is_made_once() -> None:
    # backrest 1386: twice, one right after the other
    found = timetable(NOW - 30 * DAY_MS)
    assert found.is_due(NOW, AFTER_START_MS)
    found.ran(Schedule(True, 24, 7, NOW), AFTER_START_MS)
    assert not found.is_due(NOW, AFTER_START_MS + DAY_MS - 1)
    assert found.is_due(NOW, AFTER_START_MS + DAY_MS)


@pytest.mark.parametrize("ahead", [1, 300 * DAY_MS])
def test_a_last_one_in_the_future_does_not_put_the_next_off_for_ever(ahead: int) -> None:
    # duplicati 1369, 2904: the clock was once ahead, and no backup was made for a year
    found = timetable(NOW + ahead)
    assert found.due_at == HOUR_MS


def test_a_board_that_starts_in_1970_makes_none_at_every_start() -> None:
    # xbian 396
    for start in range(3):
        found = timetable(last=5 * 60_000, now=60_000 + start, running=0)
        assert not found.is_due(60_000, 59 * 60_000)


def test_a_clock_that_is_set_right_after_the_start_brings_it_forward() -> None:
    found = timetable(last=NOW - DAY_MS, now=NOW - DAY_MS + 1, running=0)
    assert not found.is_due(NOW - DAY_MS + 2, 1)
    assert found.is_due(NOW, 2)


def test_a_clock_that_jumps_again_and_again_makes_no_storm() -> None:
    found = timetable(NOW)
    made = 0
    for minute in range(24 * 60):
        now = NOW + (minute % 7 - 3) * 10 * DAY_MS
        if found.is_due(now, minute * 60_000):
            made += 1
            found.ran(Schedule(True, 24, 7, now), minute * 60_000)
    assert made <= 1


def test_a_clock_that_goes_back_puts_nothing_off() -> None:
    found = timetable(NOW)
    found.ran(Schedule(True, 1, 7, NOW), 0)
    assert found.is_due(NOW - 100 * DAY_MS, HOUR_MS)


def test_failures_are_tried_again_ever_more_slowly_and_at_least_hourly() -> None:
    found = timetable(NOW - DAY_MS)
    running, pauses = 0, []
    for _ in range(10):
        found.failed(running)
        assert found.due_at is not None
        pauses.append(found.due_at - running)
        assert not found.is_due(NOW, found.due_at - 1)
        running = found.due_at
        assert found.is_due(NOW, running)
    assert pauses[:4] == [RETRY_MS, 2 * RETRY_MS, 4 * RETRY_MS, 8 * RETRY_MS]
    assert max(pauses) == pauses[-1] == HOUR_MS
    found.ran(Schedule(True, 24, 7, NOW), running)
    found.failed(running)
    assert found.due_at == running + RETRY_MS
