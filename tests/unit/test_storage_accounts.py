"""Users and sessions in the database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import sessions, users
from storage.database import Database, open_database
from storage.errors import Duplicate, MissingRow
from storage.sessions import NewSession


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path / "agent.sqlite", 50)
    yield database
    database.close()


def session(user_id: int, number: int = 1) -> NewSession:
    return NewSession(bytes([number]) * 32, user_id, 1000, 2000, "192.0.2.7", "curl/8")


def test_a_user_is_what_was_stored(database):
    made = users.insert(database, "eve", "hash", "operator", True, False)
    assert users.load(database) == [made]
    assert (made.username, made.role, made.is_active, made.must_change_password) == (
        "eve",
        "operator",
        True,
        False,
    )
    assert "hash" not in repr(made)


def test_there_is_one_user_of_a_name(database):
    users.insert(database, "eve", "hash", "operator", True, False)
    with pytest.raises(Duplicate):
        users.insert(database, "eve", "other", "admin", True, False)


def test_a_change_ends_sessions_where_it_is_to(database):
    eve = users.insert(database, "eve", "hash", "operator", True, False)
    other = users.insert(database, "other", "hash", "operator", True, False)
    first, second = (sessions.begin(database, session(eve.id, number)) for number in (1, 2))
    sessions.begin(database, session(other.id, 3))
    users.update(database, eve.id, {"role": "viewer"})
    assert len(sessions.load(database)) == 3
    changed = users.update(database, eve.id, {"password_hash": "new"}, True, second.id)
    assert changed.password_hash == "new"
    assert [one.id for one in sessions.load(database)] == [second.id, 3]
    users.update(database, eve.id, {"is_active": False}, True)
    assert [one.user_id for one in sessions.load(database)] == [other.id]
    assert first.id == 1
    with pytest.raises(MissingRow):
        users.update(database, 99, {"role": "viewer"})


def test_sessions_go_with_their_user(database):
    eve = users.insert(database, "eve", "hash", "operator", True, False)
    sessions.begin(database, session(eve.id))
    users.delete(database, eve.id)
    users.delete(database, eve.id)
    assert sessions.load(database) == []
    assert users.load(database) == []


def test_a_session_begins_in_the_place_of_others_and_may_renew_the_hash(database):
    eve = users.insert(database, "eve", "hash", "operator", True, False)
    first = sessions.begin(database, session(eve.id, 1))
    second = sessions.begin(database, session(eve.id, 2), [first.id], "anew")
    assert sessions.load(database) == [second]
    assert users.load(database)[0].password_hash == "anew"


def test_rows_that_nobody_has_written_like_that_are_no_crash(database):
    """By hand, or by another version."""
    eve = users.insert(database, "eve", "hash", "operator", True, False)
    sessions.begin(database, session(eve.id))
    database.db.execute("UPDATE users SET role = 'owner', is_active = 'x', password_hash = 7")
    database.db.execute(
        "INSERT INTO admin_sessions (token_hash, user_id, created_at, expires_at, peer, user_agent)"
        " VALUES ('text', ?, 'soon', 2000, 'x', 7)",
        [eve.id],
    )
    (found,) = users.load(database)
    assert (found.role, found.is_active, found.password_hash) == ("viewer", True, "7")
    assert len(sessions.load(database)) == 1
