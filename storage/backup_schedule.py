"""When backups are made by themselves: one row, times in Unix ms."""

from typing import Annotated

import msgspec
from msgspec import Meta

from storage.database import Database

HOURS = Annotated[int, Meta(ge=1, le=8760)]
COUNT = Annotated[int, Meta(ge=1, le=100)]


class Schedule(msgspec.Struct, frozen=True):
    """`last_run_at` is when the last of them was whole."""

    enabled: bool = False
    interval_hours: int = 24
    keep_count: int = 7
    last_run_at: int | None = None
    next_run_at: int | None = None


def load(database: Database) -> Schedule:
    """What cannot be is taken for its default."""
    row = database.db.execute(
        "SELECT enabled, interval_hours, keep_count, last_run_at, next_run_at FROM backup_schedule"
    ).fetchone()
    if row is None:
        return Schedule()
    enabled, hours, count, last, next = (value if isinstance(value, int) else None for value in row)
    return Schedule(
        bool(enabled),
        min(8760, max(1, 24 if hours is None else hours)),
        min(100, max(1, 7 if count is None else count)),
        last,
        next,
    )


def save(database: Database, schedule: Schedule) -> Schedule:
    """Keep it; what was kept."""
    values = msgspec.structs.astuple(schedule)
    database.db.execute(
        "INSERT OR REPLACE INTO backup_schedule"
        " (id, enabled, interval_hours, keep_count, last_run_at, next_run_at) VALUES (1, ?, ?, ?, ?, ?)",
        [int(values[0]), *values[1:]],
    )
    return schedule
