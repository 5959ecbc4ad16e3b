"""Whether the files of a database that is open are still those that the next start will find."""

import os
import struct
from pathlib import Path
from typing import Final, Literal, NamedTuple
from zlib import crc32

Finding = Literal["gone", "logs", "away", "replaced", "overwritten"]
"""gone: deleted, and nothing is in its place. logs: its write-ahead log, or the index of that, was deleted.
away: it, or its disk, is somewhere else. replaced: another file has its name. overwritten: other content."""

_SALTS: Final = slice(32, 40)
_CHECKPOINTED: Final = slice(96, 100)
_TO_CHECKPOINT: Final = slice(128, 132)
"""Where the index of a write-ahead log has what a checkpoint changes (sqlite.org, walformat)."""

_SAMPLE: Final = 256 * 1024


class Found(NamedTuple):
    """`what` is part of a sentence that begins with the path."""

    finding: Finding
    what: str


_GONE: Final = Found("gone", "was deleted while the agent runs")
_MOVED: Final = Found("away", "is somewhere else: its folder was moved, or its disk unmounted")


class Folder:
    """A folder that was there: held, so that a deleted one differs from one that was moved."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    @property
    def deleted(self) -> bool:
        return os.fstat(self._descriptor).st_nlink == 0

    @property
    def writable(self) -> bool:
        """Whether what is written at its path is found where the folder is looked for: it is there, or was
        deleted and no other disk is in its place."""
        held, found = os.fstat(self._descriptor), _stat(self.path)
        if found is None:
            return self.deleted
        return identity(found) == identity(held) or (self.deleted and found.st_dev == held.st_dev)

    def make_anew(self) -> None:
        """Make a deleted one again, as open to others as it was."""
        if not self.deleted:
            return
        mode = os.fstat(self._descriptor).st_mode & 0o7777
        self.path.mkdir(mode=mode, parents=True, exist_ok=True)
        os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self._descriptor)


class Files:
    """The database at `path`, which is open in WAL mode, with its log and the index of that.

    They are opened here too, and must stay so until SQLite has closed them: closing any descriptor of a file
    gives up all locks that the process has on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.real = path.resolve()
        """Where SQLite finds it, behind all links."""
        self.log = self.real.with_name(f"{self.real.name}-wal")
        self.index = self.real.with_name(f"{self.real.name}-shm")
        self._opened: list[int] = []
        try:
            self.folder = Folder(self.real.parent)
            self._database, self._log, self._index = (
                self._open(file) for file in (self.real, self.log, self.index)
            )
        except BaseException:
            self.close()
            raise
        self._ids = tuple(identity(os.fstat(one)) for one in self._opened)
        index = self._read_index()
        self._recovered = index[_SALTS] + index[_TO_CHECKPOINT]  # which looks like a checkpoint under way
        self._remember(os.fstat(self._database), _marks(index))

    def _open(self, file: Path) -> int:
        descriptor = os.open(file, os.O_RDONLY)
        self._opened.append(descriptor)
        return descriptor

    def close(self) -> None:
        """After SQLite has closed them."""
        for descriptor in self._opened:
            os.close(descriptor)
        if hasattr(self, "folder"):
            self.folder.close()

    @property
    def mode(self) -> int:
        """The permissions of the database."""
        return os.fstat(self._database).st_mode & 0o777

    def try_disk(self) -> None:
        """Raises OSError when the disk takes nothing: a file system that has met errors need not say that it
        is read-only."""
        os.utime(self._index)

    def look(self) -> Found | None:
        """What is not as it was, outside of transactions. Raises OSError."""
        found = _stat(self.path)
        if found is None:
            return self._missing()
        if identity(found) != self._ids[0]:
            return Found("replaced", "was replaced by another file while the agent runs")
        log = _stat(self.log)
        if self._is_overwritten(found) or (log is not None and self.owns_log and self._is_cut(log)):
            return Found("overwritten", "was overwritten while the agent runs")
        if not self.owns_log or not self.owns_index:
            return self._log_missing(log)
        return None

    @property
    def owns_log(self) -> bool:
        """Whether what is called like the log is the log."""
        return _is(self.log, self._ids[1])

    @property
    def owns_index(self) -> bool:
        return _is(self.index, self._ids[2])

    def _missing(self) -> Found:
        if self.path.resolve() != self.real:
            return Found("away", "leads elsewhere now: a link was changed while the agent runs")
        if not self.folder.writable:
            return _MOVED
        log = _stat(self.log)
        if log is not None and log.st_size and not self.owns_log:
            return Found("replaced", "was deleted, and its write-ahead log replaced, while the agent runs")
        return _GONE

    def _log_missing(self, log: os.stat_result | None) -> Found:
        if log is not None and log.st_size and not self.owns_log:
            return Found("overwritten", "was written by another program, for which it had no write-ahead log")
        return Found("logs", "has lost its write-ahead log, or the index of it, while the agent runs")

    # Content

    def _read_index(self) -> bytes:
        return os.pread(self._index, 136, 0)

    def _remember(self, found: os.stat_result, marks: bytes) -> None:
        self._seen = found.st_mtime_ns, found.st_size
        self._marked = marks
        self._sample = self._read_sample()

    def _read_sample(self) -> int:
        return crc32(os.pread(self._database, _SAMPLE, 0))

    def _is_overwritten(self, found: os.stat_result) -> bool:
        """In WAL mode only a checkpoint writes to the database, and says so in the index. Somebody who has
        touched it has changed nothing."""
        index = self._read_index()
        marks = _marks(index)
        if (found.st_mtime_ns, found.st_size) == self._seen:
            self._marked = marks
            return False
        touched = found.st_size == self._seen[1] and self._read_sample() == self._sample
        if marks == self._marked and not self._is_under_way(index) and not touched:
            return True
        self._remember(found, marks)
        return False

    def _is_under_way(self, index: bytes) -> bool:
        """Whether another program writes to the database, or has ended over it."""
        if index[_CHECKPOINTED] == index[_TO_CHECKPOINT]:
            return False
        return index[_SALTS] + index[_TO_CHECKPOINT] != self._recovered

    def _is_cut(self, log: os.stat_result) -> bool:
        """Whether the log is shorter than what its index says is in it."""
        page_size, frames = struct.unpack_from("=HI", self._read_index(), 14)
        size = 65536 if page_size == 1 else page_size
        return bool(frames) and log.st_size < 32 + frames * (24 + size)

    def copy_log(self, target: Path) -> None:
        """Write what is in the log to a file that is not there yet. Raises OSError."""
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self.mode)
        with os.fdopen(descriptor, "wb") as file:
            at = 0
            while chunk := os.pread(self._log, 1 << 20, at):
                file.write(chunk)
                at += len(chunk)
            file.flush()
            os.fsync(descriptor)


def _marks(index: bytes) -> bytes:
    """What every checkpoint changes, whoever makes it."""
    return index[_SALTS] + index[_CHECKPOINTED] + index[_TO_CHECKPOINT]


def identity(found: os.stat_result) -> tuple[int, int]:
    """The same for the same file, as long as somebody has it open."""
    return found.st_dev, found.st_ino


def _stat(path: Path) -> os.stat_result | None:
    """None when there is nothing of that name. Raises OSError when nobody can say."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is(path: Path, wanted: tuple[int, int]) -> bool:
    found = _stat(path)
    return found is not None and identity(found) == wanted
