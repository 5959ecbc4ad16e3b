"""One destination's outbox: every payload from its arrival to its acknowledgement. No I/O.

A payload that is acknowledged within half a commit interval never touches the disk; what is older is
handed to the next commit. So nothing waits longer than a commit interval to be either acknowledged or on
disk, while a destination that keeps up costs no write at all. In strict mode a payload is on disk first.

Order is by sequence number. In memory are, oldest first: what is in flight, `_ready` to be sent, then
possibly a stretch that is only on disk, then the `_tail` of newcomers on their way to disk. Memory is
bounded: `_ready` beyond the bound is left to the disk and read back in order.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter

from actors.publish.ages import Ages
from actors.publish.entries import Commit, Drops, Entry, Limits
from storage.dead_letters import DeadLetter
from storage.outbox import Committed, OutboxRow, OutboxSummary

READ_ROWS = 500
COMMIT_ROWS = 2000
HARD_BOUND = 8
"""How many times `memory_bytes` is held in memory while the disk fails, before anything is given up."""


class Outbox:
    """See the module. `found` is what an earlier run left on disk, and `ages` how old that is."""

    def __init__(self, limits: Limits, found: OutboxSummary | None = None, ages: Ages | None = None) -> None:
        self.limits = limits
        self.ages = ages or Ages(limits.ttl_ms, last_seq=found.last_seq if found else 0)
        self.drops = Drops()
        self.rows = found.rows if found else 0
        # What is on disk, as it is there, and what is not, as it is.
        self.bytes = found.bytes if found else 0
        self.memory = 0
        self.acknowledged = 0
        self._seq = found.last_seq if found else 0
        self._saved_rows = self.rows
        self._saved_bytes = self.bytes
        self._room: int | None = None
        # What is only on disk: rows after `_read_to` and before `_tail`, but for those in `_done`.
        self._on_disk = self.rows
        self._disk_oldest = found.oldest if found else None
        self._read_to = 0
        self._ready: deque[Entry] = deque()
        self._tail: deque[Entry] = deque()
        self._inflight: dict[int, Entry] = {}
        self._inflight_bytes = 0
        self._ahead: set[int] = set()  # in memory, though something before it may be only on disk
        self._unsaved: deque[Entry] = deque()
        self._done: list[int] = []
        self._dead: list[DeadLetter] = []
        self._committing: Commit | None = None
        self._reading: int | None = None

    @property
    def in_flight(self) -> int:
        return len(self._inflight)

    @property
    def first_in_flight(self) -> int | None:
        """The oldest payload in flight."""
        return next(iter(self._inflight), None)

    @property
    def next(self) -> int | None:
        """The payload to be sent next, when it is in memory."""
        return self._ready[0].seq if self._ready else None

    def sent(self, seq: int) -> Entry | None:
        """The payload when it is in flight."""
        return self._inflight.get(seq)

    @property
    def committing(self) -> bool:
        return self._committing is not None

    @property
    def short_of_disk(self) -> bool:
        """Whether the disk allows less than the limits do."""
        return self._room is not None and self._room < self.limits.max_bytes

    @property
    def oldest(self) -> int | None:
        """When the oldest payload held was created, Unix ms by the clock as it is now."""
        for held in (self._inflight.values(), self._ready):
            for entry in held:
                return self.ages.current(entry.seq, entry.created_at)
        if not self._on_disk or self._disk_oldest is None:
            return None
        return self.ages.current(self._read_to + 1, self._disk_oldest)

    def clock_set(self, shift: int) -> None:
        """What is added from now on is stamped by a clock that was set by so many ms since the start."""
        self.ages.shifted(self._seq + 1, shift)

    # Arriving and leaving

    def add(
        self, topic: str, payload: bytes, created_at: int, now: float, qos: int = 1, retain: bool = False
    ) -> None:
        """Take a payload; `now` is monotonic seconds."""
        self._seq += 1
        entry = Entry(self._seq, topic, payload, created_at, now, qos, retain)
        if self._on_disk:
            self._tail.append(entry)
        else:
            self._ready.append(entry)
            self._read_to = entry.seq
        self._unsaved.append(entry)
        self.rows += 1
        self.bytes += len(payload)
        self.memory += len(payload)

    def take(self, room: int, saved: int | None = None) -> list[Entry]:
        """Up to `room` entries to send now, oldest first, and up to `saved` of those on disk; they are
        in flight from here on.

        What is in flight takes half of the memory at most, or is a single payload.
        """
        taken: list[Entry] = []
        ready = self._ready
        most = self.limits.memory_bytes // 2
        while ready and len(taken) < room:
            entry = ready[0]
            if self.limits.strict and not entry.saved:
                break
            if entry.saved and saved is not None:
                if not saved:
                    break
                saved -= 1
            if self._inflight and self._inflight_bytes + len(entry.payload) > most:
                break
            ready.popleft()
            self._fly(entry)
            taken.append(entry)
        return taken

    def take_other(self, topics: Collection[str], seqs: Collection[int] | None) -> Entry | None:
        """The oldest entry in memory of another topic than the next one and `topics`, to be sent before it.
        If there is no such and `seqs` is not None: the oldest of any topic that is not one of those."""
        ready = self._ready
        if len(ready) < 2:
            return None
        not_these = {ready[0].topic, *topics}
        found = next((index for index, e in enumerate(ready) if e.topic not in not_these), None)
        if found is None and seqs is not None:
            found = next((index for index, e in enumerate(ready) if index and e.seq not in seqs), None)
        if found is None or (self.limits.strict and not ready[found].saved):
            return None
        entry = ready[found]
        del ready[found]
        self._ahead.add(entry.seq)
        self._fly(entry)
        return entry

    def _fly(self, entry: Entry) -> None:
        self._inflight[entry.seq] = entry
        self._inflight_bytes += len(entry.payload)

    def delivered(self, seqs: Iterable[int]) -> None:
        """The destination has acknowledged these; unknown ones are ignored."""
        for seq in seqs:
            entry = self._inflight.pop(seq, None)
            if entry is not None:
                self.acknowledged += 1
                self._inflight_bytes -= len(entry.payload)
                self._forget(entry)

    def rejected(self, seqs: Iterable[int], reason: str, now_ms: int) -> int:
        """The destination will never take these; they become dead letters with the next commit. Unknown
        ones are ignored; returns how many were not."""
        before = len(self._dead)
        for seq in seqs:
            entry = self._inflight.pop(seq, None)
            if entry is not None:
                self._inflight_bytes -= len(entry.payload)
                self._forget(entry)
                self._dead.append(
                    DeadLetter(seq, entry.topic, entry.payload, reason, entry.created_at, now_ms)
                )
                self.memory += len(entry.payload)
        return len(self._dead) - before

    def rejected_part(self, seq: int, payload: bytes, reason: str, now_ms: int) -> bool:
        """The destination will never take this part of what is in flight, itself a payload; it becomes a dead
        letter with the next commit. Returns whether that is in flight."""
        entry = self._inflight.get(seq)
        if entry is None:
            return False
        self._dead.append(DeadLetter(seq, entry.topic, payload, reason, entry.created_at, now_ms))
        self.memory += len(payload)
        return True

    def disconnected(self) -> None:
        """Nothing in flight will be acknowledged any more: it is to be sent again, in order."""
        ready = self._ready
        in_turn = not ready or not self._inflight or next(reversed(self._inflight)) < ready[0].seq
        ready.extendleft(reversed(self._inflight.values()))
        if not in_turn:
            self._ready = deque(sorted(ready, key=attrgetter("seq")))
        self._inflight.clear()
        self._inflight_bytes = 0
        self._spill()

    def _forget(self, entry: Entry) -> None:
        entry.live = False
        self._ahead.discard(entry.seq)
        self.rows -= 1
        if entry.saved:
            self._unsave(1)
        else:
            self.bytes -= len(entry.payload)
        self.memory -= len(entry.payload)
        if entry.written:
            self._done.append(entry.seq)

    def _unsave(self, count: int) -> None:
        """So many of the rows on disk count no more; of what all take there, an equal part each."""
        self._take_as_saved(self._saved_bytes * (self._saved_rows - count) // self._saved_rows)
        self._saved_rows -= count

    def _take_as_saved(self, size: int) -> None:
        self.bytes += size - self._saved_bytes
        self._saved_bytes = size

    # To disk

    @property
    def newest(self) -> int:
        """The number of the payload that came last."""
        return self._seq

    @property
    def first_unsafe(self) -> int | None:
        """The oldest payload that is in memory only, or in a commit that is under way, if there is any."""
        if self._committing is not None:
            for entry in self._committing.entries:
                if entry.live:
                    return entry.seq
        unsaved = self._unsaved
        while unsaved and not unsaved[0].live:
            unsaved.popleft()
        return unsaved[0].seq if unsaved else None

    @property
    def unsaved(self) -> int:
        """How many are in memory only, or in a commit that is under way."""
        under_way = self._committing.entries if self._committing is not None else ()
        return sum(entry.live for entry in (*self._unsaved, *under_way))

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
                entry.written = True
                entries.append(entry)
        if not entries and not self._done and not self._dead:
            return None
        self._committing = Commit(entries, self._done, self._dead)
        self._done, self._dead = [], []
        return self._committing

    def committed(self, ok: bool, found: Committed | None = None) -> None:
        """The commit is on disk, or (not `ok`) it is not known to be, and due again; `found` is what there is
        on disk now."""
        commit, self._committing = self._committing, None
        if commit is None:
            return
        if not ok:
            self._unsaved.extendleft(reversed(commit.entries))
            self._done = commit.done + self._done
            self._dead = commit.dead + self._dead
            return
        for entry in commit.entries:
            entry.saved = True
            if entry.live:
                self._saved_rows += 1
                self._saved_bytes += len(entry.payload)
        if found is not None:
            # Of what is still to be removed there, nothing counts.
            self._take_as_saved(found.bytes * self._saved_rows // found.rows if found.rows else 0)
            self._room = found.room
        self.memory -= sum(len(letter.payload) for letter in commit.dead)
        self._spill()

    def _spill(self) -> None:
        """Leave to the disk what is on it and not about to be sent."""
        if not self._on_disk and self.memory > self.limits.memory_bytes:
            self._cut_ready(self.limits.memory_bytes // 2)
        while self._tail and self._tail[0].saved:
            self._leave(self._tail.popleft())

    def _cut_ready(self, keep: int) -> None:
        """Keep `keep` bytes of `_ready` in memory; what follows goes to `_tail`, and from there to disk."""
        kept = 0
        head: deque[Entry] = deque()
        while self._ready and kept < keep:
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
        if not self._on_disk:
            self._disk_oldest = entry.created_at
        self._ahead.discard(entry.seq)
        self._on_disk += 1
        self.memory -= len(entry.payload)

    def _unread(self) -> None:
        """Leave all of `_ready` to the disk again; what is before something on disk is on disk too."""
        while self._on_disk and self._ready:
            entry = self._ready.pop()
            self._leave(entry)
            self._read_to = min(self._read_to, entry.seq - 1)
            self._disk_oldest = entry.created_at

    # From disk

    def read(self, connected: bool) -> tuple[int, int, int] | None:
        """When rows should be read back: (after this seq, at most rows, at most bytes); one at a time."""
        if not self._on_disk or self._reading is not None:
            return None
        low = len(self._ready) < READ_ROWS // 2
        little = self.memory - self._inflight_bytes < self.limits.memory_bytes // 2
        if self._ready and not (connected and low and little):
            return None
        self._reading = self._read_to
        return self._read_to, READ_ROWS, self.limits.memory_bytes // 4

    def was_read(self, rows: Sequence[OutboxRow] | None, now: float, damaged: int = 0) -> int:
        """The rows read back, in order; None when reading failed and is to be tried again. `damaged` counts
        those that could not be read, and are gone.

        Returns how many the disk has lost, 0 unless it was damaged or the database was replaced.
        """
        after, self._reading = self._reading, None
        damaged = min(damaged, self._on_disk)
        self._lose(damaged)
        if rows is None or after != self._read_to:
            return damaged
        deleted = {*self._done, *(self._committing.done if self._committing else ())}
        for row in rows:
            if self._tail and row.seq >= self._tail[0].seq:
                break
            self._read_to = row.seq
            if row.seq not in deleted and row.seq not in self._ahead:
                self._take_back(row, now)
        lost = 0
        if self._read_to == after:
            lost = self._on_disk
            self._lose(lost)
        if not self._on_disk:
            self._rejoin()
        return damaged + lost

    def _lose(self, count: int) -> None:
        """So many of what is only on disk are not there any more."""
        if count:
            self._on_disk -= count
            self.rows -= count
            self._unsave(count)

    def _take_back(self, row: OutboxRow, now: float) -> None:
        size = len(row.payload)
        self._ready.append(
            Entry(
                row.seq,
                row.topic,
                row.payload,
                row.created_at,
                now,
                row.qos,
                row.retain,
                written=True,
                saved=True,
            )
        )
        self.memory += size
        self._on_disk -= 1
        self._disk_oldest = row.created_at

    def _rejoin(self) -> None:
        """Nothing is only on disk any more: newcomers follow directly."""
        self._ready.extend(self._tail)
        self._tail.clear()
        if self._ready:
            self._read_to = self._ready[-1].seq

    # Limits

    def enforce(self, now: float) -> int:
        """Give up what is past its time to live or over quota, oldest first; returns how many. `now` is
        monotonic seconds.

        What is in flight is spared: it is being delivered.
        """
        before = self.drops.quota + self.drops.expired
        self.ages.note(self._seq, now)
        past = self.ages.past(now)
        while self._ready and self._ready[0].seq <= past:
            self._forget(self._ready.popleft())
            self.drops.expired += 1
        most = self.limits.max_bytes if self._room is None else min(self._room, self.limits.max_bytes)
        while self._ready and (self.rows > self.limits.max_rows or self.bytes > most):
            self._forget(self._ready.popleft())
            self.drops.quota += 1
        return self.drops.quota + self.drops.expired - before

    def shed(self) -> int:
        """Bring memory within its hard bound, which is exceeded only when the disk does not take what it
        should; returns how many payloads, the oldest that are only in memory, were given up. Dead letters
        go first, uncounted."""
        while self._dead and self._overfull():
            self.memory -= len(self._dead.pop(0).payload)
        if not self._overfull():
            return 0
        if not self._on_disk:
            self._cut_ready(keep=0)
        self._spill()
        self._unread()
        count = 0
        for held in (self._ready, self._tail):
            while held and self._overfull():
                self._forget(held.popleft())
                count += 1
        self.drops.quota += count
        return count

    def _overfull(self) -> bool:
        return self.memory > HARD_BOUND * self.limits.memory_bytes
