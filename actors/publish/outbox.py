"""One destination's outbox: every payload from its arrival to its acknowledgement. No I/O.

A payload that is acknowledged within half a commit interval never touches the disk; what is older is
handed to the next commit. So nothing waits longer than a commit interval to be either acknowledged or on
disk, while a destination that keeps up costs no write at all. In strict mode a payload is on disk first.

Order is by sequence number. In memory are, oldest first: what is in flight, `_ready` to be sent, then
possibly a stretch that is only on disk, then the `_tail` of newcomers on their way to disk. Memory is
bounded: `_ready` beyond the bound is left to the disk and read back in order.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from storage.outbox import OutboxRow, OutboxSummary

READ_ROWS = 500
COMMIT_ROWS = 2000
CLOCK_SET = 1_600_000_000_000
"""Unix ms before which a clock cannot be right; rows stamped by such a clock do not expire."""


class Limits(msgspec.Struct, frozen=True):
    """What an outbox may hold (`[publish]` in `agent.toml`). `hold` is seconds before a payload that is
    not acknowledged is committed; `strict` persists before sending."""

    max_rows: int
    max_bytes: int
    ttl_ms: int
    memory_bytes: int
    hold: float
    strict: bool


class Entry(msgspec.Struct, gc=False):
    """A payload on its way. `added` is monotonic seconds, `created_at` Unix ms."""

    seq: int
    topic: str
    payload: bytes
    created_at: int
    added: float
    saved: bool = False
    live: bool = True


class Commit(msgspec.Struct, frozen=True):
    """What the next transaction writes: entries not yet on disk, and sequence numbers to delete."""

    entries: list[Entry]
    done: list[int]

    def rows(self) -> list[OutboxRow]:
        return [OutboxRow(e.seq, e.topic, e.payload, e.created_at) for e in self.entries]


class Drops(msgspec.Struct):
    """Payloads given up, by reason, since the start."""

    quota: int = 0
    expired: int = 0


class Outbox:
    """See the module. `found` is what an earlier run left on disk."""

    def __init__(self, limits: Limits, found: OutboxSummary | None = None) -> None:
        self.limits = limits
        self.drops = Drops()
        self.rows = found.rows if found else 0
        self.bytes = found.bytes if found else 0
        self.memory = 0
        self.acknowledged = 0
        self._oldest_found = found.oldest if found else None
        self._seq = found.last_seq if found else 0
        self._on_disk = self.rows
        self._read_to = 0
        self._ready: deque[Entry] = deque()
        self._tail: deque[Entry] = deque()
        self._inflight: dict[int, Entry] = {}
        self._unsaved: deque[Entry] = deque()
        self._done: list[int] = []
        self._committing: Commit | None = None
        self._reading = False

    @property
    def in_flight(self) -> int:
        return len(self._inflight)

    @property
    def committing(self) -> bool:
        return self._committing is not None

    @property
    def oldest(self) -> int | None:
        """When the oldest payload held was created, Unix ms."""
        for held in (self._inflight.values(), self._ready):
            for entry in held:
                return entry.created_at
        return self._oldest_found if self._on_disk else None

    # Arriving and leaving

    def add(self, topic: str, payload: bytes, created_at: int, now: float) -> None:
        """Take a payload; `now` is monotonic seconds."""
        self._seq += 1
        entry = Entry(self._seq, topic, payload, created_at, now)
        if self._on_disk:
            self._tail.append(entry)
        else:
            self._ready.append(entry)
            self._read_to = entry.seq
        self._unsaved.append(entry)
        self.rows += 1
        self.bytes += len(payload)
        self.memory += len(payload)

    def take(self, room: int) -> list[Entry]:
        """Up to `room` entries to send now, oldest first; they are in flight from here on."""
        taken: list[Entry] = []
        ready = self._ready
        while ready and len(taken) < room:
            if self.limits.strict and not ready[0].saved:
                break
            entry = ready.popleft()
            self._inflight[entry.seq] = entry
            taken.append(entry)
        return taken

    def delivered(self, seqs: Iterable[int]) -> None:
        """The destination has acknowledged these; unknown ones are ignored."""
        for seq in seqs:
            entry = self._inflight.pop(seq, None)
            if entry is not None:
                self.acknowledged += 1
                self._forget(entry)

    def disconnected(self) -> None:
        """Nothing in flight will be acknowledged any more: it is to be sent again, in order."""
        self._ready.extendleft(reversed(self._inflight.values()))
        self._inflight.clear()
        self._spill()

    def _forget(self, entry: Entry) -> None:
        entry.live = False
        self.rows -= 1
        self.bytes -= len(entry.payload)
        self.memory -= len(entry.payload)
        if entry.saved:
            self._done.append(entry.seq)

    # To disk

    def commit(self, now: float, force: bool = False) -> Commit | None:
        """What is due to be written, or None; one at a time, each ended by `committed`.

        `force` makes everything due, whatever its age.
        """
        if self._committing is not None:
            return None
        entries: list[Entry] = []
        unsaved = self._unsaved
        hurry = force or self.limits.strict
        until = now - self.limits.hold
        while unsaved and (hurry or unsaved[0].added <= until) and len(entries) < COMMIT_ROWS:
            entry = unsaved.popleft()
            if entry.live:
                entries.append(entry)
        if not entries and not self._done:
            return None
        self._committing, self._done = Commit(entries, self._done), []
        return self._committing

    def committed(self, ok: bool) -> None:
        """The commit is on disk, or (not `ok`) failed as a whole and is due again."""
        commit, self._committing = self._committing, None
        if commit is None:
            return
        if not ok:
            self._unsaved.extendleft(reversed(commit.entries))
            self._done = commit.done + self._done
            return
        for entry in commit.entries:
            entry.saved = True
            if not entry.live:
                self._done.append(entry.seq)
        self._spill()

    def _spill(self) -> None:
        """Leave to the disk what is on it and not about to be sent."""
        if not self._on_disk and self.memory > self.limits.memory_bytes:
            self._cut_ready()
        while self._tail and self._tail[0].saved:
            self._leave(self._tail.popleft())

    def _cut_ready(self) -> None:
        """Keep the head of `_ready` in memory; what follows goes to `_tail`, and from there to disk."""
        kept = 0
        head: deque[Entry] = deque()
        while self._ready and kept < self.limits.memory_bytes // 2:
            entry = self._ready.popleft()
            kept += len(entry.payload)
            head.append(entry)
        if self._ready:
            self._read_to = self._ready[0].seq - 1
        self._tail.extendleft(reversed(self._ready))
        self._ready = head
        if self._tail and not self._tail[0].saved:
            self._rejoin()  # nothing of it is on disk yet: there is no gap to read back

    def _leave(self, entry: Entry) -> None:
        self._on_disk += 1
        self.memory -= len(entry.payload)

    # From disk

    def read(self, connected: bool) -> tuple[int, int, int] | None:
        """When rows should be read back: (after this seq, at most rows, at most bytes); one at a time."""
        room = self.limits.memory_bytes // 4
        wanted = not self._ready or (connected and len(self._ready) < READ_ROWS // 2)
        if not self._on_disk or self._reading or not wanted:
            return None
        self._reading = True
        return self._read_to, READ_ROWS, room

    def was_read(self, rows: Sequence[OutboxRow] | None, now: float) -> None:
        """The rows read back, in order; None when reading failed and is to be tried again."""
        self._reading = False
        if rows is None:
            return
        for row in rows:
            if self._tail and row.seq >= self._tail[0].seq:
                break
            self._ready.append(Entry(row.seq, row.topic, row.payload, row.created_at, now, saved=True))
            self.memory += len(row.payload)
            self._read_to = row.seq
            self._on_disk -= 1
        if not rows or self._on_disk <= 0:
            self._on_disk = 0
            self._rejoin()

    def _rejoin(self) -> None:
        """Nothing is only on disk any more: newcomers follow directly."""
        self._ready.extend(self._tail)
        self._tail.clear()
        if self._ready:
            self._read_to = self._ready[-1].seq

    # Limits

    def enforce(self, now_ms: int) -> int:
        """Give up what is past its time to live or over quota, oldest first; returns how many.

        What is in flight is spared: it is being delivered.
        """
        before = self.drops.quota + self.drops.expired
        oldest_allowed = now_ms - self.limits.ttl_ms
        while self._ready and CLOCK_SET < self._ready[0].created_at < oldest_allowed:
            self._forget(self._ready.popleft())
            self.drops.expired += 1
        while self._ready and (self.rows > self.limits.max_rows or self.bytes > self.limits.max_bytes):
            self._forget(self._ready.popleft())
            self.drops.quota += 1
        return self.drops.quota + self.drops.expired - before

    def overfull(self) -> bool:
        """More is held in memory than may be, because the disk does not take it: see `shed`."""
        return self.memory > 4 * self.limits.memory_bytes

    def shed(self) -> int:
        """Give up the oldest payloads that are only in memory until memory is within its hard bound."""
        count = 0
        while self._ready and self.overfull():
            self._forget(self._ready.popleft())
            count += 1
        while self._tail and self.overfull():
            self._forget(self._tail.popleft())
            count += 1
        self.drops.quota += count
        return count
