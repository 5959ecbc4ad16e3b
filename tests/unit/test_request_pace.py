import itertools

import pytest

from actors.publish.destinations.request_pace import REST, RequestPace


def drain(pace: RequestPace, fits: int, seconds: float, times: int = 2000) -> list[bool]:
    """Whether each of so many requests was answered, by a server that takes `fits` payloads and answers at
    once, one each 0.1 s."""
    went = []
    for number in range(times):
        now, count = number * 0.1, pace.count
        went.append(count <= fits)
        if went[-1]:
            pace.succeeded(count, seconds, now)
        else:
            pace.failed(count, now)
    return went


def test_what_failed_is_halved_down_to_a_single_payload() -> None:
    pace = RequestPace(1000, 10)
    sizes = []
    for _ in range(12):
        sizes.append(pace.count)
        pace.failed(pace.count, 0.0, silent=100)
    assert sizes == [1000, 500, 250, 125, 62, 31, 15, 7, 3, 1, 1, 1]


@pytest.mark.parametrize("fits", [1, 2, 17, 500, 999, 1000])
def test_what_fits_is_found_and_what_does_not_is_rarely_tried(fits: int) -> None:
    pace = RequestPace(1000, 10)
    went = drain(pace, fits, 0.01)
    assert sum(went[100:]) > 0.98 * len(went[100:])
    assert pace.count > fits / 2


def test_it_grows_back_slowly_and_whole() -> None:
    pace = RequestPace(1000, 10)
    for _ in range(10):
        pace.failed(pace.count, 0.0)
    assert pace.count == 1
    sizes = []
    for second in range(1200):
        pace.succeeded(pace.count, 0.01, float(second))
        sizes.append(pace.count)
    assert sizes[int(REST) - 1] <= 2
    assert all(after <= before + max(1, before // 8) for before, after in itertools.pairwise(sizes))
    assert sizes[-1] == 1000


def test_what_takes_long_is_rarely_made_larger() -> None:
    pace = RequestPace(1000, 10)
    pace.failed(1000, 0.0)
    for second in range(200):
        pace.succeeded(pace.count, 6.0, float(second))
    assert 500 < pace.count <= 500 * 9 / 8 * 9 / 8 * 9 / 8
    assert pace.silence == 10


def test_small_requests_say_nothing_of_large_ones() -> None:
    pace = RequestPace(1000, 10)
    pace.failed(1000, 0.0)
    for second in range(1000):
        pace.succeeded(10, 0.01, float(second))
    assert pace.count == 500


def test_a_single_large_payload_gets_more_and_more_time_and_then_less_again() -> None:
    pace = RequestPace(1, 10)
    for _ in range(10):
        pace.failed(1, 0.0, silent=1_000_000)
    assert pace.silence == 600
    pace.failed(1, 0.0)
    pace.failed(1, 0.0, silent=0)
    assert pace.silence == 600
    for _ in range(30):
        pace.succeeded(1, 100.0, 0.0)
    assert pace.silence == 200
    for _ in range(30):
        pace.succeeded(1, 0.1, 0.0)
    assert pace.silence == 10


@pytest.mark.parametrize(
    ("timeout", "size", "most"), [(0.001, 0, 10), (10, 200, 10), (700, 10**9, 700), (1, 5000, 20)]
)
def test_a_server_that_hangs_is_not_waited_for_longer_than_sizes_call_for(
    timeout: float, size: int, most: float
) -> None:
    pace = RequestPace(1, timeout)
    for _ in range(30):
        pace.failed(1, 0.0, silent=size)
    assert pace.silence == most
