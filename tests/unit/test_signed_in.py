"""Sessions and their time, on a clock that somebody sets."""

import pytest

from actors.accounts.signed_in import LASTS, MOST, Sessions, hash_of, new_session, new_token
from storage.sessions import StoredSession

DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000


def stored(id: int = 1, token: str | None = None, created_at: int = NOW_MS, user: int = 1) -> StoredSession:
    return StoredSession(
        id, hash_of(token or new_token()), user, created_at, created_at + DAY_MS, "192.0.2.7", "a test"
    )


def test_a_token_is_32_random_bytes_of_which_only_a_hash_is_kept():
    token, other = new_token(), new_token()
    assert len(bytes.fromhex(token)) == 32
    assert token != other
    made = new_session(token, 1, "192.0.2.7", "curl\n/8" + "x" * 500, NOW_MS)
    assert made.token_hash == hash_of(token) != hash_of(other)
    assert token not in repr(made)
    assert made.expires_at - made.created_at == DAY_MS
    assert made.user_agent.startswith("curl/8x")
    assert len(made.user_agent) < 201


@pytest.mark.parametrize("token", ["", "x", "0" * 63, "0" * 65, "G" * 64, "é" * 64, "\ud800", "0" * 64])
def test_what_is_no_token_finds_nobody(token):
    sessions = Sessions()
    sessions.begin(stored(), 0.0)
    assert sessions.find(token) is None


def test_a_session_lasts_for_a_day_however_it_is_used():
    sessions, token = Sessions(), new_token()
    sessions.begin(stored(token=token), 1000.0)
    for at in range(0, LASTS, 3600):
        assert sessions.find(token) is not None
        assert sessions.expired(1000.0 + at) == []
    assert sessions.expired(1000.0 + LASTS) == [1]
    assert sessions.all(1000.0 + LASTS) == []


def loaded(created_at: int, wall_ms: int) -> tuple[list[int], Sessions]:
    sessions = Sessions()
    return sessions.load([stored(created_at=created_at)], wall_ms, 50.0), sessions


def test_after_a_start_what_is_left_of_the_day_is_left():
    over, sessions = loaded(NOW_MS - 10 * 3_600_000, NOW_MS)
    assert over == []
    assert sessions.expired(50.0 + 14 * 3600 - 1) == []
    assert sessions.expired(50.0 + 14 * 3600) == [1]


def test_after_a_start_a_day_later_it_is_over():
    assert loaded(NOW_MS - DAY_MS, NOW_MS)[0] == [1]


@pytest.mark.parametrize("back_ms", [3_600_000, 365 * DAY_MS, NOW_MS])
def test_a_clock_that_went_back_before_a_start_prolongs_nothing(back_ms):
    """A board without a battery says the same with each start (OctoPrint issue 3266): its sessions would
    never end."""
    assert loaded(NOW_MS, NOW_MS - back_ms)[0] == [1]


def test_a_clock_that_was_corrected_by_little_ends_nothing():
    over, sessions = loaded(NOW_MS, NOW_MS - 2000)
    assert over == []
    assert sessions.expired(50.0 + LASTS) == [1]


def test_only_so_many_of_a_user_are_there_and_the_oldest_give_way():
    sessions = Sessions()
    for id in range(1, MOST + 1):
        assert sessions.giving_way(1) == []
        sessions.begin(stored(id), 0.0)
    sessions.begin(stored(99, user=2), 0.0)
    assert sessions.giving_way(1) == [1]
    assert sessions.giving_way(2) == []


def test_what_has_ended_is_found_no_more():
    sessions, token = Sessions(), new_token()
    sessions.begin(stored(7, token), 0.0)
    sessions.begin(stored(8), 0.0)
    sessions.end([7])
    assert sessions.find(token) is None
    assert [one.stored.id for one in sessions.all(0.0)] == [8]
