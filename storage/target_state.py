"""The target state: what should run (endpoints, apps, destinations, subscriptions, rules, settings).

Bodies hold credentials, so they are encrypted, each bound to the kind and uuid of its row.
Functions run in the caller's transaction if there is one, else each in its own.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from typing import Any, Final
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType

from storage import bodies
from storage.database import Database
from storage.errors import Duplicate, MissingParent, MissingRow, StorageError, Unreadable
from storage.timestamps import now

KEEP: Final = UNSET
"""Leave a column as it is; it is msgspec's UNSET, so that a message's absent field passes straight on."""

_COLUMNS: Final = "id, kind, uuid, name, parent_id, body, created_at, updated_at"


class Row(msgspec.Struct, frozen=True):
    """`name` is unique within `kind` unless None; `parent_id` is a `Row.id`; times are ISO-8601 UTC.

    `error` says, in a sentence for people, why the body of this row cannot be read; it is empty then.
    """

    id: int
    kind: str
    uuid: str
    name: str | None
    parent_id: int | None
    body: dict[str, Any]
    created_at: str
    updated_at: str
    error: str | None = None


def load(database: Database, kinds: Collection[str] | None = None) -> list[Row]:
    """Every row, of these kinds if they are given, oldest first: one that cannot be read with its `error`."""
    return list(each(database, kinds))


def each(database: Database, kinds: Collection[str] | None = None) -> Iterator[Row]:
    """`load`, one by one: thousands of rows at once would take much memory."""
    chosen, values = "", list(kinds or ())
    if kinds is not None:
        chosen = f" WHERE kind IN ({', '.join('?' * len(values))})"
    query = f"SELECT {_COLUMNS} FROM target_state{chosen} ORDER BY id"
    with closing(database.db.execute(query, values)) as cursor:
        for stored in cursor:
            yield _listed(database, stored)


def kinds(database: Database) -> dict[str, int]:
    """How many rows there are of each kind."""
    found = database.db.execute("SELECT kind, count(*) FROM target_state GROUP BY kind ORDER BY kind")
    return dict(found.fetchall())


def get(database: Database, id: int) -> Row:
    """Raises `MissingRow`, `Unreadable`."""
    stored = database.db.execute(f"SELECT {_COLUMNS} FROM target_state WHERE id = ?", [id]).fetchone()
    if stored is None:
        raise MissingRow(id)
    try:
        return _read(database, stored)
    except bodies.BadBody as error:
        raise Unreadable(id, stored[1], stored[3], str(error)) from error


def insert(
    database: Database,
    kind: str,
    name: str | None,
    body: dict[str, Any],
    parent_id: int | None = None,
    uuid: str | None = None,
) -> Row:
    """Raises `Duplicate`, also of a row that cannot be read, and `MissingParent`."""
    time = now()
    uuid = uuid or str(uuid4())
    sealed = bodies.seal(database.secrets, kind, uuid, body)
    with database.db.atomic():
        try:
            cursor = database.db.execute(
                "INSERT INTO target_state (kind, uuid, name, parent_id, body, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [kind, uuid, name, parent_id, sealed, time, time],
            )
        except sqlite3.IntegrityError as error:
            raise _meant(error, kind, name, parent_id) from error
    assert cursor.lastrowid is not None
    return Row(cursor.lastrowid, kind, uuid, name, parent_id, body, time, time)


def update(
    database: Database,
    id: int,
    body: dict[str, Any],
    name: str | UnsetType | None = KEEP,
    parent_id: int | UnsetType | None = KEEP,
) -> Row:
    """Replace the body whole, readable or not; raises `MissingRow`, `Duplicate`, `MissingParent`."""
    with database.db.atomic():
        stored = database.db.execute(
            "SELECT kind, uuid, name, parent_id, created_at FROM target_state WHERE id = ?", [id]
        ).fetchone()
        if stored is None:
            raise MissingRow(id)
        kind, uuid, old_name, old_parent, created_at = stored
        row = Row(
            id=id,
            kind=kind,
            uuid=uuid,
            name=old_name if name is UNSET else name,
            parent_id=old_parent if parent_id is UNSET else parent_id,
            body=body,
            created_at=created_at,
            updated_at=now(),
        )
        sealed = bodies.seal(database.secrets, kind, uuid, body)
        try:
            database.db.execute(
                "UPDATE target_state SET name = ?, parent_id = ?, body = ?, updated_at = ? WHERE id = ?",
                [row.name, row.parent_id, sealed, row.updated_at, id],
            )
        except sqlite3.IntegrityError as error:
            raise _meant(error, kind, row.name, row.parent_id) from error
    return row


def delete(database: Database, ids: Iterable[int]) -> int:
    """Remove rows and all that belongs to them; returns how many of `ids` were removed as such."""
    removed = 0
    with database.db.atomic():
        for id in ids:
            gone = "SELECT kind, uuid FROM target_state WHERE id = ? OR parent_id = ?"
            for kind, uuid in database.db.execute(gone, [id, id]).fetchall():
                bodies.let_go(kind, uuid)
            removed += database.db.execute("DELETE FROM target_state WHERE id = ?", [id]).rowcount
    return removed


def _read(database: Database, stored: tuple[Any, ...]) -> Row:
    """Raises `BadBody`."""
    id, kind, uuid, name, parent_id, sealed, created_at, updated_at = stored
    body = bodies.unseal(database.secrets, kind, uuid, sealed)
    return Row(id, kind, uuid, name, parent_id, body, created_at, updated_at)


def _listed(database: Database, stored: tuple[Any, ...]) -> Row:
    try:
        return _read(database, stored)
    except bodies.BadBody as error:
        id, kind, uuid, name, parent_id, _, created_at, updated_at = stored
        reason = str(Unreadable(id, kind, name, str(error)))
        return Row(id, kind, uuid, name, parent_id, {}, created_at, updated_at, error=reason)


def _meant(error: sqlite3.IntegrityError, kind: str, name: str | None, parent_id: int | None) -> StorageError:
    match error.sqlite_errorcode:
        case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return MissingParent(parent_id)
        case sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            return Duplicate(kind, name, "uuid" if "target_state.uuid" in str(error) else "name")
        case _:
            return StorageError(f"{kind} {name!r}: {error}")
