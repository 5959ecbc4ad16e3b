"""When a destination is tried again."""

import pytest

from actors.connections import retry


@pytest.mark.parametrize(
    ("away", "permanent", "wait"),
    [(0.0, False, 0.2), (20.0, False, 1.0), (600.0, False, 30.0), (86_400.0, False, 30.0), (1.0, True, 5.0)],
)
def test_the_wait_is_a_twentieth_of_the_time_away_within_bounds(
    away: float, permanent: bool, wait: float
) -> None:
    for _ in range(100):
        assert 0.75 * wait <= retry.delay(away, permanent) <= 1.25 * wait
