import pytest

from actors.system.supervision import Crashes, Restart

LOW, HIGH = 0.75, 1.25  # how far jitter reaches


def delays(restart: Restart, times: list[float]) -> list[float | None]:
    crashes = Crashes(restart)
    return [crashes.next_delay(now) for now in times]


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)


@pytest.mark.usefixtures("no_jitter")
def test_each_restart_in_a_row_waits_twice_as_long_up_to_the_limit():
    restart = Restart(backoff=0.5, backoff_max=3.0)
    assert delays(restart, [0, 1, 2, 3, 4]) == [0.5, 1.0, 2.0, 3.0, 3.0]


@pytest.mark.usefixtures("no_jitter")
def test_after_a_period_without_a_crash_the_delays_start_again():
    restart = Restart(backoff=1.0, period=10.0)
    assert delays(restart, [0, 1, 11, 22]) == [1.0, 2.0, 4.0, 1.0]


def test_delays_are_jittered_by_a_quarter_either_way():
    some = [Crashes(Restart(backoff=1.0)).next_delay(0.0) or 0.0 for _ in range(300)]
    assert LOW <= min(some) < 0.85
    assert 1.15 < max(some) <= HIGH


def test_more_crashes_within_the_period_than_allowed_end_it():
    restart = Restart(max_restarts=2, period=10.0)
    assert [delay is None for delay in delays(restart, [0, 1, 2])] == [False, False, True]


def test_crashes_from_before_the_period_do_not_count():
    restart = Restart(max_restarts=2, period=10.0)
    assert None not in delays(restart, [0, 5, 10.1, 15.1, 20.2])


def test_no_restarts_allowed_means_that_the_first_crash_is_the_end():
    assert delays(Restart(max_restarts=0), [0]) == [None]


def test_a_temporary_actor_is_never_restarted():
    crashes = Crashes(Restart("temporary"))
    assert crashes.next_delay(0) is None
    assert crashes.restarts == 0


@pytest.mark.parametrize("policy", ["permanent", "transient"])
def test_restarts_are_counted(policy):
    crashes = Crashes(Restart(policy))
    for now in range(3):
        crashes.next_delay(now)
    assert crashes.restarts == 3


def test_the_delay_stays_finite_however_long_an_actor_crashes():
    crashes = Crashes(Restart(period=10_000.0, max_restarts=5000))
    assert all(crashes.next_delay(float(now)) <= 30.0 * HIGH for now in range(3000))
