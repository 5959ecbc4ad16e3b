"""Who is signed in. A token is here as its SHA-256 only: who reads the database cannot come in with it."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Final

import msgspec

from storage.database import Database

_COLUMNS: Final = "id, token_hash, user_id, created_at, expires_at, peer, user_agent"


class StoredSession(msgspec.Struct, frozen=True):
    """Times are Unix ms; `peer` is the address of who signed in."""

    id: int
    token_hash: bytes
    user_id: int
    created_at: int
    expires_at: int
    peer: str
    user_agent: str

    def __repr__(self) -> str:
        """Without the hash."""
        return f"StoredSession(id={self.id}, user_id={self.user_id})"


class NewSession(msgspec.Struct, frozen=True):
    """As `StoredSession`, before it has an id."""

    token_hash: bytes
    user_id: int
    created_at: int
    expires_at: int
    peer: str
    user_agent: str

    def __repr__(self) -> str:
        """Without the hash."""
        return f"NewSession(user_id={self.user_id})"


def load(database: Database) -> list[StoredSession]:
    """All of them, the oldest first, but for what is none."""
    with closing(database.db.execute(f"SELECT {_COLUMNS} FROM admin_sessions ORDER BY id")) as cursor:
        return [one for stored in cursor if (one := _read(stored)) is not None]


def _read(stored: tuple[Any, ...]) -> StoredSession | None:
    try:
        return msgspec.convert(
            dict(zip(StoredSession.__struct_fields__, stored, strict=True)),
            StoredSession,
            builtin_types=(bytes,),
        )
    except msgspec.ValidationError:
        return None


def begin(
    database: Database, new: NewSession, ended: Sequence[int] = (), password_hash: str | None = None
) -> StoredSession:
    """Store a session in the place of those `ended`; a `password_hash` is the user's from now on."""
    with database.db.atomic():
        if password_hash is not None:
            database.db.execute(
                "UPDATE users SET password_hash = ? WHERE id = ?", [password_hash, new.user_id]
            )
        end(database, ended)
        cursor = database.db.execute(
            f"INSERT INTO admin_sessions ({_COLUMNS.removeprefix('id, ')}) VALUES (?, ?, ?, ?, ?, ?)",
            list(msgspec.structs.astuple(new)),
        )
    assert cursor.lastrowid is not None
    return StoredSession(cursor.lastrowid, *msgspec.structs.astuple(new))


def end(database: Database, ids: Iterable[int]) -> None:
    """Of sessions that have ended already nothing is left to do."""
    with database.db.atomic():
        database.db.conn.executemany("DELETE FROM admin_sessions WHERE id = ?", [(id,) for id in ids])
