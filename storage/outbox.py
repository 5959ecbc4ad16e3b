"""What destinations have not acknowledged yet. Payloads are bytes and stay so."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing

import msgspec

from storage.database import Database
from storage.errors import MissingParent


class OutboxRow(msgspec.Struct, frozen=True, gc=False):
    """`seq` orders the rows of one destination; `created_at` is Unix ms."""

    seq: int
    topic: str
    payload: bytes
    created_at: int


class OutboxSummary(msgspec.Struct, frozen=True):
    """`bytes` counts payloads; `oldest` is the smallest `created_at`; `last_seq` the largest `seq`."""

    rows: int
    bytes: int
    oldest: int | None
    last_seq: int


def commit(
    database: Database, destination_id: int, rows: Sequence[OutboxRow], delivered: Sequence[int]
) -> None:
    """Remove the `delivered` seqs and add `rows`, but for those delivered. Repeating a call changes nothing.

    Raises `MissingParent` when the destination is gone.
    """
    gone = set(delivered)
    with database.db.atomic():
        # Removed first: on a full disk the new rows fit where the old ones were.
        database.db.conn.executemany(
            "DELETE FROM outbox WHERE destination_id = ? AND seq = ?",
            [(destination_id, seq) for seq in delivered],
        )
        try:
            database.db.conn.executemany(
                "INSERT INTO outbox (destination_id, seq, created_at, topic, payload) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (destination_id, seq) DO NOTHING",
                [
                    (destination_id, row.seq, row.created_at, row.topic, row.payload)
                    for row in rows
                    if row.seq not in gone
                ],
            )
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
                raise MissingParent(destination_id) from error
            raise


def load(
    database: Database, destination_id: int, after: int, max_rows: int, max_bytes: int
) -> list[OutboxRow]:
    """The rows with a `seq` above `after`, in order, up to both limits but at least one if there is any."""
    rows: list[OutboxRow] = []
    size = 0
    query = (
        "SELECT seq, topic, payload, created_at FROM outbox"
        " WHERE destination_id = ? AND seq > ? ORDER BY seq LIMIT ?"
    )
    with closing(database.db.execute(query, [destination_id, after, max(max_rows, 1)])) as cursor:
        for values in cursor:
            row = OutboxRow(*values)
            size += len(row.payload)
            if rows and size > max_bytes:
                break
            rows.append(row)
    return rows


def summaries(database: Database) -> dict[int, OutboxSummary]:
    """By destination id, those with rows."""
    found = database.db.execute(
        "SELECT destination_id, count(*), sum(length(payload)), min(created_at), max(seq)"
        " FROM outbox GROUP BY destination_id"
    )
    return {destination_id: OutboxSummary(*values) for destination_id, *values in found}


def summary(database: Database, destination_id: int) -> OutboxSummary | None:
    """Of one destination; None without rows."""
    return summaries(database).get(destination_id)
