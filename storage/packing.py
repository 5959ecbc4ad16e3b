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
from storage.groups import Content
from storage.outbox import plain
from storage.zstd import CompressionParameter, Strategy, ZstdCompressor

GROUP_BYTES: Final = 1024 * 1024
"""Payload bytes of a group; a row that has more by itself is one."""

GROUP_ROWS: Final = 4096
"""Rows of a group, at most."""

BACKLOG: Final = 8
"""Groups that wait to be packed from which on it is done fast rather than well."""

BLOCK: Final = 32 * 1024
"""Bytes that are compressed at once: on a slow processor some 20 ms when it is done well."""

STEP: Final = 0.002
"""Seconds after which no further block is begun in a step."""

REST: Final = 6
"""How many times as long as a step took nothing is packed after it."""

KEPT: Final = 60.0
"""Seconds that a compressor is kept for the next group: to make one anew each time leaves holes in memory."""

_Parameter = CompressionParameter
_WINDOW: dict[int, int] = {_Parameter.window_log: groups.WINDOW_LOG, _Parameter.checksum_flag: 1}
WELL: Final = _WINDOW | {
    _Parameter.strategy: Strategy.btopt,
    _Parameter.chain_log: 17,
    _Parameter.hash_log: 16,
    _Parameter.search_log: 5,
    _Parameter.min_match: 4,
    _Parameter.target_length: 48,
}
"""10 MB/s here: what level 16 does with a tenth of its tables, which is as good for rows that are alike."""
FAST: Final = _WINDOW | {
    _Parameter.strategy: Strategy.dfast,
    _Parameter.chain_log: 15,
    _Parameter.hash_log: 16,
    _Parameter.search_log: 1,
    _Parameter.min_match: 5,
    _Parameter.target_length: 1,
}
"""400 MB/s and more; takes a quarter more space."""


class _Work:
    """Rows on their way into a group."""

    def __init__(self, destination_id: int, content: Content, compressor: ZstdCompressor) -> None:
        self.destination_id = destination_id
        self.content = content
        self._blocks = content.blocks(BLOCK)
        self._compressor = compressor
        compressor.set_pledged_input_size(content.size)
        self._parts: list[bytes] = []

    def go_on(self) -> bytes | None:
        """Compress for `STEP` seconds; the whole once that is done."""
        until = monotonic() + STEP
        for block in self._blocks:
            # Flushed, for it would gather 128 KB to compress them at once.
            self._parts.append(self._compressor.compress(block, ZstdCompressor.FLUSH_BLOCK))
            if monotonic() > until:
                return None
        self._parts.append(self._compressor.flush())
        return b"".join(self._parts)


class Packing(Chore):
    """Packs, those of the destination with most first."""

    PUT_OFF = "what waits to be sent stays as large as it is"

    def __init__(self, database: Database, damaged: Callable[[str], None]) -> None:
        super().__init__(database, damaged)
        self._work: _Work | None = None
        self._fast = False
        self._compressor: ZstdCompressor | None = None
        self._used_at = 0.0

    def wanted(self) -> bool:
        if self._work is not None or self._most() is not None:
            return True
        if monotonic() - self._used_at > KEPT:
            self._compressor = None
        return False

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
        content = self._oldest(destination_id)
        if not content.seqs:
            return None
        return _Work(destination_id, content, self._ready(fast=waiting >= BACKLOG * GROUP_BYTES))

    def _ready(self, fast: bool) -> ZstdCompressor:
        """One that is at its beginning."""
        self._used_at = monotonic()
        kept = self._compressor
        if kept is None or fast != self._fast or kept.last_mode != ZstdCompressor.FLUSH_FRAME:
            self._fast = fast
            self._compressor = kept = None  # before there is another one
            self._compressor = kept = ZstdCompressor(options=FAST if fast else WELL)
        return kept

    def _oldest(self, destination_id: int) -> Content:
        """As many rows as make a group."""
        content = Content()
        size = 0
        after = groups.last_seq(self.database, destination_id)
        with closing(plain(self.database, destination_id, after, GROUP_ROWS)) as rows:
            for row in rows:
                large = size + len(row.payload) > 2 * GROUP_BYTES
                far = content.seqs and row.seq - content.seqs[0] >= groups.SPAN
                if content.seqs and (large or far or size >= GROUP_BYTES):
                    break
                content.add(row)
                size += len(row.payload)
        return content

    def _store(self, work: _Work, data: bytes) -> None:
        """The group in the place of its rows, as far as they are still there."""
        seqs = work.content.seqs
        where = "FROM outbox WHERE destination_id = ? AND seq BETWEEN ? AND ?"
        span = (work.destination_id, seqs[0], seqs[-1])
        with self.unsynced(), self.database.db.atomic():
            left = {seq for (seq,) in self.connection.execute(f"SELECT seq {where}", span)}
            if not left or left.difference(seqs):
                return
            # Removed first: on a full disk the group fits where the rows were.
            self.connection.execute(f"DELETE {where}", span)
            live = sum(1 << (seq - seqs[0]) for seq in left)
            groups.insert(self.database, work.destination_id, work.content, live, data)
