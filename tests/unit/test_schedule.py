import pytest

from actors.endpoints.schedule import SLOT_MAX, Schedule, origin, phase


def ticks(schedule: Schedule, now: float, count: int, late: float = 0.0) -> list[float]:
    """When the next `count` ticks are due if each is handled `late` seconds after it was."""
    due = []
    for _ in range(count):
        due.append(now + schedule.next_delay(now))
        now = due[-1] + late
    return due


def test_ticks_fall_on_multiples_of_the_interval_after_the_origin():
    assert ticks(Schedule(2.0, 100.0), 99.0, 4) == [100.0, 102.0, 104.0, 106.0]


def test_late_handling_does_not_make_the_schedule_drift():
    due = ticks(Schedule(0.1, 5.0), 4.99, 1000, late=0.03)
    assert due[-1] == pytest.approx(5.0 + 999 * 0.1, abs=1e-9)
    assert all(round((tick - 5.0) / 0.1, 6).is_integer() for tick in due)


def test_ticks_that_have_passed_are_not_made_up():
    schedule = Schedule(1.0, 0.0)
    assert 0.5 + schedule.next_delay(0.5) == pytest.approx(1.0)
    assert 7.3 + schedule.next_delay(7.3) == pytest.approx(8.0)
    assert 8.0 + schedule.next_delay(8.0) == pytest.approx(9.0)


def test_a_timer_that_fires_a_little_early_does_not_give_the_same_tick_twice():
    schedule = Schedule(1.0, 10.0)
    assert 9.5 + schedule.next_delay(9.5) == pytest.approx(10.0)
    assert 9.999 + schedule.next_delay(9.999) == pytest.approx(11.0)


def test_a_delay_is_never_negative():
    schedule = Schedule(0.01, 0.0)
    assert all(schedule.next_delay(now / 3) >= 0 for now in range(1000))


@pytest.mark.parametrize("count", [2, 10, 100, 1000])
def test_phases_of_any_number_of_endpoints_are_spread_over_the_interval(count: int):
    phases = sorted(phase(position) for position in range(count))
    assert phases[0] >= 0.0
    assert phases[-1] < 1.0
    gaps = [after - before for before, after in zip(phases, [*phases[1:], phases[0] + 1.0], strict=True)]
    assert max(gaps) < 2.7 / count


@pytest.mark.parametrize("interval", [0.01, 0.1, 1.0, 5.0, 3600.0])
@pytest.mark.parametrize("position", range(20))
def test_the_first_tick_comes_within_the_interval_at_the_phase(interval: float, position: int):
    now = 12345.678
    first = origin(now, interval, phase(position))
    slot = min(interval / 20, SLOT_MAX)
    assert now <= first <= now + interval + slot
    assert first - now == pytest.approx(phase(position) * interval, abs=slot * 1.001)


def test_the_first_ticks_of_endpoints_that_start_at_different_times_share_the_clocks_slots():
    firsts = [origin(1000.0 + position * 0.0007, 1.0, phase(position)) for position in range(200)]
    assert all(round(first / SLOT_MAX, 6).is_integer() for first in firsts)
    # Spread all the same: no slot of the twenty has more than its share and a half.
    slots = [round(first / SLOT_MAX) % 20 for first in firsts]
    assert max(slots.count(slot) for slot in range(20)) <= 15


def test_what_remains_is_the_time_until_the_tick_that_was_told_of():
    schedule = Schedule(10.0, 100.0)
    assert schedule.next_delay(103.0) == 7.0
    assert (schedule.remaining(103.0), schedule.remaining(109.5), schedule.remaining(111.0)) == (
        7.0,
        0.5,
        -1.0,
    )
