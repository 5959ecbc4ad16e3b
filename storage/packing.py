"""Packing rows of the outbox into groups while the database's thread has nothing else to do.

Rows are alike, poll for poll: many of them together take a fraction of the space. A destination's oldest
rows are packed once there are enough of them, so that one that keeps up, or is away for seconds, never has
any packed. Until the one transaction in which a group takes the place of its rows nothing is changed, and
what is delivered meanwhile is not left in it.
"""

from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import Final

from storage import groups
from storage.chores import AFTER_ERROR, Chore
from storage.database import Database
from storage.groups import OutboxRow
from storage.outbox import plain
from storage.zstd import CompressionParameter, Strategy, ZstdCompressor

GROUP_BYTES: Final = 2 * 1024 * 1024
"""Payload bytes of a group; a row that has more by itself is one."""

GROUP_ROWS: Final = 4096
"""Rows of a group, at most."""

BACKLOG: Final = 4
"""Groups that wait to be packed from which on it is done fast rather than well."""

BLOCK: Final = 32 * 1024
"""Bytes that are compressed at once: on a slow processor some 20 ms when it is done well."""

STEP: Final = 0.002
"""Seconds after which no further block is begun in a step."""

REST: Final = 6
"""How many times as long as a step took nothing is packed after it."""

_Parameter = CompressionParameter
_WINDOW: dict[int, int] = {_Parameter.window_log: 21, _Parameter.checksum_flag: 1}
WELL: Final = _WINDOW | {
    _Parameter.strategy: Strategy.btopt,
    _Parameter.chain_log: 18,
    _Parameter.hash_log: 17,
    _Parameter.search_log: 4,
    _Parameter.min_match: 4,
    _Parameter.target_length: 48,
}
"""10 MB/s here, in 4 MB of memory: what level 16 does with a seventh of its tables."""
FAST: Final = _WINDOW | {
    _Parameter.strategy: Strategy.dfast,
    _Parameter.chain_log: 17,
    _Parameter.hash_log: 18,
    _Parameter.search_log: 1,
    _Parameter.min_match: 5,
    _Parameter.target_length: 1,
}
"""500 MB/s; takes half as much space again."""


class _Work:
    """Rows on their way into a group."""

    def __init__(self, destination_id: int, rows: list[OutboxRow], fast: bool) -> None:
        self.destination_id = destination_id
        self.seqs = [row.seq for row in rows]
        self.created_at = rows[0].created_at
        self._content = groups.encode(rows)
        self.size = len(self._content)
        self._at = 0
        self._compressor = ZstdCompressor(options=FAST if fast else WELL)
        self._compressor.set_pledged_input_size(self.size)
        self._parts: list[bytes] = []

    def go_on(self) -> bytes | None:
        """Compress for `STEP` seconds; the whole once that is done."""
        until = monotonic() + STEP
        content = memoryview(self._content)
        while self._at < self.size:
            if monotonic() > until:
                return None
            end = min(self._at + BLOCK, self.size)
            # Flushed, for it would gather 128 KB to compress them at once.
            self._parts.append(self._compressor.compress(content[self._at : end], ZstdCompressor.FLUSH_BLOCK))
            self._at = end
        self._parts.append(self._compressor.flush())
        return b"".join(self._parts)


class Packing(Chore):
    """Packs, those of the destination with most first."""

    PUT_OFF = "what waits to be sent stays as large as it is"

    def __init__(self, database: Database, damaged: Callable[[str], None]) -> None:
        super().__init__(database, damaged)
        self._work: _Work | None = None

    def wanted(self) -> bool:
        return self._work is not None or self._most() is not None

    def work(self) -> None:
        began = monotonic()
        work, self._work = self._work, None
        if work is None:
            self._work = self._begin()
        elif (data := work.go_on()) is None:
            self._work = work
        else:
            self._store(work, data)
        ended = monotonic()
        pause = REST * (ended - began) if self._work is not None or work is not None else AFTER_ERROR
        self.not_before = ended + pause

    def _most(self) -> tuple[int, int] | None:
        """The destination with most that is not packed, and the bytes of that; None when none has enough."""
        query = (
            "SELECT destination_id, bytes FROM outbox_counts WHERE bytes >= ? OR rows >= ?"
            " ORDER BY bytes DESC LIMIT 1"
        )
        found = self.connection.execute(query, [GROUP_BYTES, GROUP_ROWS]).fetchone()
        return None if found is None else (int(found[0]), int(found[1]))

    def _begin(self) -> _Work | None:
        """None when nothing can be packed: all of it is older than a group is."""
        found = self._most()
        if found is None:
            return None
        destination_id, waiting = found
        rows = self._oldest(destination_id)
        return _Work(destination_id, rows, fast=waiting >= BACKLOG * GROUP_BYTES) if rows else None

    def _oldest(self, destination_id: int) -> list[OutboxRow]:
        """As many as make a group."""
        taken: list[OutboxRow] = []
        size = 0
        after = groups.last_seq(self.database, destination_id)
        with closing(plain(self.database, destination_id, after, GROUP_ROWS)) as rows:
            for row in rows:
                large = size + len(row.payload) > 2 * GROUP_BYTES
                if taken and (large or size >= GROUP_BYTES or row.seq - taken[0].seq >= groups.SPAN):
                    break
                taken.append(row)
                size += len(row.payload)
        return taken

    def _store(self, work: _Work, data: bytes) -> None:
        """The group in the place of its rows, as far as they are still there."""
        where = "FROM outbox WHERE destination_id = ? AND seq BETWEEN ? AND ?"
        span = (work.destination_id, work.seqs[0], work.seqs[-1])
        with self.unsynced(), self.database.db.atomic():
            left = {seq for (seq,) in self.connection.execute(f"SELECT seq {where}", span)}
            if not left or left.difference(work.seqs):
                return
            # Removed first: on a full disk the group fits where the rows were.
            self.connection.execute(f"DELETE {where}", span)
            live = sum(1 << (seq - work.seqs[0]) for seq in left)
            groups.insert(
                self.database, work.destination_id, work.seqs, work.created_at, live, work.size, data
            )
