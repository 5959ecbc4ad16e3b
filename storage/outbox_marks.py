"""How long the agent has run since a payload came, for as long as it waits: across restarts too, and whatever
the clock says."""

from collections.abc import Sequence
from contextlib import closing

import msgspec

from storage import outbox
from storage.database import Database
from storage.outbox import OutboxSummary


class Mark(msgspec.Struct, frozen=True, gc=False):
    """All payloads up to `seq` were there when the agent had run for `seen_ms`, counted from the first mark
    of their destination."""

    seen_ms: int
    seq: int


class Found(msgspec.Struct, frozen=True):
    """What an earlier run has left; the marks in the order of time."""

    summary: OutboxSummary | None
    marks: list[Mark]


def found(database: Database, destination_id: int) -> Found:
    query = "SELECT seen_ms, seq FROM outbox_marks WHERE destination_id = ? ORDER BY seen_ms"
    with closing(database.db.execute(query, [destination_id])) as cursor:
        marks = [Mark(*values) for values in cursor]
    return Found(outbox.summary(database, destination_id), marks)


def save(database: Database, destination_id: int, marks: Sequence[Mark]) -> None:
    """Replace all marks of a destination; of one that is gone, none are kept."""
    with database.db.atomic():
        database.db.execute("DELETE FROM outbox_marks WHERE destination_id = ?", [destination_id])
        database.db.conn.executemany(
            "INSERT INTO outbox_marks (destination_id, seen_ms, seq)"
            " SELECT id, ?2, ?3 FROM target_state WHERE id = ?1",
            [(destination_id, mark.seen_ms, mark.seq) for mark in marks],
        )
