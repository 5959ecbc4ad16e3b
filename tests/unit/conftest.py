"""What tests of the storage share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database, open_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is, or will be."""
    return tmp_path / "agent.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = open_database(path)
    yield database
    database.close()
