import pytest
from wall_clock import YEAR, WallClock

from actors.publish.destinations.token_clock import TokenClock


def right(clock: TokenClock, wall_clock: WallClock) -> bool:
    return abs(clock.unix_ms() / 1000 - wall_clock.right) < 1


@pytest.mark.parametrize("jump", [10 * YEAR, -10 * YEAR, 3600.0, -3600.0])
def test_the_time_of_the_latest_token_that_was_accepted_goes_on(wall_clock: WallClock, jump: float) -> None:
    clock = TokenClock()
    assert right(clock, wall_clock)
    clock.accepted()
    wall_clock.jump(jump)
    for _ in range(3):
        assert not right(clock, wall_clock), "perhaps it is now that the clock is right"
        assert right(clock, wall_clock)
    clock.accepted()
    assert not right(clock, wall_clock)
    wall_clock.correct()
    assert right(clock, wall_clock)
    assert right(clock, wall_clock)


def test_a_clock_that_is_set_right_is_gone_by_from_then_on(wall_clock: WallClock) -> None:
    wall_clock.jump(-1800)
    clock = TokenClock()
    clock.unix_ms()
    clock.accepted()
    wall_clock.correct()
    assert right(clock, wall_clock)
    clock.accepted()
    assert right(clock, wall_clock)
    assert right(clock, wall_clock)


def test_as_long_as_nothing_was_accepted_there_is_but_the_clock(wall_clock: WallClock) -> None:
    clock = TokenClock()
    assert right(clock, wall_clock)
    wall_clock.jump(YEAR)
    assert not right(clock, wall_clock)
    assert not right(clock, wall_clock)
    wall_clock.correct()
    assert right(clock, wall_clock)
