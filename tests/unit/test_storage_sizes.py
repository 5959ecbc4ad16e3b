"""What the database is made of."""

from storage.database import open_database
from storage.sizes import sizes


def test_the_file_and_what_is_in_it(tmp_path):
    path = tmp_path / "agent.sqlite"
    database = open_database(path)
    found = sizes(database)
    assert found.exists
    assert found.size == path.stat().st_size
    assert found.wal_size == (tmp_path / "agent.sqlite-wal").stat().st_size
    assert found.tables == sorted(found.tables)
    assert "target_state" in found.tables
    assert not [name for name in found.tables if name.startswith("sqlite_")]
    assert found.pages > 0
    database.close()


def test_a_file_that_was_deleted_under_the_agent_is_none(tmp_path):
    path = tmp_path / "agent.sqlite"
    database = open_database(path)
    path.unlink()
    found = sizes(database)
    assert (found.exists, found.size, found.tables) == (False, 0, [])
    database.close()
