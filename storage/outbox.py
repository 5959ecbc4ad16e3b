"""What destinations have not acknowledged yet. Payloads are bytes and stay so."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing

import msgspec

from storage import dead_letters
from storage.database import Database
from storage.dead_letters import DeadLetter
from storage.errors import MissingParent

DEAD_LETTERS = 1000
"""How many a destination keeps; the oldest give way."""


class OutboxRow(msgspec.Struct, frozen=True, gc=False):
    """`seq` orders the rows of one destination; `created_at` is Unix ms."""

    seq: int
    topic: str
    payload: bytes
    created_at: int


class OutboxSummary(msgspec.Struct, frozen=True):
    """`bytes` counts payloads; `oldest` is the smallest `created_at`; `last_seq` the largest `seq`.

    `dead_letters` counts what was rejected, which is no longer among the rows."""

    rows: int
    bytes: int
    oldest: int | None
    last_seq: int
    dead_letters: int = 0


def commit(
    database: Database,
    destination_id: int,
    rows: Sequence[OutboxRow],
    done: Sequence[int],
    dead: Sequence[DeadLetter] = (),
) -> int:
    """Remove the seqs `done`, add `rows` but for those done, and keep the newest `DEAD_LETTERS` of what
    was rejected. Repeating a call changes nothing. Returns how many dead letters there are.

    Raises `MissingParent` when the destination is gone.
    """
    gone = set(done)
    with database.db.atomic():
        # Removed first: on a full disk the new rows fit where the old ones were.
        database.db.conn.executemany(
            "DELETE FROM outbox WHERE destination_id = ? AND seq = ?",
            [(destination_id, seq) for seq in done],
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
            if dead:
                _bury(database, destination_id, dead)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
                raise MissingParent(destination_id) from error
            raise
    return dead_letters.count(database, destination_id) if dead else 0


def append(
    database: Database,
    destination_id: int,
    payloads: Sequence[tuple[str, bytes, int]],
    max_rows: int,
    max_bytes: int,
) -> int:
    """Add payloads (topic, payload, created_at) behind all others, whose destination is away."""
    found = summary(database, destination_id)
    last = found.last_seq if found else 0
    rows = [OutboxRow(last + n, *payload) for n, payload in enumerate(payloads, 1)]
    commit(database, destination_id, rows, ())
    return 0


def _bury(database: Database, destination_id: int, dead: Sequence[DeadLetter]) -> None:
    database.db.conn.executemany(
        "INSERT INTO dead_letters (destination_id, seq, created_at, rejected_at, topic, reason, payload)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (destination_id, rejected_at, seq) DO NOTHING",
        [(destination_id, d.seq, d.created_at, d.rejected_at, d.topic, d.reason, d.payload) for d in dead],
    )
    database.db.conn.execute(
        "DELETE FROM dead_letters WHERE destination_id = ?1 AND id <="
        " (SELECT id FROM dead_letters WHERE destination_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        [destination_id, DEAD_LETTERS],
    )


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
    """By destination id, those with rows or dead letters."""
    found = database.db.execute(
        "SELECT destination_id, count(*), sum(length(payload)), min(created_at), max(seq)"
        " FROM outbox GROUP BY destination_id"
    )
    dead = dead_letters.counts(database)
    waiting = {
        id: OutboxSummary(rows, size, oldest, last, dead.pop(id, 0)) for id, rows, size, oldest, last in found
    }
    return waiting | {id: OutboxSummary(0, 0, None, 0, count) for id, count in dead.items()}


def summary(database: Database, destination_id: int) -> OutboxSummary | None:
    """Of one destination; None without rows and dead letters."""
    return summaries(database).get(destination_id)
