"""The thread that brings the log to files, in batches; whoever logs does not wait for it."""

import os
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

import msgspec

from actors.logs.entries import About, LogEntry, ShownEntry, shown
from actors.logs.files import LogFolder
from storage.timestamps import unix_ms

QUEUED_BYTES: Final = 1024 * 1024
"""Of entries that wait for the disk; the oldest go first."""
PAUSE: Final = 0.5  # seconds in which a batch comes together
RETRY: Final = 5.0  # seconds until a disk that took nothing is tried again
LAST: Final = 2.0  # seconds that the end waits for the disk
REMEMBERED: Final = 500
"""Entries of earlier runs that are shown with those of this one."""
DURABLE: Final = ("warn", "error")
"""Levels that are worth the wear of bringing a batch to the disk at once."""

_encode = msgspec.json.Encoder().encode


class LogFiles:
    """Writes every entry that it is given, until `end`. What the disk does not take waits, as far as there is
    room; `trouble` says why, and `lost` how many entries there was none for. First of all `remember`, if
    given, is told the newest entries of earlier runs. `after` is who has written there until now."""

    def __init__(
        self,
        folder: LogFolder,
        remember: Callable[[list[LogEntry]], None] | None = None,
        after: "LogFiles | None" = None,
    ) -> None:
        self.trouble: str | None = None
        self.lost = 0
        self.written = 0
        self._folder = folder
        self._remember = remember
        self._after = after
        self._waiting: deque[LogEntry] = deque()
        self._bytes = 0
        self._lock = threading.RLock()
        self._news = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def start(self, entries: list[LogEntry]) -> None:
        """Begin with these."""
        for entry in entries:
            self.put(entry)
        self._thread.start()

    def put(self, entry: LogEntry) -> None:
        with self._lock:
            self._waiting.append(entry)
            self._bytes += entry.size
            while self._bytes > QUEUED_BYTES:
                self._bytes -= self._waiting.popleft().size
                self.lost += 1
        self._news.set()

    def bound(self, max_bytes: int, max_files: int) -> None:
        """From now on, for files that there are too."""
        self._folder.max_bytes, self._folder.max_files = max_bytes, max_files
        self._news.set()

    def end(self) -> None:
        """Write what waits, once, if the disk takes it."""
        self._ending.set()
        self._news.set()

    def join(self) -> None:
        """Wait for the end, for `LAST` seconds at most."""
        if self._thread.is_alive():
            self._thread.join(LAST)

    def _run(self) -> None:
        if self._after is not None:
            self._after.join()
            self._after = None
        if self._remember is not None:
            self._remember([remembered(found) for found in self._folder.last_entries(REMEMBERED)])
        self._write()
        while not self._ending.is_set():
            self._news.wait()
            self._ending.wait(RETRY if self.trouble else PAUSE)
            self._news.clear()
            self._write()
        self._write()
        self._folder.close()

    def _write(self) -> None:
        """What does not get written waits for the next try, before what has come since."""
        with self._lock:
            batch, self._waiting, self._bytes = list(self._waiting), deque(), 0
        lines = [_encode(shown(entry)) + b"\n" for entry in batch]
        try:
            self._folder.clear_old()
            self._folder.write(lines, any(entry.level in DURABLE for entry in batch))
        except OSError as error:
            self.trouble = f"{self._folder.folder}: {os.strerror(error.errno) if error.errno else error}"
        else:
            self.trouble = None
        self.written += len(batch) - len(lines)
        self._put_back(batch[len(batch) - len(lines) :])

    def _put_back(self, batch: list[LogEntry]) -> None:
        with self._lock:
            for entry in reversed(batch):
                if self._bytes + entry.size > QUEUED_BYTES:
                    self.lost += 1
                    continue
                self._waiting.appendleft(entry)
                self._bytes += entry.size
        if self.trouble:
            self._news.set()


def remembered(found: ShownEntry) -> LogEntry:
    """An entry of an earlier run, as one of those in memory."""
    number = found.id.rpartition("-")[2]
    about = {name: getattr(found, name) for name in About.__struct_fields__}
    return LogEntry(
        number=int(number) if number.isdecimal() else 0,
        timestamp=found.timestamp,
        at=monotonic() - max(0, unix_ms() - found.timestamp) / 1000,
        level=found.level,
        message=found.message,
        logger=found.context.logger or found.component,
        operation=found.context.operation or None,
        actor=found.actor or None,
        exception=found.exception or None,
        about=About(**(about | {"source": found.source.type})),
    )
