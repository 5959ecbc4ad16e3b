"""The newest entries of the log, in memory: bounded in number, bytes and age."""

import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

from actors.logs.entries import LogEntry, LogFilter

CHUNK: Final = 128
"""Entries are kept in lists of this length: who reads takes the lists, not a copy of all entries."""


class LogRing:
    """Any thread may add, any may read meanwhile. `lock` can be taken again by who has it: the collector of
    garbage may make an object log at any moment."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.lock = threading.RLock()
        self.bytes = 0
        self.count = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._chunks: deque[list[LogEntry | None]] = deque()
        self._gone = 0
        """Entries at the beginning of the first chunk that are no more."""

    def add(self, entry: LogEntry) -> None:
        with self.lock:
            if not self._chunks or len(self._chunks[-1]) >= CHUNK:
                self._chunks.append([])
            self._chunks[-1].append(entry)
            self.count += 1
            self.bytes += entry.size
            self._trim()

    def put_before(self, entries: list[LogEntry]) -> None:
        """Older ones than there are, oldest first; as many of the newest as there is room for."""
        with self.lock:
            mine = list(reversed(list(self.backwards())))
            self._chunks.clear()
            self._gone = self.count = self.bytes = 0
            for entry in (*entries, *mine):
                self.add(entry)

    def resize(self, max_entries: int, max_bytes: int) -> None:
        with self.lock:
            self._max_entries, self._max_bytes = max_entries, max_bytes
            self._trim()

    def forget_before(self, at: float) -> None:
        """Drop what was said before then (monotonic seconds)."""
        with self.lock:
            while self.count and self._oldest().at < at:
                self._drop()

    def backwards(self) -> Iterator[LogEntry]:
        """From the newest on; what is added meanwhile is not among them."""
        with self.lock:
            chunks = [(chunk, len(chunk)) for chunk in self._chunks]
        for chunk, length in reversed(chunks):
            for index in range(length - 1, -1, -1):
                entry = chunk[index]
                if entry is None:
                    return
                yield entry

    def newest(self, chosen: LogFilter, limit: int) -> list[LogEntry]:
        """The newest that match, oldest first."""
        found = list(islice(filter(chosen.matches, self.backwards()), limit))
        found.reverse()
        return found

    def _trim(self) -> None:
        while self.count > self._max_entries or (self.bytes > self._max_bytes and self.count > 1):
            self._drop()

    def _oldest(self) -> LogEntry:
        entry = self._chunks[0][self._gone]
        assert entry is not None
        return entry

    def _drop(self) -> None:
        entry = self._oldest()
        self._chunks[0][self._gone] = None
        self._gone += 1
        self.count -= 1
        self.bytes -= entry.size
        if self._gone == CHUNK:
            self._chunks.popleft()
            self._gone = 0
