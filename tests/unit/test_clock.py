import time

import pytest
from wall_clock import YEAR, WallClock

from actors.system import clock as clock_module
from actors.system.clock import LOGGED, TOLD, Clock
from storage.timestamps import unix_ms

HOUR = 3600.0


class Monotonic:
    """Both monotonic clocks: seconds pass when a test says so, and the machine sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wall_clock: WallClock) -> None:
        self._wall = wall_clock
        self._awake = time.monotonic_ns()
        self._slept = 0
        monkeypatch.setattr(clock_module.time, "monotonic_ns", lambda: self._awake)
        monkeypatch.setattr(clock_module.time, "clock_gettime_ns", lambda _: self._awake + self._slept)

    def passes(self, seconds: float) -> None:
        self._wall.jump(seconds)
        self._awake += round(seconds * 1e9)

    def sleeps(self, seconds: float) -> None:
        self._wall.jump(seconds)
        self._slept += round(seconds * 1e9)


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch, wall_clock: WallClock) -> Monotonic:
    return Monotonic(monkeypatch, wall_clock)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (3 * HOUR + 125, "jumped forward by 3 h 2 min"),
        (-HOUR, "jumped back by 1 h"),
        (10 * YEAR, "jumped forward by 3652 d 12 h"),
        (-5, "jumped back by 5 s"),
        (86_400 + 60, "jumped forward by 1 d"),
    ],
)
def test_a_jump_is_logged_once_and_told_for_a_while(
    wall_clock: WallClock,
    monotonic: Monotonic,
    caplog: pytest.LogCaptureFixture,
    seconds: float,
    said: str,
) -> None:
    clock = Clock()
    wall_clock.jump(seconds)
    for _ in range(10):
        clock.look()
    assert [said in message for message in caplog.messages] == [True]
    assert clock.leaps == 1
    assert clock.trouble is not None
    assert said in clock.trouble
    monotonic.passes(TOLD - 1)
    assert clock.trouble is not None
    monotonic.passes(2)
    assert clock.trouble is None


def test_a_clock_that_is_slewed_or_corrected_a_little_has_not_jumped(
    wall_clock: WallClock, monotonic: Monotonic, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    for _ in range(1000):
        monotonic.passes(0.5)
        wall_clock.jump(0.05)
        clock.look()
    wall_clock.jump(-1.5)
    clock.look()
    assert (caplog.messages, clock.leaps, clock.trouble) == ([], 0, None)


def test_a_machine_that_slept_is_told_and_its_clock_has_not_jumped(
    monotonic: Monotonic, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    monotonic.sleeps(8 * HOUR)
    clock.look()
    assert caplog.messages == ["the machine has slept for 8 h"]
    assert (clock.leaps, clock.trouble) == (1, None)


def test_a_process_that_stood_still_has_seen_no_jump(
    monotonic: Monotonic, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    monotonic.passes(8 * HOUR)
    clock.look()
    assert (caplog.messages, clock.leaps) == ([], 0)


def test_a_clock_that_jumps_and_jumps_does_not_fill_the_log(
    wall_clock: WallClock, monotonic: Monotonic, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    for number in range(100):
        wall_clock.jump(30 if number % 2 else -30)
        monotonic.passes(1)
        clock.look()
    assert clock.leaps == 100
    assert len(caplog.messages) == LOGGED
    monotonic.passes(2 * HOUR)
    wall_clock.jump(30)
    clock.look()
    assert len(caplog.messages) == LOGGED + 1


def test_a_clock_that_cannot_be_right_is_told_until_it_is_set(
    wall_clock: WallClock, monotonic: Monotonic, caplog: pytest.LogCaptureFixture
) -> None:
    wall_clock.set(62)
    clock = Clock()
    assert caplog.messages == ["the clock says 1970-01-01T00:01:02.000Z, which cannot be right"]
    monotonic.passes(2 * TOLD)
    assert clock.trouble == "says 1970-01-01T00:21:02.000Z, which cannot be right"
    wall_clock.correct()
    assert clock.trouble is not None
    assert "jumped forward" in clock.trouble


def test_a_clock_that_was_set_back_since_the_last_run_is_told(
    wall_clock: WallClock, caplog: pytest.LogCaptureFixture
) -> None:
    before = unix_ms()
    wall_clock.jump(-2 * HOUR)
    clock = Clock()
    clock.compare(before, "the database was written")
    assert "2 h behind: the database was written at" in caplog.text
    assert clock.trouble is not None
    caplog.clear()
    clock.compare(unix_ms(), "the database was written")
    clock.compare(0, "the database was written")
    assert caplog.messages == []


@pytest.mark.parametrize("seconds", [10 * YEAR, -10 * YEAR, HOUR, -HOUR, 5, -5])
def test_steady_time_goes_on_whatever_the_clock_does(
    wall_clock: WallClock, monotonic: Monotonic, seconds: float
) -> None:
    clock = Clock()
    began = clock.steady(unix_ms())
    monotonic.passes(10)
    stamp = unix_ms()
    wall_clock.jump(seconds)
    monotonic.passes(0.5)
    assert clock.steady(stamp) - began == pytest.approx(10_000, abs=50)
    monotonic.passes(-0.5)
    assert clock.steady(unix_ms()) - began == pytest.approx(10_000, abs=50)
    monotonic.passes(10)
    wall_clock.jump(-seconds)
    assert clock.steady(unix_ms()) - began == pytest.approx(20_000, abs=50)


def test_what_has_waited_for_a_moment_was_stamped_then(monotonic: Monotonic) -> None:
    clock = Clock()
    stamp = unix_ms()
    at_once = clock.steady(stamp)
    monotonic.passes(1.5)
    assert clock.steady(stamp) == pytest.approx(at_once, abs=50)
