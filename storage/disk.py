"""How much of the disk outboxes may take, and who of them how much."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Final

FRESH: Final = 1.0
"""Seconds for which a look at the disk is good."""


class Disk:
    """The file system of the database at `path`.

    A share of it is a percentage of what is free and what the database's files take already: what other
    programs take makes it smaller. All outboxes share it. When they have more, those that have more than
    an equal part give way, and what the others leave of theirs is shared by them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked_at = float("-inf")
        self._space: int | None = None

    def room(self, connection: sqlite3.Connection, percent: int) -> int | None:
        """Bytes that the rows of any destination may have, so that all together keep within `percent` of the
        space; None when they do. 100 is no limit."""
        space = self._look() if percent < 100 else None
        if space is None:
            return None
        query = "SELECT destination_id, bytes + packed_bytes FROM outbox_counts"
        held: dict[int, int] = dict(connection.execute(query).fetchall())
        return fair_part(list(held.values()), space * percent // 100)

    def _look(self) -> int | None:
        now = monotonic()
        if now - self._looked_at >= FRESH:
            self._looked_at = now
            self._space = _space(self._path)
        return self._space


def _space(path: Path) -> int | None:
    """Bytes that are free for us, and those that the database has; None when that cannot be found out."""
    try:
        found = os.statvfs(path)
        free = found.f_bavail * found.f_frsize
        return free + sum(
            file.stat().st_size for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()
        )
    except OSError:
        return None


def fair_part(held: Sequence[int], total: int) -> int | None:
    """The most that each may hold so that all together hold `total`, None when they hold no more anyway."""
    if sum(held) <= total:
        return None
    left = total
    for count, one in enumerate(sorted(held)):
        part = left // (len(held) - count)
        if one > part:
            return part
        left -= one
    return None
