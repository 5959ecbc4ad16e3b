"""What destinations have not acknowledged yet. Payloads are bytes and stay so."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import msgspec

from storage import dead_letters
from storage.database import Database
from storage.dead_letters import DeadLetter
from storage.errors import MissingParent

DEAD_LETTERS = 1000
"""How many a destination keeps; the oldest give way."""


class Payload(msgspec.Struct, frozen=True, gc=False):
    """One to be sent; `created_at` is Unix ms, `qos` and `retain` are as in `OutboxRow`."""

    topic: str
    payload: bytes
    created_at: int
    qos: int = 1
    retain: bool = False


class OutboxRow(msgspec.Struct, frozen=True, gc=False):
    """`seq` orders the rows of one destination; `created_at` is Unix ms. `qos` (0 or 1) and `retain` are for
    destinations that know such a thing."""

    seq: int
    topic: str
    payload: bytes
    created_at: int
    qos: int = 1
    retain: bool = False


class OutboxSummary(msgspec.Struct, frozen=True):
    """`bytes` counts payloads; `oldest` is the `created_at` of the row with the lowest `seq`; `last_seq`
    is the highest that was ever stored, delivered or rejected, whether or not it still is.

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
        if gone:
            _used(database, destination_id, max(gone))
        with _parent_checked(destination_id):
            _insert(database, destination_id, [row for row in rows if row.seq not in gone])
            if dead:
                _bury(database, destination_id, dead)
    return dead_letters.count(database, destination_id) if dead else 0


def append(
    database: Database, destination_id: int, payloads: Sequence[Payload], max_rows: int, max_bytes: int
) -> int:
    """Add `payloads` behind all others, for a destination whose actor is away; returns how many, of these
    or of older ones, gave way to keep both limits: the oldest, and what is beyond `max_bytes` by itself.

    Raises `MissingParent`.
    """
    with database.db.atomic():
        if not database.db.execute("SELECT 1 FROM target_state WHERE id = ?", [destination_id]).fetchone():
            raise MissingParent(destination_id)
        fitting = [one for one in payloads if len(one.payload) <= max_bytes]
        kept = _newest_within(fitting, max_rows, max_bytes)
        dropped = len(payloads) - len(kept)
        # Trimmed first: on a full disk the new rows fit where the old ones were.
        room = max_rows - len(kept) if len(kept) == len(fitting) else 0
        dropped += _trim(database, destination_id, room, max_bytes - sum(len(p.payload) for p in kept))
        found = summary(database, destination_id)
        first = found.last_seq + 1 if found else 1
        rows = [
            OutboxRow(seq, p.topic, p.payload, p.created_at, p.qos, p.retain)
            for seq, p in enumerate(kept, first)
        ]
        _insert(database, destination_id, rows)
    return dropped


def _newest_within(payloads: Sequence[Payload], max_rows: int, max_bytes: int) -> list[Payload]:
    """The newest of them that keep both limits."""
    kept: list[Payload] = []
    size = 0
    for payload in reversed(payloads):
        size += len(payload.payload)
        if len(kept) >= max_rows or size > max_bytes:
            break
        kept.append(payload)
    return kept[::-1]


def _trim(database: Database, destination_id: int, max_rows: int, max_bytes: int) -> int:
    """Remove the oldest rows until both limits are kept; returns how many."""
    found = summary(database, destination_id)
    if found is None or not found.rows:
        return 0
    rows, size, last = found.rows, found.bytes, None
    query = "SELECT seq, length(payload) FROM outbox WHERE destination_id = ? ORDER BY seq"
    with closing(database.db.execute(query, [destination_id])) as cursor:
        for seq, length in cursor:
            if rows <= max_rows and size <= max_bytes:
                break
            rows, size, last = rows - 1, size - length, seq
    if last is not None:
        database.db.execute(
            "DELETE FROM outbox WHERE destination_id = ? AND seq <= ?", [destination_id, last]
        )
    return found.rows - rows


def _insert(database: Database, destination_id: int, rows: Sequence[OutboxRow]) -> None:
    database.db.conn.executemany(
        "INSERT INTO outbox (destination_id, seq, created_at, topic, payload) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (destination_id, seq) DO NOTHING",
        [(destination_id, row.seq, row.created_at, row.topic, row.payload) for row in rows],
    )


def _used(database: Database, destination_id: int, seq: int) -> None:
    """Remember a sequence number that may never have been stored; of a destination that is gone, nothing."""
    database.db.execute(
        "INSERT INTO outbox_counts (destination_id, last_seq) SELECT id, ?2 FROM target_state WHERE id = ?1"
        " ON CONFLICT (destination_id) DO UPDATE SET last_seq = max(last_seq, excluded.last_seq)",
        [destination_id, seq],
    )


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


@contextmanager
def _parent_checked(destination_id: int) -> Iterator[None]:
    try:
        yield
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


_SUMMARY = (
    "SELECT destination_id, rows, bytes, (SELECT created_at FROM outbox"
    " WHERE outbox.destination_id = outbox_counts.destination_id ORDER BY seq LIMIT 1),"
    " last_seq, dead_letters FROM outbox_counts"
)


def summaries(database: Database) -> dict[int, OutboxSummary]:
    """By destination id, those that ever had something stored; nothing is counted for it."""
    with closing(database.db.execute(_SUMMARY)) as cursor:
        return {id: OutboxSummary(*values) for id, *values in cursor}


def summary(database: Database, destination_id: int) -> OutboxSummary | None:
    """Of one destination; None when nothing was ever stored for it."""
    query = f"{_SUMMARY} WHERE destination_id = ?"
    found = database.db.execute(query, [destination_id]).fetchone()
    return None if found is None else OutboxSummary(*found[1:])
