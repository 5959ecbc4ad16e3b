"""What takes each record of the process's log and keeps it, from the very start on."""

import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

from actors.logs.entries import NOTHING, About, LogEntry, level_name
from actors.logs.files import LogFolder
from actors.logs.persistence import LogFiles
from actors.logs.ring import LogRing
from actors.system.whose import path_here
from conf import clean_records
from conf.runtime import Logging
from storage.timestamps import unix_ms

PENDING: Final = 5000
"""Entries that wait to be handed to who follows; the oldest go first."""


class Sink(Protocol):
    """Gets every entry, on any thread, and neither waits nor raises."""

    def put(self, entry: LogEntry) -> None: ...


class Following:
    """Entries for who takes them together; `wake` is called, on any thread, when there are some again."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: deque[LogEntry] = deque(maxlen=PENDING)
        self._put = self._taken = 0
        self._awake = False

    def put(self, entry: LogEntry) -> None:
        self._waiting.append(entry)
        self._put += 1
        if not self._awake:
            self._awake = True
            self._wake()

    def take(self) -> tuple[list[LogEntry], int]:
        """What has come, oldest first, and how many entries were lost before it."""
        self._awake = False
        taken: list[LogEntry] = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        lost = max(0, self._put - self._taken - len(taken) - len(self._waiting))
        self._taken += len(taken) + lost
        return taken, lost


class LogCapture(logging.Handler):
    """Never raises, never waits for anybody but the ring; `failed` counts records that could not be kept."""

    def __init__(self, limits: Logging) -> None:
        super().__init__()
        self.ring = LogRing(limits.max_logs, limits.max_log_bytes)
        self.failed = 0
        self.counts: Counter[str] = Counter()
        """Entries by their level, since the start."""
        self.sinks: tuple[Sink, ...] = ()
        self.files: LogFiles | None = None
        self._former: LogFiles | None = None
        self._filed = 0
        # From one run to the next they go on growing, unless the clock is set back or says ever so much.
        self._numbers = itertools.count(unix_ms())

    def createLock(self) -> None:
        """The ring has one of its own."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._keep(record)
        except Exception:  # noqa: BLE001 - there is nobody to tell, and whoever logs is not to suffer
            self.failed += 1

    def _keep(self, record: logging.LogRecord) -> None:
        message, actor, error = record.getMessage(), path_here(), record.exc_text or record.stack_info
        about = getattr(record, "about", NOTHING)
        with self.ring.lock:
            entry = LogEntry(
                number=next(self._numbers),
                timestamp=unix_ms(),
                at=monotonic(),
                level=level_name(record.levelno),
                message=message,
                logger=record.name,
                operation=record.funcName,
                actor=actor,
                exception=error,
                about=about if isinstance(about, About) else NOTHING,
            )
            self.counts[entry.level] += 1
            self.ring.add(entry)
            for sink in self.sinks:
                sink.put(entry)

    def limit(self, limits: Logging) -> None:
        """The bounds of the memory; those of files are `persist`'s."""
        self.ring.resize(limits.max_logs, limits.max_log_bytes)

    def persist(self, limits: Logging, folder: Path) -> None:
        """Bring everything to files in that folder, from what is in memory on, or do so no more."""
        if self.files is not None and limits.enable_file_persistence:
            self.files.bound(limits.max_log_file_size, limits.max_log_files)
        elif limits.enable_file_persistence:
            remember = None if self._former else self.ring.put_before
            where = LogFolder(folder, limits.max_log_file_size, limits.max_log_files)
            self.files = LogFiles(where, remember, self._former)
            self.files.start([one for one in self.add_sink(self.files) if one.number > self._filed])
        elif self.files is not None:
            self._filed = self.remove_sink(self.files)
            self.files.end()
            self._former, self.files = self.files, None

    def close(self) -> None:
        """At the end of the process, from logging itself."""
        if self.files is not None:
            self.files.end()
            self.files.join()
        super().close()

    def add_sink(self, sink: Sink) -> list[LogEntry]:
        """From now on it gets every entry; those that there are already, oldest first, are returned."""
        with self.ring.lock:
            self.sinks = (*self.sinks, sink)
            return list(reversed(list(self.ring.backwards())))

    def remove_sink(self, sink: Any) -> int:
        """The number of the last entry that it got."""
        with self.ring.lock:
            self.sinks = tuple(one for one in self.sinks if one is not sink)
            return next((one.number for one in self.ring.backwards()), 0)


_attached: list[LogCapture] = []


def attach() -> LogCapture:
    """The one of this process, which is the first call's to make: Python's log is one, too."""
    if not _attached:
        clean_records.install()
        _attached.append(LogCapture(Logging()))
        logging.getLogger().addHandler(_attached[0])
    return _attached[0]
