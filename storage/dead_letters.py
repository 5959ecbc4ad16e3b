"""Payloads that a destination will never take, with the reason. Written by `storage.outbox.commit`."""

from contextlib import closing

import msgspec

from storage.database import Database


class DeadLetter(msgspec.Struct, frozen=True):
    """`seq` is the one it had in the outbox; `created_at` and `rejected_at` are Unix ms."""

    seq: int
    topic: str
    payload: bytes
    reason: str
    created_at: int
    rejected_at: int


def newest(database: Database, destination_id: int, limit: int) -> list[DeadLetter]:
    """At most `limit` of them, the latest first."""
    query = (
        "SELECT seq, topic, payload, reason, created_at, rejected_at FROM dead_letters"
        " WHERE destination_id = ? ORDER BY id DESC LIMIT ?"
    )
    with closing(database.db.execute(query, [destination_id, limit])) as cursor:
        return [DeadLetter(*values) for values in cursor]


def count(database: Database, destination_id: int) -> int:
    """How many there are, without counting them."""
    found = database.db.execute(
        "SELECT dead_letters FROM outbox_counts WHERE destination_id = ?", [destination_id]
    ).fetchone()
    return 0 if found is None else int(found[0])


def clear(database: Database, destination_id: int) -> int:
    """Remove a destination's; returns how many there were."""
    with database.db.atomic():
        removed = database.db.conn.execute(
            "DELETE FROM dead_letters WHERE destination_id = ?", [destination_id]
        ).rowcount
    return max(removed, 0)
