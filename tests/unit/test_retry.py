"""When a connection is tried again."""

import random

import pytest

from actors.connections.retry import ByAbsence, Doubling, honoured


@pytest.mark.parametrize(
    ("away", "permanent", "wait"),
    [(0.0, False, 0.2), (20.0, False, 1.0), (600.0, False, 30.0), (86_400.0, False, 30.0), (1.0, True, 5.0)],
)
def test_the_wait_is_a_twentieth_of_the_time_away_within_bounds(
    away: float, permanent: bool, wait: float
) -> None:
    for _ in range(100):
        assert 0.75 * wait <= ByAbsence().delay(3, away, permanent) <= 1.25 * wait


@pytest.mark.parametrize(
    ("failures", "permanent", "wait"),
    [
        (0, False, 1.0),
        (1, False, 2.0),
        (5, False, 32.0),
        (6, False, 60.0),
        (10**6, False, 60.0),
        (0, True, 60.0),
    ],
)
def test_the_wait_doubles_up_to_the_longest_which_it_never_exceeds(
    failures: int, permanent: bool, wait: float
) -> None:
    for _ in range(100):
        assert 0.75 * wait <= Doubling(1.0, 60.0).delay(failures, 0.0, permanent) <= min(1.25 * wait, 60.0)


@pytest.mark.parametrize("retry", [ByAbsence(), Doubling(1.0, 60.0)])
@pytest.mark.parametrize(("failures", "away"), [(0, 0.0), (3, 60.0), (40, 86_400.0)])
def test_what_was_lost_together_is_not_tried_again_together(
    retry: ByAbsence | Doubling, failures: int, away: float
) -> None:
    """https://github.com/apache/pulsar-client-go/issues/556, https://github.com/confluentinc/librdkafka/issues/403

    At the longest wait too, where cutting the jitter off would bring half of them together.
    """
    random.seed(1)
    waits = sorted(retry.delay(failures, away, permanent=False) for _ in range(1000))
    slot = (waits[-1] - waits[0]) / 10
    crowd = max(sum(start <= wait < start + slot for wait in waits) for start in waits)
    assert crowd < 200


def test_a_request_to_be_left_alone_is_honoured_within_an_hour() -> None:
    assert [honoured(asked) for asked in (0.0, 120.0, 1e9)] == [0.0, 120.0, 3600.0]


@pytest.mark.parametrize("per_minute", [1, 6, 60])
@pytest.mark.parametrize("away", [0.0, 60.0, 86_400.0])
def test_attempts_can_be_limited(per_minute: int, away: float) -> None:
    delays = [ByAbsence(per_minute).delay(0, away, permanent=False) for _ in range(100)]
    assert min(delays) >= 60 / per_minute
