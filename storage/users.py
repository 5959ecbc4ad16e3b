"""Who may sign in (spec 01 section 19). Passwords are here as hashes only."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final, Literal

import msgspec

from storage.database import Database
from storage.errors import Duplicate, MissingRow
from storage.timestamps import now

Role = Literal["viewer", "operator", "admin"]
"""Each may do what those before it may."""

ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "admin")

_COLUMNS: Final = "id, username, password_hash, role, is_active, must_change_password, created_at, updated_at"
_CHANGEABLE: Final = frozenset({"password_hash", "role", "is_active", "must_change_password"})


class StoredUser(msgspec.Struct, frozen=True):
    """Times are ISO-8601 UTC."""

    id: int
    username: str
    password_hash: str
    role: Role
    is_active: bool
    must_change_password: bool
    created_at: str
    updated_at: str

    def __repr__(self) -> str:
        """Without the hash."""
        return f"StoredUser(id={self.id}, username={self.username!r}, role={self.role!r})"


def load(database: Database) -> list[StoredUser]:
    """All of them, the first that was made first."""
    with closing(database.db.execute(f"SELECT {_COLUMNS} FROM users ORDER BY id")) as cursor:
        return [_read(stored) for stored in cursor]


def insert(
    database: Database, username: str, password_hash: str, role: Role, is_active: bool, must_change: bool
) -> StoredUser:
    """Raises `Duplicate`."""
    time = now()
    values = [username, password_hash, role, is_active, must_change, time, time]
    with database.db.atomic():
        try:
            cursor = database.db.execute(
                f"INSERT INTO users ({_COLUMNS.removeprefix('id, ')}) VALUES (?, ?, ?, ?, ?, ?, ?)", values
            )
        except sqlite3.IntegrityError as error:
            raise Duplicate("user", username) from error
    assert cursor.lastrowid is not None
    return _get(database, cursor.lastrowid)


def update(
    database: Database,
    id: int,
    changes: Mapping[str, Any],
    end_sessions: bool = False,
    keep_session: int | None = None,
) -> StoredUser:
    """Change columns, and with `end_sessions` end the user's sessions but that one. Raises `MissingRow`."""
    assert changes.keys() <= _CHANGEABLE
    assigned = "".join(f"{name} = ?, " for name in changes)
    with database.db.atomic():
        database.db.execute(
            f"UPDATE users SET {assigned}updated_at = ? WHERE id = ?", [*changes.values(), now(), id]
        )
        user = _get(database, id)
        if end_sessions:
            database.db.execute(
                "DELETE FROM admin_sessions WHERE user_id = ? AND id IS NOT ?", [id, keep_session]
            )
    return user


def delete(database: Database, id: int) -> None:
    """With the sessions. Removing what is not there changes nothing."""
    with database.db.atomic():
        database.db.execute("DELETE FROM users WHERE id = ?", [id])


def _get(database: Database, id: int) -> StoredUser:
    stored = database.db.execute(f"SELECT {_COLUMNS} FROM users WHERE id = ?", [id]).fetchone()
    if stored is None:
        raise MissingRow(id)
    return _read(stored)


def _read(stored: tuple[Any, ...]) -> StoredUser:
    """A role that this version does not know is the least there is."""
    id, username, password_hash, role, is_active, must_change, created_at, updated_at = stored
    known: Role = role if role in ROLES else "viewer"
    return StoredUser(
        id,
        str(username),
        str(password_hash),
        known,
        bool(is_active),
        bool(must_change),
        str(created_at),
        str(updated_at),
    )
