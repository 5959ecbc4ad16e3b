"""What destinations have not acknowledged yet. Payloads are bytes and stay so.

A row is first stored as it is; when there are many, the oldest are packed (`storage.packing`) into groups. To
whoever uses this module it makes no difference where a row is.
"""

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from heapq import merge
from logging import getLogger
from operator import attrgetter

import msgspec

from storage import groups
from storage.database import Database
from storage.dead_letters import DeadLetter
from storage.errors import MissingParent
from storage.groups import OutboxRow as OutboxRow

logger = getLogger(__name__)

DEAD_LETTERS = 1000
"""How many a destination keeps; the oldest give way."""


class Payload(msgspec.Struct, frozen=True, gc=False):
    """One to be sent; `created_at` is Unix ms, `qos` and `retain` are as in `OutboxRow`."""

    topic: str
    payload: bytes
    created_at: int
    qos: int = 1
    retain: bool = False


class OutboxSummary(msgspec.Struct, frozen=True):
    """`bytes` is what the rows take on disk: of one that is packed, its share of the group. `oldest` is the
    `created_at` of the row with the lowest `seq`; `last_seq` is the highest that was ever stored, delivered
    or rejected, whether or not it still is.

    `dead_letters` counts what was rejected, which is no longer among the rows."""

    rows: int
    bytes: int
    oldest: int | None
    last_seq: int
    dead_letters: int = 0


class Committed(msgspec.Struct, frozen=True):
    """What there is after a commit: rows, their `bytes` on disk and dead letters. `room` is how many bytes
    the destination may have for the sake of the disk, None when it may have more."""

    rows: int
    bytes: int
    dead_letters: int
    room: int | None = None


class Loaded(msgspec.Struct, frozen=True):
    """Rows in order; `lost` counts those before the last of them that were damaged, and are removed."""

    rows: list[OutboxRow]
    lost: int = 0


def commit(
    database: Database,
    destination_id: int,
    rows: Sequence[OutboxRow],
    done: Sequence[int],
    dead: Sequence[DeadLetter] = (),
    disk_percent: int = 100,
) -> Committed:
    """Remove the seqs `done`, add `rows` but for those done, and keep the newest `DEAD_LETTERS` of what
    was rejected. Repeating a call changes nothing. `disk_percent` is as in `storage.disk`.

    Raises `MissingParent` when the destination is gone.
    """
    gone = set(done)
    with database.db.atomic():
        # Removed first: on a full disk the new rows fit where the old ones were.
        if gone:
            _remove(database, destination_id, sorted(gone))
            _used(database, destination_id, max(gone))
        with _parent_checked(destination_id):
            _insert(database, destination_id, [row for row in rows if row.seq not in gone])
            if dead:
                _bury(database, destination_id, dead)
        rows_left, size, _, letters = _counts(database, destination_id)
        room = database.disk.room(database.db.conn, disk_percent)
    return Committed(rows_left, size, letters, room)


def append(
    database: Database,
    destination_id: int,
    payloads: Sequence[Payload],
    max_rows: int,
    max_bytes: int,
    disk_percent: int = 100,
) -> int:
    """Add `payloads` behind all others, for a destination whose actor is away; returns how many, of these
    or of older ones, gave way to keep the limits: the oldest, and what is beyond `max_bytes` by itself.

    Raises `MissingParent`.
    """
    with database.db.atomic():
        if not database.db.execute("SELECT 1 FROM target_state WHERE id = ?", [destination_id]).fetchone():
            raise MissingParent(destination_id)
        room = database.disk.room(database.db.conn, disk_percent)
        max_bytes = max_bytes if room is None else min(max_bytes, room)
        fitting = [one for one in payloads if len(one.payload) <= max_bytes]
        kept = _newest_within(fitting, max_rows, max_bytes)
        dropped = len(payloads) - len(kept)
        # Trimmed first: on a full disk the new rows fit where the old ones were.
        rows_left = max_rows - len(kept) if len(kept) == len(fitting) else 0
        dropped += _trim(database, destination_id, rows_left, max_bytes - sum(len(p.payload) for p in kept))
        first = _counts(database, destination_id)[2] + 1
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
    before, size, _, _ = _counts(database, destination_id)
    rows_gone, bytes_gone = groups.drop_oldest(database, destination_id, before - max_rows, size - max_bytes)
    rows, size, last = before - rows_gone, size - bytes_gone, None
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
    return before - rows


def _remove(database: Database, destination_id: int, seqs: Sequence[int]) -> None:
    """In ascending order."""
    removed = database.db.conn.executemany(
        "DELETE FROM outbox WHERE destination_id = ? AND seq = ?", [(destination_id, seq) for seq in seqs]
    ).rowcount
    if removed < len(seqs):
        groups.remove(database, destination_id, seqs)


def _insert(database: Database, destination_id: int, rows: Sequence[OutboxRow]) -> None:
    database.db.conn.executemany(
        "INSERT INTO outbox (destination_id, seq, created_at, topic, payload, qos, retain)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (destination_id, seq) DO NOTHING",
        [
            (destination_id, row.seq, row.created_at, row.topic, row.payload, row.qos, row.retain)
            for row in groups.missing(database, destination_id, rows)
        ],
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


def load(database: Database, destination_id: int, after: int, max_rows: int, max_bytes: int) -> Loaded:
    """The rows with a `seq` above `after`, in order, up to both limits but at least one if there is any that
    can be read. Groups that cannot be read are removed."""
    rows: list[OutboxRow] = []
    size = 0
    damaged: list[groups.Group] = []
    found = merge(
        _packed(database, destination_id, after, damaged),
        plain(database, destination_id, after, max(max_rows, 1)),
        key=attrgetter("seq"),
    )
    for row in found:
        size += len(row.payload)
        if rows and (size > max_bytes or len(rows) >= max_rows):
            break
        rows.append(row)
    return Loaded(rows, groups.drop_damaged(database, damaged))


def plain(database: Database, destination_id: int, after: int, most: int) -> Generator[OutboxRow, None, None]:
    """The rows that are not packed, with a `seq` above `after`, in order, at most so many."""
    query = (
        "SELECT seq, topic, payload, created_at, qos, retain FROM outbox"
        " WHERE destination_id = ? AND seq > ? ORDER BY seq LIMIT ?"
    )
    with closing(database.db.execute(query, [destination_id, after, most])) as cursor:
        for seq, topic, payload, created_at, qos, retain in cursor:
            yield OutboxRow(seq, topic, payload, created_at, qos, bool(retain))


def _packed(
    database: Database, destination_id: int, after: int, damaged: list[groups.Group]
) -> Iterator[OutboxRow]:
    """Groups that cannot be read are added to `damaged`."""
    for group in groups.reaching(database, destination_id, after + 1):
        if not group.live >> max(0, after + 1 - group.first_seq):
            continue
        try:
            yield from (row for row in groups.rows(database, group) if row.seq > after)
        except groups.Damaged as error:
            logger.error(
                "%s: %d stored payloads cannot be read and are skipped (rows %d to %d of destination %d): %s",
                database.path,
                group.left,
                group.first_seq,
                group.last_seq,
                destination_id,
                error,
            )
            damaged.append(group)


_COUNTS = (
    "SELECT destination_id, rows + packed_rows, bytes + packed_bytes, last_seq, dead_letters"
    " FROM outbox_counts"
)


def _counts(database: Database, destination_id: int) -> tuple[int, int, int, int]:
    """Rows, bytes on disk, the last sequence number and dead letters of a destination."""
    query = f"{_COUNTS} WHERE destination_id = ?"
    found = database.db.execute(query, [destination_id]).fetchone()
    return (0, 0, 0, 0) if found is None else found[1:]


def summaries(database: Database) -> dict[int, OutboxSummary]:
    """By destination id, those that ever had something stored; nothing is counted for it."""
    with closing(database.db.execute(_COUNTS)) as cursor:
        found = cursor.fetchall()
    return {id: _summary(database, id, *values) for id, *values in found}


def summary(database: Database, destination_id: int) -> OutboxSummary | None:
    """Of one destination; None when nothing was ever stored for it."""
    query = f"{_COUNTS} WHERE destination_id = ?"
    found = database.db.execute(query, [destination_id]).fetchone()
    return None if found is None else _summary(database, *found)


def _summary(database: Database, id: int, rows: int, size: int, last_seq: int, letters: int) -> OutboxSummary:
    return OutboxSummary(rows, size, _oldest(database, id) if rows else None, last_seq, letters)


def _oldest(database: Database, destination_id: int) -> int | None:
    packed = groups.first_created(database, destination_id)
    if packed is not None:
        return packed
    query = "SELECT created_at FROM outbox WHERE destination_id = ? ORDER BY seq LIMIT 1"
    found = database.db.execute(query, [destination_id]).fetchone()
    return None if found is None else int(found[0])
