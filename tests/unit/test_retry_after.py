import pytest
from wall_clock import YEAR, WallClock

from actors.connections.retry_after import LATEST, seconds

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 0.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "99999999999"}, LATEST),
        ({"Retry-After": "-7"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT", "Date": DATE}, 30.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:07 GMT", "Date": DATE}, 0.0),
        ({"Retry-After": "Sun, 06 Nov 2094 08:49:07 GMT", "Date": DATE}, LATEST),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT", "Date": "today"}, 0.0),
    ],
)
@pytest.mark.parametrize("wrong", [0.0, 10 * YEAR, -10 * YEAR])
def test_it_is_seconds_or_a_date_by_the_senders_clock(
    wall_clock: WallClock, headers: dict[str, str], expected: float, wrong: float
) -> None:
    wall_clock.jump(wrong)
    assert seconds(headers) == expected
